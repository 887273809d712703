"""What ``configs/preprocess.yaml`` holds. Frames are counted at 25 per second from step 2 on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from latentsync.constants import MODEL_FPS
from latentsync.errors import ConfigError
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.places import AUXILIARY

FINAL_STEP = "high_visual_quality"
PUBLISHED_SYNC = "syncnet_v2"  # value of sync.scorer



@dataclass(frozen=True)
class LimitSettings:
    """What an input file may hold; one with more is refused by name. Frames and samples count as they are decoded,
    whatever the file says of itself. Hours of video or audio, megapixels of a frame, frames per second, gigabytes.
    """

    hours: float = 24.0
    megapixels: float = 64.0
    fps: int = 1000
    gigabytes: float = 1000.0


@dataclass(frozen=True)
class EncodingSettings:
    """H.264: ``crf`` 0 to 51, lower is better; ``preset`` trades speed for size."""

    crf: int = 14
    preset: str = "veryfast"


@dataclass(frozen=True)
class ShotSettings:
    """PySceneDetect's adaptive detector: a cut changes the image ``threshold`` times as much as the changes within
    ``window`` frames on either side do on average, and by at least ``min_change`` (mean of hue, saturation and
    brightness, 0 to 255). Cuts are at least ``min_frames`` apart.
    """

    threshold: float = 2.0
    window: int = 2
    min_change: float = 15.0
    min_frames: int = 15


@dataclass(frozen=True)
class FaceSettings:
    """``min_side``: pixels of the shorter side of the face's box, median over a clip. The detector looks at every
    ``stride``-th frame; landmarks in between are interpolated, and all are smoothed.
    """

    detector: str = "auto"
    min_side: int = 256
    stride: int = 4


@dataclass(frozen=True)
class AlignmentSettings:
    """``resolution``: side of the aligned frames, pixels."""

    resolution: int = 256
    encoding: EncodingSettings = field(default_factory=lambda: EncodingSettings(crf=13, preset="fast"))


@dataclass(frozen=True)
class SyncSettings:
    """``scorer``: "syncnet_v2" (published files) or the path of a sync network of ours, whose confidences are cosines
    (0 to 2) instead of distances. ``max_silence``: share of a clip below -60 dBFS above which it is not scored.
    """

    scorer: str = PUBLISHED_SYNC
    min_confidence: float = 3.0
    max_offset: int = 6
    max_silence: float = 0.95


@dataclass(frozen=True)
class EngineSettings:
    """``workers``: processes for the steps that need no GPU; 0: everything in this process; none: one per core.

    ``workers_per_gpu``: processes that share a GPU. ``ray_address``: of a running cluster; none: this machine alone.
    """

    workers: int | None = None
    workers_per_gpu: int = 2
    ray_address: str | None = None


@dataclass(frozen=True)
class PreprocessSettings:
    """A run of the data pipeline. ``output_dir``: none = the folder that ``input_dir`` lies in. ``weights_dir``: none =
    ``places.AUXILIARY``, from wherever the run is started.

    ``last_step``: the directory name of the last step to run. ``device``: of the networks, "auto", "cpu" or "cuda".
    """

    input_dir: str = ""
    output_dir: str | None = None
    weights_dir: str | None = None
    device: str = "auto"
    last_step: str = FINAL_STEP
    limits: LimitSettings = field(default_factory=LimitSettings)
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    shots: ShotSettings = field(default_factory=ShotSettings)
    segment_seconds: float = 5.0  # a shot is cut into pieces of this length; the last one is up to twice as long
    faces: FaceSettings = field(default_factory=FaceSettings)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    min_quality: float = 40.0  # hyperIQA, 0 to 100
    engine: EngineSettings = field(default_factory=EngineSettings)

    @property
    def weights(self) -> Path:
        """The folder of the networks' files."""
        return AUXILIARY if self.weights_dir is None else Path(self.weights_dir)

    @property
    def media_limits(self) -> MediaLimits:
        """``limits`` as ``media`` takes them; containers of every kind that holds its own data."""
        return replace(
            GENEROUS,
            bytes=round(self.limits.gigabytes * 1e9),
            seconds=round(self.limits.hours * 3600),
            pixels=round(self.limits.megapixels * 1e6),
            fps=self.limits.fps,
            raised_by="limits in configs/preprocess.yaml",
        )

    @property
    def segment_frames(self) -> int:
        """Frames of a segment."""
        return round(Fraction(self.segment_seconds).limit_denominator(1000) * MODEL_FPS)


def check_settings(settings: PreprocessSettings) -> None:
    """Raise ``ConfigError`` for values that make no sense together."""
    flat = asdict(settings)
    rules = {
        "input_dir has to name a folder of videos": not settings.input_dir,
        "limits have to be positive": min(flat["limits"].values()) <= 0,
        "segment_seconds has to be at least 1": settings.segment_seconds < 1,
        "faces.stride has to be from 1 to 5": not 1 <= settings.faces.stride <= 5,
        "alignment.resolution has to be a multiple of 8": settings.alignment.resolution % 8,
        "device has to be auto, cpu or cuda": settings.device not in ("auto", "cpu", "cuda"),
        "engine.workers must not be negative": (settings.engine.workers or 0) < 0,
        "engine.workers_per_gpu has to be at least 1": settings.engine.workers_per_gpu < 1,
        "shots.window has to be at least 1": settings.shots.window < 1,
        "thresholds must not be negative": min(flat["sync"]["min_confidence"], settings.faces.min_side) < 0,
    }
    broken = [rule for rule, is_broken in rules.items() if is_broken]
    if broken:
        raise ConfigError(f"{'; '.join(broken)}.", remedy="Compare with configs/preprocess.yaml, or see docs/data.md.")
    if not Path(settings.input_dir).is_dir():
        raise ConfigError(f"There is no folder {settings.input_dir}.", remedy="Set input_dir to a folder of videos.")
    if not os.access(settings.input_dir, os.R_OK | os.X_OK):
        raise ConfigError(f"The folder {settings.input_dir} may not be read.", remedy="Ask for the right to read it.")
