"""What an evaluation is asked to do. Everything here goes into the result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from latentsync.constants import WINDOW_FRAMES
from latentsync.errors import ConfigError
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.metrics.i3d import FIRST_FRAME, PixelRange

RESULT, TRUTH, SOURCE = "result", "ground truth", "unchanged source"
ROWS = (RESULT, TRUTH, SOURCE)


class Setting(StrEnum):
    """How result, truth and source belong together."""

    RECONSTRUCTION = "reconstruction"  # the truth is the source itself: same person, same words
    CROSS_SYNC = "cross-sync"  # the source with other words; the truth is where these come from, another person
    CROSS_SYNC_TRUTH = "cross-sync-truth"  # the same, and the truth is the very video that should come out

    @property
    def truth_is_target(self) -> bool:
        """Whether the result can be compared with the truth pixel by pixel."""
        return self is not Setting.CROSS_SYNC


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """``resolution``: side in pixels of the aligned faces that are compared; ``mask``: what counts as generated
    (``face.mask``); ``face``: whose face is scored (``face.selection``); ``detector``: see ``face.backends``;
    ``stride``: frames from one to the next that the costly image metrics look at; ``fvd_first_frame``: see
    ``metrics.i3d``; ``join_period``: frames, at 25 per second, from one window of the system to the next; ``seed`` of
    the bootstrap; ``max_hours`` of audio and ``max_megapixels`` of a frame that a video may have (None: as
    ``media.limits.GENEROUS``). Raises ``ConfigError`` for values that make no sense.
    """

    setting: Setting = Setting.RECONSTRUCTION
    resolution: int = 256
    mask: str = "mask"
    face: str = "largest"
    detector: str = "auto"
    stride: int = 5
    fvd_range: PixelRange = PixelRange.NETWORK
    fvd_first_frame: int = FIRST_FRAME
    join_period: int = WINDOW_FRAMES
    seed: int = 1234
    max_hours: float | None = None
    max_megapixels: float | None = None

    def __post_init__(self) -> None:
        if self.join_period < 2:
            raise ConfigError(
                f"Windows that lie {self.join_period} frames apart make no sense.", remedy="Give 2 or more."
            )
        if self.stride < 1 or self.resolution < 128 or self.fvd_first_frame < 0:
            raise ConfigError(
                f"stride {self.stride}, resolution {self.resolution} or first frame {self.fvd_first_frame} makes no "
                "sense.",
                remedy="Give a stride of at least 1, a resolution of at least 128 and a first frame from 0.",
            )

    @property
    def limits(self) -> MediaLimits:
        """What the videos must keep to, as it is decoded."""
        return GENEROUS.raised(self.max_hours, self.max_megapixels, by="--max_hours, --max_megapixels")


@dataclass(frozen=True, slots=True)
class EvaluationWeights:
    """Where the networks are. ``auxiliary``: folder of the published evaluation files and of the face detectors;
    ``syncnet``: a StableSyncNet, with ``syncnet_config`` its YAML if the file does not say what it holds; ``csim``: a
    face-recognition network (``metrics.identity``), None for no CSIM."""

    auxiliary: Path
    syncnet: Path
    syncnet_config: Path | None = None
    csim: Path | None = None
