"""The result as JSON and CSV. No time is in it, so two runs write the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.constants import VERSION
from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.settings import EvaluationSettings
from latentsync.evaluation.summary import Failure, Summary

PROCESSING = 3  # raise when the same files would give other figures
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "opencv-python", "av", "lpips")


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found. ``weights``: file name -> SHA-256; ``notes`` for the reader."""

    settings: EvaluationSettings
    weights: Mapping[str, str]
    clips: Sequence[ClipScores]
    summary: Mapping[str, Mapping[str, Summary]]
    failures: Sequence[Failure]
    notes: Sequence[str]

    def to_json(self) -> str:
        """Numbers in full; infinite ones as the text "inf"."""
        content = {
            "version": VERSION,
            "processing": PROCESSING,
            "settings": asdict(self.settings),
            "weights": dict(self.weights),
            "packages": {name: metadata.version(name) for name in _PACKAGES} | {"python": platform.python_version()},
            "machine": platform.machine(),
            "notes": list(self.notes),
            "summary": {row: {k: asdict(v) for k, v in figures.items()} for row, figures in self.summary.items()},
            "failures": [asdict(each) for each in self.failures],
            "clips": [
                {"name": c.name, "files": c.files, "remarks": list(c.remarks), "rows": c.rows} for c in self.clips
            ],
        }
        return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def clips_csv(self) -> str:
        """One line for each clip, row and figure: a value, or the reason why there is none."""
        lines = [
            (
                clip.name,
                row,
                name,
                "" if isinstance(value, Missing) else repr(value),
                value.reason if isinstance(value, Missing) else "",
            )
            for clip in self.clips
            for row, figures in clip.rows.items()
            for name, value in figures.items()
        ]
        return _csv(("clip", "row", "figure", "value", "reason"), lines)

    def summary_csv(self) -> str:
        """One line for each figure and row."""
        names = list(Summary.__dataclass_fields__)
        lines = [
            (figure, row, *(_cell(getattr(found, name)) for name in names))
            for row, figures in self.summary.items()
            for figure, found in figures.items()
        ]
        return _csv(("figure", "row", *names), lines)


def write_report(evaluation: Evaluation, page: str, folder: Path) -> str:
    """Write evaluation.json, evaluation.html, clips.csv and summary.csv; returns the SHA-256 of the first.

    Raises ``OSError`` if the folder cannot be written.
    """
    files = {
        "evaluation.json": evaluation.to_json(),
        "clips.csv": evaluation.clips_csv(),
        "summary.csv": evaluation.summary_csv(),
        "evaluation.html": page,
    }
    for name, text in files.items():
        write_text(folder / name, text, durable=True)
    return hashlib.sha256(files["evaluation.json"].encode()).hexdigest()


def _csv(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Without what JSON cannot write: a figure that is missing is its reason, an infinite number the text "inf"."""
    if isinstance(value, Missing):
        return value.reason
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
