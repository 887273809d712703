"""``data audit``: what there is, what became of it, and what it is enough for. One pass over the manifest.

The limits of the verdict are judgements, not measurements: reports of people who trained on more or less than that
contradict each other, see docs/data.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latentsync.preprocess.audit.final_clips import speaker_of
from latentsync.preprocess.clip_record import ManifestRow
from latentsync.preprocess.engine.account import StepAccount, account_by_step
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import FileRecord, file_records
from latentsync.preprocess.engine.recordings import read_recordings, rows_in_order
from latentsync.preprocess.steps.sequence import READABLE, Step

_EXAMPLES = 3  # dropped clips of each reason that are shown

_PURPOSES = (  # hours from which on, and what for
    (100.0, "enough to train a sync network and both stages of the U-Net"),
    (20.0, "enough to fine-tune for a language or a kind of recording; little for training from scratch"),
    (2.0, "enough to adapt to the speakers in it, not for a new language"),
    (0.2, "enough for an adapter to one speaker; anything more will learn it by heart"),
    (0.0, "enough to see the training run, no more"),
)
_FEW_SPEAKERS = 20
_MIXED_OFFSETS = 0.6  # share of clips in sync to one frame, below which the recordings themselves are suspect
_LARGEST_LOSS = 0.5  # of the hours that came to a step


@dataclass
class Histogram:
    """``counts[i]`` values lie from ``edges[i]`` up to, not including, ``edges[i + 1]``; those beyond either end are
    counted in the first and last of them."""

    title: str
    unit: str
    edges: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.edges) - 1)

    def add(self, value: float) -> None:
        """One value."""
        place = bisect_right(self.edges, value) - 1
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1
        self.total += value

    @property
    def n(self) -> int:
        """Number of values."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """None without values."""
        return self.total / self.n if self.n else None


def even_edges(start: float, stop: float, step: float) -> list[float]:
    """``start``, ``start + step``, ... ``stop``"""
    return [round(start + step * k, 6) for k in range(round((stop - start) / step) + 1)]


@dataclass(frozen=True, slots=True)
class AuditExample:
    """A file or clip that was dropped, and the file that shows it."""

    step: str
    name: str
    reason: str
    file: Path


@dataclass
class Audit:
    """Histograms by name. ``speakers``: hours of final clips by name; ``codecs``: hours of input by name."""

    accounts: list[StepAccount]
    recordings: int
    speakers: Mapping[str, float]
    codecs: Mapping[str, float]
    variable_rate: int
    rotated: int
    histograms: Mapping[str, Histogram]
    examples: Sequence[AuditExample]
    verdict: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the example images."""
        values = asdict(self)
        values["examples"] = [{**each, "file": str(each["file"])} for each in values["examples"]]
        return values


def audit(layout: Layout, steps: Sequence[Step], speakers_by_folder: bool = False) -> Audit:
    """Of all recordings in the manifest, under the settings of ``steps``."""
    histograms = _empty_histograms()
    speakers: dict[str, float] = {}
    codecs: dict[str, float] = {}
    recordings = variable = rotated = 0
    examples = _examples_of_files(layout)
    for record, journal in read_recordings(layout):
        recordings += 1
        variable += bool(record.figures["variable_rate"])
        rotated += bool(record.figures["rotation"])
        codec = record.figures["codec"]
        codecs[codec] = codecs.get(codec, 0) + record.duration / 3600
        _add_file(histograms, record)
        for index, row in rows_in_order(journal, steps):
            _add_row(histograms, row)
            given = layout.file(steps[index - 1].name, row.clip) if index else layout.input_dir / record.name
            if row.reason:
                shown = examples.setdefault((row.step, row.kind), [])
                if len(shown) < _EXAMPLES:
                    shown.append(AuditExample(row.step, row.clip.name, row.reason, given))
            elif index == len(steps) - 1:
                speaker = speaker_of(record.name, speakers_by_folder)
                for clip in row.made:
                    histograms["length"].add(clip.seconds)
                    speakers[speaker] = speakers.get(speaker, 0) + clip.seconds / 3600
    known = {name: hours for name, hours in speakers.items() if name}
    accounts, order = account_by_step(layout, steps), [READABLE, *(step.name for step in steps)]
    return Audit(
        accounts=accounts,
        recordings=recordings,
        speakers=known,
        codecs=codecs,
        variable_rate=variable,
        rotated=rotated,
        histograms=histograms,
        examples=[each for place in sorted(examples, key=lambda key: order.index(key[0])) for each in examples[place]],
        verdict=verdict(accounts, len(known), recordings, histograms["offset"]),
    )


def verdict(accounts: Sequence[StepAccount], speakers: int, recordings: int, offsets: Histogram) -> list[str]:
    """What the clips are enough for, in sentences. ``speakers``: 0 if they are not known."""
    hours = accounts[-1].kept_seconds / 3600
    people = f"{speakers} speakers" if speakers else f"{recordings} recordings (speakers are not known)"
    purpose = next(text for least, text in _PURPOSES if hours >= least)
    lines = [f"{hours:.2f} h from {people}: {purpose}."]
    if hours >= 2.0 and (speakers or recordings) < _FEW_SPEAKERS:
        lines.append(f"Few people for so much time: faces beyond these {speakers or recordings} will come out worse.")
    measured = offsets.n
    if measured:
        in_sync = sum(
            count for edge, count in zip(offsets.edges[:-1], offsets.counts, strict=True) if -1.5 <= edge <= 0.5
        )
        if in_sync < _MIXED_OFFSETS * measured:
            lines.append(
                f"Only {in_sync / measured:.0%} of {measured} clips were in sync to one frame before they were put "
                "right: listen to a few of them."
            )
    for each in accounts:
        if each.seconds and each.kept_seconds < (1 - _LARGEST_LOSS) * each.seconds and each.lost:
            kind = max(each.lost, key=lambda name: each.lost[name].seconds)
            lost = 1 - each.kept_seconds / each.seconds
            lines.append(f"{each.step} drops {lost:.0%} of the hours that come to it, most of them for '{kind}'.")
    return lines


def _examples_of_files(layout: Layout) -> dict[tuple[str, str], list[AuditExample]]:
    """Input files that no clip can come from, by step and kind of reason."""
    found: dict[tuple[str, str], list[AuditExample]] = {}
    for record in file_records(layout):
        if record.reason:
            shown = found.setdefault((READABLE, record.reason.partition(":")[0]), [])
            if len(shown) < _EXAMPLES:
                shown.append(AuditExample(READABLE, record.name, record.reason, layout.input_dir / record.name))
    return found


def _empty_histograms() -> dict[str, Histogram]:
    return {
        "height": Histogram("Height of the recordings", "pixels", [0, 240, 360, 480, 720, 1080, 1440, 2160, 4320]),
        "fps": Histogram("Frame rate of the recordings", "frames/s", [0, 15, 23, 24.5, 26, 29, 31, 49, 51, 61, 120]),
        "face": Histogram("Size of the face", "pixels", even_edges(0, 1000, 50)),
        "silence": Histogram("Silence in the clips", "share", even_edges(0, 1, 0.05)),
        "confidence": Histogram("Sync confidence", "", even_edges(0, 12, 0.5)),
        "offset": Histogram("A/V offset before it was put right", "frames at 25/s", even_edges(-15.5, 15.5, 1)),
        "quality": Histogram("Image quality", "hyperIQA", even_edges(0, 100, 5)),
        "length": Histogram("Length of the clips that are left", "s", even_edges(0, 20, 1)),
    }


def _add_file(histograms: Mapping[str, Histogram], record: FileRecord) -> None:
    histograms["height"].add(record.figures["height"])
    histograms["fps"].add(record.figures["fps"])


def _add_row(histograms: Mapping[str, Histogram], row: ManifestRow) -> None:
    if row.step == "resampled":
        return  # its silence is that of the whole recording
    names = {"face_side": "face", "silence": "silence", "confidence": "confidence", "offset": "offset"}
    for figure, name in (names | {"quality": "quality"}).items():
        if figure in row.figures:
            histograms[name].add(row.figures[figure])
