"""Named settings of sampler and codec. Plain values, so that a command line can list them without loading torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latentsync.diffusion.settings import SamplerSettings

if TYPE_CHECKING:
    from latentsync.inference.weights import WeightPaths

# Fields of `diffusion.settings.SamplerSettings`. `exact` is the plain sampler; `balanced` reuses deep features at two
# steps of three, as the published shell script does; `fast` takes fewer steps of a higher-order solver and reuses at
# every other one, and so does `builtin`, for the built-in models; `preview` has no guidance, and the small codec if
# that is there.
PRESETS: dict[str, dict[str, Any]] = {
    "exact": {},
    "balanced": {"cache_interval": 3},
    "fast": {"scheduler": "dpm++", "steps": 10, "cache_interval": 2},
    "preview": {"scheduler": "dpm++", "steps": 4, "guidance_scale": 1.0},
    "builtin": {"scheduler": "dpm++", "steps": 6, "cache_interval": 2},
}
DEFAULT_PRESET = "exact"
PREVIEW_PRESET = "preview"
BUILTIN_PRESET = "builtin"  # where nothing is asked for and the built-in models run
DEFAULT_SEED = 1247
DEEPCACHE_INTERVAL = 3  # what --enable_deepcache means in the published code


def sampler_values(preset: str | None, are_builtin: bool, **changes: int | float | None) -> dict[str, Any]:
    """Fields of ``SamplerSettings``: those of a preset, of the one that suits the models if none is named, with those
    of ``changes`` that are not None."""
    values = PRESETS[preset or (BUILTIN_PRESET if are_builtin else DEFAULT_PRESET)]
    return values | {name: value for name, value in changes.items() if value is not None}


def apply_preset(
    preset: str | None, weights: WeightPaths, **changes: int | float | None
) -> tuple[WeightPaths, SamplerSettings]:
    """What a preset means for ``weights``: the files to load and how to denoise; see ``sampler_values``.

    Whoever lets a user choose a preset asks here. Raises ``ConfigError`` for changes that make no sense.
    """
    chosen = weights.with_small_codec() if preset == PREVIEW_PRESET else weights
    return chosen, SamplerSettings(**sampler_values(preset, weights.are_builtin, **changes))
