"""What became of every hour: from the manifest, one recording after the other, so its size does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from latentsync.constants import MODEL_FPS
from latentsync.preprocess.clip_record import ManifestRow
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import FileRecord, file_records, read_journal
from latentsync.preprocess.engine.recordings import rows_in_order
from latentsync.preprocess.steps.sequence import READABLE, Step

EXAMPLES = 3  # names that are kept of each reason


@dataclass
class LossByReason:
    """What one reason has cost. ``examples`` are names with the whole reason."""

    clips: int = 0
    seconds: float = 0.0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class StepAccount:
    """Clips and seconds of video that came to a step and that it let through, and seconds of ``work`` on them."""

    step: str
    clips: int = 0
    seconds: float = 0.0
    kept_clips: int = 0
    kept_seconds: float = 0.0
    work: float = 0.0
    lost: dict[str, LossByReason] = field(default_factory=dict)

    def add(self, name: str, seconds: float, kept: tuple[int, float], reason: str, work: float) -> None:
        """One clip; ``kept`` is the number of clips that were made of it and their seconds."""
        self.clips += 1
        self.seconds += seconds
        self.kept_clips += kept[0]
        self.kept_seconds += kept[1]
        self.work += work
        if reason:
            lost = self.lost.setdefault(reason.partition(":")[0], LossByReason())
            lost.clips += 1
            lost.seconds += seconds
            if len(lost.examples) < EXAMPLES:
                lost.examples.append((name, reason))


def account_by_step(layout: Layout, steps: Sequence[Step]) -> list[StepAccount]:
    """One account for each of the eight steps (or as many as ``steps`` has), for all files in the manifest."""
    accounts = [StepAccount(READABLE), *(StepAccount(step.name) for step in steps)]
    for record in file_records(layout):
        journal = None if record.reason else read_journal(layout, record.content)
        if journal is not None and journal.file != record.name:
            continue  # has been given another name since
        kept = (0, 0.0) if record.reason else (1, record.duration)
        accounts[0].add(record.name, record.duration, kept, record.reason, record.seconds)
        if journal is not None:
            for index, row in rows_in_order(journal, steps):
                accounts[index + 1].add(row.clip.name, _seconds(row, record), _kept(row), row.reason, row.seconds)
    return accounts


def account_table(accounts: Sequence[StepAccount]) -> str:
    """As aligned text: every step, and under it what it has dropped and why."""
    lines = [f"{'step':24s}{'clips':>9s}{'hours':>10s}{'kept':>9s}{'hours':>10s}{'work, h':>10s}"]
    for each in accounts:
        lines.append(
            f"{each.step:24s}{each.clips:9d}{each.seconds / 3600:10.3f}{each.kept_clips:9d}"
            f"{each.kept_seconds / 3600:10.3f}{each.work / 3600:10.3f}"
        )
        for kind, lost in sorted(each.lost.items(), key=lambda item: -item[1].clips):
            example = lost.examples[0]
            lines.append(
                f"  - {kind:20s}{lost.clips:9d}{lost.seconds / 3600:10.3f}   {example[0]}: "
                f"{example[1].partition(': ')[2]}"
            )
    return "\n".join(lines)


def _seconds(row: ManifestRow, record: FileRecord) -> float:
    return row.clip.seconds or record.duration  # a recording's frames are counted by step 2


def _kept(row: ManifestRow) -> tuple[int, float]:
    return len(row.made), float(sum(clip.frames for clip in row.made) / MODEL_FPS)
