"""The report of a dub, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from latentsync.inference.record import RunRecord


@dataclass(slots=True)
class RunReport:
    """Everything that is reported of one dub; written as JSON if the user asks for it. Times in seconds."""

    video: str
    audio: str
    output: str
    output_seconds: float
    fps: float
    wall_seconds: float
    encode_seconds: float  # work of the encoder and muxer, which is no stage of the record
    record: RunRecord
    device: str
    precision: str
    options: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    encoded: Mapping[str, Any]
    speech: Mapping[str, Any] = field(default_factory=dict)  # where the audio pauses, and what is left alone
    turns: Sequence[Mapping[str, Any]] = ()  # who was found to speak, and where that is unsure
    notes: list[str] = field(default_factory=list)
    label: str | None = None  # what the result's metadata say of its making

    @property
    def realtime_factor(self) -> float:
        """Seconds of work per second of result."""
        return self.wall_seconds / self.output_seconds if self.output_seconds else 0.0

    def to_json(self) -> str:
        """The text of the report file."""
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
        lines += [f"{stretch.describe()}." for stretch in record.out_of_sync[:8]]
        return "\n".join(lines + self.notes)
