"""What a user may choose for one dub, apart from the files: presets of the sampler, and the options of a run.

Importing this module loads no torch, so a command line can list the choices.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode
from latentsync.types import Compat

if TYPE_CHECKING:
    from pathlib import Path

    from latentsync.inference.weights import WeightPaths

# `exact` is the plain sampler. `balanced` reuses deep features at two steps of three, as the published shell script
# does. `fast` takes fewer steps of a higher-order solver, computes the whole network at every third, extrapolates the
# features between, and computes both halves of the guidance at every sixth. `builtin`, for the built-in models, takes
# few whole steps from the noisiest level. `preview` has no guidance, and takes the small codec where it is installed.
# `live` is the least that gives usable mouths; it takes the student, too, where there is one. See
# docs/experiments/few_steps.md.
PRESETS: dict[str, SamplerSettings] = {
    "exact": SamplerSettings(),
    "balanced": SamplerSettings(cache_interval=3),
    "fast": SamplerSettings("dpm++", steps=10, cache_interval=3, cache_order=1, guidance_interval=6),
    "preview": SamplerSettings("dpm++", steps=4, guidance_scale=1.0),
    "builtin": SamplerSettings("dpm++", steps=3, spacing="trailing"),
    "live": SamplerSettings("dpm++", steps=2, guidance_scale=1.0, spacing="trailing"),
}
DEFAULT_PRESET = "exact"
PREVIEW_PRESET = "preview"
LIVE_PRESET = "live"
BUILTIN_PRESET = "builtin"  # the default for the built-in models
DEFAULT_SEED = 1247
DEEPCACHE_INTERVAL = 3  # what --enable_deepcache means in the published code


def apply_preset(
    preset: str | None,
    weights: WeightPaths,
    *,
    steps: int | None = None,
    guidance_scale: float | None = None,
    cache_interval: int | None = None,
) -> tuple[WeightPaths, SamplerSettings]:
    """What a preset means for ``weights``: the files to load, and how to denoise.

    ``preset`` None is the default for these weights. ``steps``, ``guidance_scale`` and ``cache_interval`` replace those
    of the preset where they are given. The command line, the page and the evaluation all choose here, so a preset means
    the same everywhere. A student (docs/train_unet.md) is sampled as its card says, whatever the preset. Raises
    ``ConfigError`` for values that make no sense, and the ``WeightsError`` family for a card that cannot be read.
    """
    chosen = weights
    if preset in (PREVIEW_PRESET, LIVE_PRESET):
        chosen = weights.with_small_codec()
    if preset == LIVE_PRESET:
        chosen = chosen.with_student()
    student = student_sampler(chosen.unet, steps, guidance_scale, cache_interval)
    if student is not None:
        return chosen, student
    settings = PRESETS[preset or (BUILTIN_PRESET if weights.are_builtin else DEFAULT_PRESET)]
    sampler = replace(
        settings,
        steps=settings.steps if steps is None else steps,
        guidance_scale=settings.guidance_scale if guidance_scale is None else guidance_scale,
        cache_interval=settings.cache_interval if cache_interval is None else cache_interval,
    )
    return chosen, sampler


def student_sampler(
    unet: Path, steps: int | None, guidance_scale: float | None, cache_interval: int | None = None
) -> SamplerSettings | None:
    """How the weights ``unet`` are to be sampled if they are a student's, otherwise None; ``steps`` None as its card
    says. Raises ``ConfigError`` for a ``guidance_scale`` but 1 (a student has learnt the guided result) and for reused
    features (its steps are too far apart), and as ``read_card``."""
    from latentsync.checkpoint import read_card  # here: it imports torch

    card = read_card(unet) if unet.exists() else None  # whoever loads it says what is missing
    if card is None or card.distilled_steps is None:
        return None
    if guidance_scale not in (None, 1.0):
        raise ConfigError(
            f"{unet} is a student that has a guidance of {card.guidance_inside} inside; "
            f"a guidance of {guidance_scale} would come on top.",
            remedy="Leave --guidance_scale out, or take the weights that it was distilled from.",
        )
    if cache_interval not in (None, 1):
        raise ConfigError(
            f"{unet} is a student of {card.distilled_steps} steps, too few to reuse the features of one at the next.",
            remedy="Leave --enable_deepcache out.",
        )
    return SamplerSettings(
        "consistency",
        steps=steps or card.distilled_steps,
        guidance_scale=1.0,
        timesteps=card.distilled_timesteps or (),
        prediction="v" if card.prediction == "v" else "epsilon",
    )


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How little a result looks ahead, for one that is shown while the audio comes (docs/live.md).

    ``window``: frames generated together; the first of them waits for the audio of the last. ``fit_ahead``: frames
    after its own that the fit of a face is smoothed with (``inference.compositing``). Raises ``ConfigError``.
    """

    window: int = 8
    fit_ahead: int = 0

    def __post_init__(self) -> None:
        if self.window < 2 or self.fit_ahead < 0:
            raise ConfigError(
                f"A live window of {self.window} frames that waits for {self.fit_ahead} more makes no sense.",
                remedy="Give windows of 2 or more frames, and 0 or more frames to wait for.",
            )


class SyncGate(StrEnum):
    """What becomes of stretches in which the mouth does not follow the audio (``inference.sync_gate``)."""

    OFF = "off"
    REPORT = "report"
    REDO = "redo"


@dataclass(frozen=True)
class SyncOptions:
    """Settings of one run of the pipeline. Raises ``ConfigError`` for values that make no sense.

    ``face``: whom to follow, in the syntax of ``face.selection``. ``face_network``: the path of a network that people
    are known by (``face.user_network``); empty: their shape and colors (``face.appearance``). ``compat``: the release
    whose alignment, windows and paste are reproduced; None = ours. ``batch``: windows generated together. ``ramp``:
    frames over which the generated mouth fades in and out beside a gap. ``overlap``: frames that windows have in common
    with the next one (``inference.joins``); None = ``windows.default_overlap``. ``paste``: how faces are put back into
    their frames, and ``visibility``: which are left alone and what stays in front of them; neither counts with
    ``compat``. ``check_output``: do not show output that is no face. ``excerpt``: only a stretch of the result, with
    the audio that belongs to it. ``silence``: what is shown where nobody speaks; ``skip``: stretches of the result that
    show the source as it is. ``sync_gate``: what becomes of stretches that are out of sync. None of these goes with
    ``compat``. ``live``: look ahead as little as a live stream does, so that the frames are those of one; it goes
    with none of these and not with ``compat``.
    """

    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    seed: int = DEFAULT_SEED
    length: LengthMode = LengthMode.PINGPONG
    face: str = "largest"
    face_network: str = ""
    compat: Compat | None = None
    batch: int = 1
    ramp: int = 3
    overlap: int | None = None
    paste: PasteSettings = field(default_factory=PasteSettings)
    visibility: VisibilitySettings = field(default_factory=VisibilitySettings)
    check_output: bool = True
    excerpt: Excerpt | None = None
    silence: SilenceMode = SilenceMode.GENERATE
    skip: tuple[Stretch, ...] = ()
    sync_gate: SyncGate = SyncGate.OFF
    live: LiveSettings | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"A batch of {self.batch} windows makes no sense.", remedy="Give 1 or more.")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"A seed of {self.seed} makes no sense.", remedy="Give a number from 0 to 2^64 - 1.")
        if self.ramp < 0:
            raise ConfigError(f"A ramp of {self.ramp} frames makes no sense.", remedy="Give 0 or more.")
        own = self.skip or self.silence is not SilenceMode.GENERATE or self.sync_gate is not SyncGate.OFF
        if self.compat is not None and own:
            raise ConfigError(
                "No release leaves stretches alone, treats silence in its own way or judges its result.",
                remedy="Leave out --compat, or --silence, --skip and --sync_gate.",
            )
        if self.live is not None and (own or self.compat is not None or self.excerpt is not None):
            raise ConfigError(
                "What looks ahead no further than a live stream knows nothing of pauses, excerpts or releases.",
                remedy="Leave out the live settings, or --compat, --excerpt, --silence, --skip and --sync_gate.",
            )
        if self.compat is not None and self.face_network:
            raise ConfigError("No release knows people again.", remedy="Leave out --face_network or --compat.")
        if self.compat is not None and self.overlap:
            raise ConfigError("No release has windows that overlap.", remedy="Leave out --overlap or --compat.")
