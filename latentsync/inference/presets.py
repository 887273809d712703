"""Named sampler settings. Plain values, so that a command line can list them without loading torch."""

from __future__ import annotations

# Fields of `diffusion.sampler.SamplerSettings`. `exact` is the plain sampler; `balanced` reuses deep features at two
# steps of three, as the published shell script does; `fast` takes fewer steps of a higher-order solver; so does
# `builtin`, for the small built-in models.
PRESETS: dict[str, dict] = {
    "exact": {},
    "balanced": {"cache_interval": 3},
    "fast": {"scheduler": "dpm++", "steps": 10, "cache_interval": 2},
    "builtin": {"scheduler": "dpm++", "steps": 6},
}
DEFAULT_PRESET = "exact"
BUILTIN_PRESET = "builtin"  # where nothing is asked for and the built-in models run
DEFAULT_SEED = 1247
DEEPCACHE_INTERVAL = 3  # what --enable_deepcache means in the published code
