"""The values of the data pipeline: a clip, what a step is given, what it gives back, and the row that is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from latentsync.constants import MODEL_FPS


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """``frames`` frames of a recording, counted at 25 per second, from frame ``start`` of it on.

    ``source`` is the hash of the recording's whole file: with the range it says which clip this is. ``name`` is where
    its file lies below the directory of each step. ``cuts`` are frames of the clip at which a new shot begins, known
    from step 2 until the clip is cut at them.
    """

    source: str
    name: str
    start: int = 0
    frames: int = 0  # 0: a recording whose frames have not been counted yet
    cuts: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in time."""
        return float(self.frames / MODEL_FPS)

    def part(self, start: int, stop: int, mark: str) -> ClipRecord:
        """Frames ``start`` to ``stop - 1`` of this clip as a clip of its own, with ``mark`` at the end of its name."""
        name = f"{self.name.removesuffix('.mp4')}{mark}.mp4"
        return replace(self, name=name, start=self.start + start, frames=stop - start, cuts=())


@dataclass(frozen=True, slots=True)
class StepInput:
    """What a step works on: ``file`` is read, new files go into the empty folder ``scratch``.

    ``faces`` is where the faces found in the clip are kept for the next step.
    """

    clip: ClipRecord
    file: Path
    scratch: Path
    faces: Path


@dataclass(frozen=True, slots=True)
class MadeClip:
    """A clip that a step lets through. ``file``: the new file in the scratch folder; None: the input as it is."""

    clip: ClipRecord
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """``reason`` is empty if the clip was kept, else "kind: details". ``figures`` are what was measured, as JSON."""

    made: tuple[MadeClip, ...] = ()
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What is kept of one step on one clip. ``settings`` is a hash of the settings of this and all earlier steps.

    ``scratch`` names the folder that the files were made in, a name that is never used twice: two rows with one
    ``scratch`` are one piece of work. ``seconds`` of work, on ``host``.
    """

    step: str
    settings: str
    clip: ClipRecord
    made: tuple[ClipRecord, ...]
    reason: str
    figures: Mapping[str, Any]
    seconds: float
    host: str
    scratch: str

    @property
    def kind(self) -> str:
        """The reason without its details."""
        return self.reason.partition(":")[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ManifestRow:
        """From what ``to_json`` gave. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        clip, made = _clip(values["clip"]), tuple(_clip(each) for each in values["made"])
        return cls(**{**values, "clip": clip, "made": made})


def _clip(values: Mapping[str, Any]) -> ClipRecord:
    return ClipRecord(**{**values, "cuts": tuple(values["cuts"])})
