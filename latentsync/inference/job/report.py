"""What a run did, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from latentsync.inference.clock import StageClock

if TYPE_CHECKING:
    from latentsync.inference.compositing import GeneratedFrame


@dataclass(slots=True)
class FrameRange:
    """Frames ``first`` to ``last`` of the result (both included) that show the source unchanged, and why."""

    first: int
    last: int
    reason: str


@dataclass(slots=True)
class RunRecord:
    """What the pipeline notes down while it runs; complete when its last frame is out."""

    clock: StageClock = field(default_factory=StageClock)
    frames: int = 0
    passed_through: list[FrameRange] = field(default_factory=list)
    batch_reductions: list[int] = field(default_factory=list)  # numbers of windows that did not fit into memory
    windows_redone_in_fp32: int = 0

    def noting(self, frames: Iterator[GeneratedFrame]) -> Iterator[GeneratedFrame]:
        """Pass ``frames`` on, counting them and what passes through."""
        for frame in frames:
            self._note_frame(None if frame.face is not None else frame.member.reason or "no face")
            yield frame

    def note_retry(self, windows: int) -> None:
        """``windows`` windows came out broken and are done again in full precision."""
        self.windows_redone_in_fp32 += windows

    def _note_frame(self, reason: str | None) -> None:
        if reason is not None:
            last = self.passed_through[-1] if self.passed_through else None
            if last is not None and last.last == self.frames - 1 and last.reason == reason:
                last.last = self.frames
            else:
                self.passed_through.append(FrameRange(self.frames, self.frames, reason))
        self.frames += 1

    @property
    def frames_passed_through(self) -> int:
        return sum(span.last - span.first + 1 for span in self.passed_through)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Stages run side by side: their seconds add up to more than the wall's."""
        return {
            "frames": self.frames,
            "frames_passed_through": self.frames_passed_through,
            "passed_through": [asdict(span) for span in self.passed_through],
            "batch_reductions": self.batch_reductions,
            "windows_redone_in_fp32": self.windows_redone_in_fp32,
            "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in self.clock.seconds().items()},
        }


@dataclass(slots=True)
class RunReport:
    """The whole account of one dub, written as JSON beside the result if asked for. Times in seconds."""

    video: str
    audio: str
    output: str
    output_seconds: float
    fps: float
    wall_seconds: float
    encode_seconds: float  # work of the encoder and muxer, beside the stages of the record
    record: RunRecord
    device: str
    precision: str
    options: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    encoded: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def realtime_factor(self) -> float:
        """Seconds of work per second of result."""
        return self.wall_seconds / self.output_seconds if self.output_seconds else 0.0

    def to_json(self) -> str:
        content = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "record"}
        content |= {"realtime_factor": self.realtime_factor} | self.record.to_dict()
        return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"

    def summary(self) -> str:
        """Two or three lines for the terminal."""
        record = self.record
        lines = [
            f"{self.output}: {record.frames} frames, {self.output_seconds:.2f} s, in {self.wall_seconds:.1f} s "
            f"({self.realtime_factor:.1f} s per second of video, {self.device} {self.precision})."
        ]
        if record.passed_through:
            spans = ", ".join(f"{s.first}-{s.last} ({s.reason})" for s in record.passed_through[:8])
            more = ", ..." if len(record.passed_through) > 8 else ""
            lines.append(f"{record.frames_passed_through} frames are as they were: {spans}{more}.")
        return "\n".join(lines + self.notes)
