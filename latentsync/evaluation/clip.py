"""One clip from its files to its figures: open, follow, crop, score; each step gives a value that the next takes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from latentsync.checkpoint import sha256_file
from latentsync.constants import AUDIO_RATE
from latentsync.evaluation.crops import FaceCrops, compare, crop_clip
from latentsync.evaluation.faces import RowFaces, faces_beside, follow_clip
from latentsync.evaluation.figures import (
    DOES_NOT_APPLY,
    FIGURES,
    NO_FEATURES,
    SET_FIGURES,
    Features,
    Figure,
    Premise,
    RowInputs,
    Value,
)
from latentsync.evaluation.missing import Missing, attempt, first
from latentsync.evaluation.networks import EvaluationNetworks
from latentsync.evaluation.recordings import ClipFiles, OpenedClip, joins_of, open_clip, report_beside
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH, EvaluationSettings
from latentsync.evaluation.sync import Mouth, MouthPair, mouth_of, published_sync_score, stable_sync_fit, thumbnails
from latentsync.media.contact_sheet import SheetRow, write_sheet
from latentsync.metrics.drift import Lag, audio_lag, video_lag

T = TypeVar("T")

STILLS = 6  # moments of a clip that are kept as images
GIVEN_AUDIO = Missing("is given the sound of the truth")  # what a source has in place of audio of its own
ANOTHER_PERSON = f"{DOES_NOT_APPLY}: the truth shows another person"
SAME_WORDS = f"{DOES_NOT_APPLY}: the source says the same words"


@dataclass(frozen=True, slots=True)
class ClipScores:
    """``rows``: kind of row -> figure -> number or reason. ``remarks``: what sets the files apart. ``files``: row,
    "faces of the" row, or "report of the result" -> SHA-256. ``features``: set figure -> row -> (n, D) float32 or the
    reason."""

    name: str
    rows: Mapping[str, Mapping[str, Value]]
    remarks: tuple[str, ...]
    files: Mapping[str, str]
    features: Mapping[str, Mapping[str, Features]]


def score_clip(
    files: ClipFiles, networks: EvaluationNetworks, settings: EvaluationSettings, stills: Path
) -> ClipScores:
    """Score one clip and write images of it to ``stills``. Whatever is wrong with its files becomes a reason."""
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        clip = open_clip(files, settings.setting, settings.limits)
        faces = follow_clip(clip, networks.detector, settings)
        crops = crop_clip(clip, faces, settings, Path(folder))
        inputs = gather_inputs(clip, faces, crops, networks, settings)
        rows = _rows(clip, inputs)
        features = {name: _features(clip, inputs, figure) for name, figure in SET_FIGURES.items()}
        _write_stills(clip, crops, stills)
        remarks = clip.remarks()
    return ClipScores(files.name, rows, remarks, _hashes(files), features)


def gather_inputs(
    clip: OpenedClip,
    faces: Mapping[str, RowFaces],
    crops: Mapping[str, FaceCrops | Missing],
    networks: EvaluationNetworks,
    settings: EvaluationSettings,
) -> dict[str, RowInputs]:
    """What the figures are computed from, for every row that has a recording."""
    expected = _silent(clip.expected_audio)
    mouths = {row: attempt(mouth_of, each.mouth) for row, each in faces.items()}
    true_mouth, source_mouth = _silent(mouths.get(TRUTH)), _silent(mouths.get(SOURCE))
    video_lags = _video_lags(clip, settings)
    result = clip.recordings.get(RESULT)
    joins = None if result is None else attempt(joins_of, result.video.info.path)
    inputs = {}
    for row, recording in clip.recordings.items():
        own = Missing(recording.no_audio) if recording.audio is None else recording.audio
        spoken = first(expected if row == SOURCE else own, Missing(recording.no_audio or "no sound"))
        given = GIVEN_AUDIO if row == SOURCE else own
        place, unmet = faces[row].place, _unmet(row, clip, settings)
        comparable = Missing() if Premise.SAME_PERSON in unmet else _silent(crops.get(clip.reference))
        inputs[row] = RowInputs(
            settings=settings,
            networks=networks,
            recording=recording,
            audio=given,
            expected_audio=expected,
            audio_lag=attempt(partial(audio_lag, rate=AUDIO_RATE), given, expected),
            video_lag=video_lags[row],
            stable_sync=attempt(
                partial(stable_sync_fit, recording=recording, resolution=settings.resolution),
                *(networks.stable_sync, faces[row].visible, spoken),
            ),
            published_sync=attempt(
                partial(published_sync_score, recording=recording, faces=None if isinstance(place, Missing) else place),
                *(networks.published_sync, spoken),
            ),
            face=faces[row].own,
            place=_silent(place),
            mouth=attempt(partial(_mouth_pair, truth=true_mouth, source=source_mouth, audio=expected), mouths[row]),
            source_mouth=source_mouth,
            crops=crops[row],
            source_crops=_silent(crops.get(clip.dubbed)),
            comparison=attempt(partial(compare, stride=settings.stride), crops[row], comparable),
            joins=joins,
            is_reference=row == clip.reference,
            unmet=unmet,
        )
    return inputs


def _silent(value: T | Missing | None) -> T | Missing:
    """Without the reason why it is missing, which another row tells."""
    return Missing() if value is None or isinstance(value, Missing) else value


def _unmet(row: str, clip: OpenedClip, settings: EvaluationSettings) -> dict[Premise, str]:
    unmet = {}
    if clip.dubbed != SOURCE:
        unmet[Premise.OTHER_WORDS] = SAME_WORDS
    if not settings.setting.truth_is_target:
        unmet[Premise.TARGET] = ANOTHER_PERSON
    if row == TRUTH and clip.reference != TRUTH:
        unmet[Premise.SAME_PERSON] = ANOTHER_PERSON
    return unmet


def _video_lags(clip: OpenedClip, settings: EvaluationSettings) -> dict[str, Lag | Missing]:
    """Of every row against the video that was dubbed."""
    if clip.dubbed not in clip.recordings:
        return dict.fromkeys(clip.recordings, Missing())
    shown = {row for row in clip.recordings if row != TRUTH or settings.setting.truth_is_target}
    small = {row: attempt(thumbnails, clip.recordings[row]) for row in {*shown, clip.dubbed}}
    return {
        row: attempt(video_lag, small[row], small[clip.dubbed]) if row in shown else Missing(ANOTHER_PERSON)
        for row in clip.recordings
    }


def _mouth_pair(
    mine: Mouth, truth: Mouth | Missing, source: Mouth | Missing, audio: np.ndarray | Missing
) -> MouthPair | Missing:
    if isinstance(truth, Missing) or isinstance(audio, Missing):
        return Missing("the truth has no mouth or no sound to compare with")
    return MouthPair(mine, truth, None if isinstance(source, Missing) else source, audio)


def _rows(clip: OpenedClip, inputs: Mapping[str, RowInputs]) -> dict[str, dict[str, Value]]:
    """All rows with all figures. Where the truth itself was dubbed, the row of the source is that of the truth."""
    rows: dict[str, dict[str, Value]] = {
        row: dict.fromkeys(FIGURES, Missing(reason)) for row, reason in clip.unopened.items()
    }
    rows |= {row: {name: figure.value(each) for name, figure in FIGURES.items()} for row, each in inputs.items()}
    if clip.dubbed != SOURCE:
        rows[SOURCE] = rows[TRUTH] | dict.fromkeys(("sound_length", "sound_lag", "sound_drift"), GIVEN_AUDIO)
    return {row: rows[row] for row in ROWS}


def _features(clip: OpenedClip, inputs: Mapping[str, RowInputs], figure: Figure) -> dict[str, Features]:
    """Of all rows."""
    found = {row: figure.features(each) for row, each in inputs.items()}
    found |= {row: Missing(NO_FEATURES) for row in ROWS if row not in found}
    return found if clip.dubbed == SOURCE else found | {SOURCE: found[TRUTH]}


def _hashes(files: ClipFiles) -> dict[str, str]:
    """SHA-256 of the videos, and of the files of faces and the report beside them."""
    hashes = {}
    for row, path in files.rows().items():
        if path is not None:
            hashes[row] = sha256_file(path)
            if (faces := faces_beside(path)) is not None:
                hashes[f"faces of the {row}"] = sha256_file(faces)
    if files.result is not None and (report := report_beside(files.result)).is_file():
        hashes["report of the result"] = sha256_file(report)
    if files.dubbed != SOURCE and TRUTH in hashes:
        hashes[SOURCE] = hashes[TRUTH]
    return hashes


def _write_stills(clip: OpenedClip, crops: Mapping[str, FaceCrops | Missing], path: Path) -> None:
    """The same moments of all rows under one another."""
    known = {row: each for row, each in crops.items() if not isinstance(each, Missing)}
    if not known:
        return
    last = max(len(each.found) for each in known.values()) - 1
    moments = np.linspace(0, last, STILLS + 2)[1:-1].round().astype(int)
    rows = []
    for row in (SOURCE, RESULT, TRUTH):
        each = known.get(clip.dubbed if row == SOURCE else row)
        shown = [each.faces[i] if each is not None and i < len(each.found) and each.found[i] else None for i in moments]
        rows.append(SheetRow(row, shown))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, rows)
