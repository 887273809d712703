"""``data audit``: what there is, what became of it, and what it is enough for. One pass over the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentsync.preprocess.audit.account import StepAccount, take_account
from latentsync.preprocess.audit.final_clips import speaker_of
from latentsync.preprocess.audit.histogram import Histogram, even_edges
from latentsync.preprocess.audit.verdict import verdict
from latentsync.preprocess.clip import Row
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.recordings import read_recordings, rows_in_order
from latentsync.preprocess.engine.records import FileRecord, file_records
from latentsync.preprocess.steps.sequence import READABLE, Step

_EXAMPLES = 3  # dropped clips of each reason that are shown


@dataclass(frozen=True, slots=True)
class Example:
    """A file or clip that was dropped, and the file that shows it."""

    step: str
    name: str
    reason: str
    file: Path


@dataclass
class Audit:
    """Histograms by name. ``speakers`` and ``codecs``: hours of input by name."""

    accounts: list[StepAccount]
    recordings: int
    speakers: Mapping[str, float]
    codecs: Mapping[str, float]
    variable_rate: int
    rotated: int
    histograms: Mapping[str, Histogram]
    examples: Sequence[Example]
    verdict: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the pictures."""
        values = asdict(self)
        values["examples"] = [{**each, "file": str(each["file"])} for each in values["examples"]]
        return values


def audit(layout: Layout, steps: Sequence[Step], speakers_by_folder: bool = False) -> Audit:
    """Of all recordings in the manifest, under the settings of ``steps``."""
    histograms = _empty_histograms()
    speakers: Counter[str] = Counter()
    codecs: Counter[str] = Counter()
    recordings = variable = rotated = 0
    examples = _examples_of_files(layout)
    for record, journal in read_recordings(layout):
        recordings += 1
        variable += bool(record.figures["variable_rate"])
        rotated += bool(record.figures["rotation"])
        codecs[record.figures["codec"]] += record.duration / 3600
        _add_file(histograms, record)
        for index, row in rows_in_order(journal, steps):
            _add_row(histograms, row)
            given = layout.file(steps[index - 1].name, row.clip) if index else layout.input_dir / record.name
            if row.reason:
                shown = examples.setdefault((row.step, row.kind), [])
                if len(shown) < _EXAMPLES:
                    shown.append(Example(row.step, row.clip.name, row.reason, given))
            elif index == len(steps) - 1:
                speaker = speaker_of(record.name, speakers_by_folder)
                for clip in row.made:
                    histograms["length"].add(clip.seconds)
                    speakers[speaker] += clip.seconds / 3600
    known = {name: hours for name, hours in speakers.items() if name}
    accounts, order = take_account(layout, steps), [READABLE, *(step.name for step in steps)]
    return Audit(
        accounts=accounts,
        recordings=recordings,
        speakers=known,
        codecs=dict(codecs),
        variable_rate=variable,
        rotated=rotated,
        histograms=histograms,
        examples=[each for place in sorted(examples, key=lambda key: order.index(key[0])) for each in examples[place]],
        verdict=verdict(accounts, len(known), recordings, histograms["offset"]),
    )


def _examples_of_files(layout: Layout) -> dict[tuple[str, str], list[Example]]:
    """Input files that no clip can come from, by step and kind of reason."""
    found: dict[tuple[str, str], list[Example]] = {}
    for record in file_records(layout):
        if record.reason:
            shown = found.setdefault((READABLE, record.reason.partition(":")[0]), [])
            if len(shown) < _EXAMPLES:
                shown.append(Example(READABLE, record.name, record.reason, layout.input_dir / record.name))
    return found


def _empty_histograms() -> dict[str, Histogram]:
    return {
        "height": Histogram("Height of the recordings", "pixels", [0, 240, 360, 480, 720, 1080, 1440, 2160, 4320]),
        "fps": Histogram("Frame rate of the recordings", "frames/s", [0, 15, 23, 24.5, 26, 29, 31, 49, 51, 61, 120]),
        "face": Histogram("Size of the face", "pixels", even_edges(0, 1000, 50)),
        "silence": Histogram("Silence in the clips", "share", even_edges(0, 1, 0.05)),
        "confidence": Histogram("Sync confidence", "", even_edges(0, 12, 0.5)),
        "offset": Histogram("A/V offset before it was put right", "frames at 25/s", even_edges(-15.5, 15.5, 1)),
        "quality": Histogram("Picture quality", "hyperIQA", even_edges(0, 100, 5)),
        "length": Histogram("Length of the clips that are left", "s", even_edges(0, 20, 1)),
    }


def _add_file(histograms: Mapping[str, Histogram], record: FileRecord) -> None:
    histograms["height"].add(record.figures["height"])
    histograms["fps"].add(record.figures["fps"])


def _add_row(histograms: Mapping[str, Histogram], row: Row) -> None:
    if row.step == "resampled":
        return  # its silence is that of the whole recording
    names = {"face_side": "face", "silence": "silence", "confidence": "confidence", "offset": "offset"}
    for figure, name in (names | {"quality": "quality"}).items():
        if figure in row.figures:
            histograms[name].add(row.figures[figure])
