"""One clip from its files to its scores: open, follow, score, and account for the rows that stand for another."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.checkpoint import sha256_file
from latentsync.evaluation.board import Value
from latentsync.evaluation.faces import faces_beside
from latentsync.evaluation.figures import DOES_NOT_APPLY
from latentsync.evaluation.instruments import Instruments
from latentsync.evaluation.pairs import ClipFiles
from latentsync.evaluation.pictures import EQUAL
from latentsync.evaluation.scene import Scene, follow_all, open_all, paths_of, remarks_on
from latentsync.evaluation.scoring import (
    NO_SOUND_OF_ITS_OWN,
    SOUND,
    collect_features,
    score_mouth,
    score_pictures,
    score_place,
    score_sound,
)
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH, EvaluationSettings
from latentsync.media.contact_sheet import SheetRow, write_sheet

STILLS = 6  # moments of a clip that are kept as pictures


@dataclass(frozen=True, slots=True)
class ClipScores:
    """``rows``: kind of row -> figure -> number or reason. ``remarks``: what sets the files apart. ``files``: row, or
    "faces of the" row -> SHA-256. ``features``: set figure -> row -> (n, D) float32 or the reason."""

    name: str
    rows: dict[str, dict[str, Value]]
    remarks: tuple[str, ...]
    files: dict[str, str]
    features: dict[str, dict[str, np.ndarray | str]]


def score_clip(files: ClipFiles, with_: Instruments, settings: EvaluationSettings, stills: Path) -> ClipScores:
    """Score one clip and write its pictures to ``stills``. Whatever is wrong with its files becomes a reason."""
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        scene = Scene(files, settings, with_, Path(folder))
        open_all(scene)
        follow_all(scene)
        score_sound(scene)
        score_place(scene)
        score_mouth(scene)
        score_pictures(scene)
        collect_features(scene)
        _write_stills(scene, stills)
        remarks = remarks_on(scene)
    hashes = _hashes(files)
    if not scene.is_dub:
        _account_for_the_source(scene, hashes)
    _say_what_does_not_apply(scene)
    rows = scene.board.finish("needs files that are missing or cannot be used, see the other figures")
    return ClipScores(files.name, rows, tuple(remarks), hashes, scene.features)


def _hashes(files: ClipFiles) -> dict[str, str]:
    """SHA-256 of the videos, and of the files of faces beside them."""
    hashes = {}
    for row, path in paths_of(files).items():
        if path is not None:
            hashes[row] = sha256_file(path)
            if (faces := faces_beside(path)) is not None:
                hashes[f"faces of the {row}"] = sha256_file(faces)
    return hashes


def _account_for_the_source(scene: Scene, hashes: dict[str, str]) -> None:
    """Where the truth itself was dubbed, the row of the unchanged source is that of the truth."""
    rows = scene.board.rows
    rows[SOURCE] = rows[TRUTH] | dict.fromkeys(("sound_length", *SOUND), NO_SOUND_OF_ITS_OWN)
    for features in scene.features.values():
        features[SOURCE] = features[TRUTH]
    if TRUTH in hashes:
        hashes[SOURCE] = hashes[TRUTH]


def _say_what_does_not_apply(scene: Scene) -> None:
    for row in ROWS:
        if not scene.is_dub:
            scene.board.say(row, ("leak", "source_correlation"), f"{DOES_NOT_APPLY}: the source says the same words")
        if not scene.settings.setting.truth_is_picture:
            scene.board.say(row, ("lmd",), f"{DOES_NOT_APPLY}: the truth shows another person")
    if scene.reference != TRUTH:
        scene.board.say(TRUTH, (*EQUAL, "sharpness"), f"{DOES_NOT_APPLY}: the truth shows another person")


def _write_stills(scene: Scene, path: Path) -> None:
    """The same moments of all rows under one another."""
    if not scene.strips:
        return
    last = max(len(strip.found) for strip in scene.strips.values()) - 1
    moments = np.linspace(0, last, STILLS + 2)[1:-1].round().astype(int)
    rows = []
    for row in (SOURCE, RESULT, TRUTH):
        strip = scene.strips.get(scene.dubbed if row == SOURCE else row)
        shown = [
            strip.faces[i] if strip is not None and i < len(strip.found) and strip.found[i] else None for i in moments
        ]
        rows.append(SheetRow(row, shown))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, rows)
