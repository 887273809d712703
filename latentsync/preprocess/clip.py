"""The values of the data pipeline: a clip, what a step is given, what it gives back, and the row that is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latentsync.constants import MODEL_FPS


@dataclass(frozen=True, slots=True)
class Clip:
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


@dataclass(frozen=True, slots=True)
class Job:
    """What a step works on: ``file`` is read, new files go into the empty folder ``scratch``.

    ``faces`` is where the faces found in the clip are kept for the next step.
    """

    clip: Clip
    file: Path
    scratch: Path
    faces: Path


@dataclass(frozen=True, slots=True)
class Made:
    """A clip that a step lets through. ``file``: the new file in the scratch folder; None: the input as it is."""

    clip: Clip
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason`` is empty if the clip was kept, else "kind: details". ``figures`` are what was measured, as JSON."""

    made: tuple[Made, ...] = ()
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one step on one clip. ``settings`` says under which settings of this and all earlier steps.

    ``scratch`` names the folder that the files were made in, a name that is never used twice: two rows with one
    ``scratch`` are one piece of work. ``seconds`` of work, on ``host``.
    """

    step: str
    settings: str
    clip: Clip
    made: tuple[Clip, ...]
    reason: str
    figures: Mapping[str, Any]
    seconds: float
    host: str
    scratch: str

    @property
    def kept(self) -> bool:
        return not self.reason

    @property
    def kind(self) -> str:
        """Of the reason, without details."""
        return self.reason.partition(":")[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """From what ``to_json`` gave. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        clip, made = _clip(values["clip"]), tuple(_clip(each) for each in values["made"])
        return cls(**{**values, "clip": clip, "made": made})


def _clip(values: Mapping[str, Any]) -> Clip:
    return Clip(**{**values, "cuts": tuple(values["cuts"])})
