"""All figures of one clip, for the result, the ground truth and the unchanged source."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentsync.checkpoint import sha256_file
from latentsync.constants import AUDIO_RATE
from latentsync.errors import LatentSyncError
from latentsync.evaluation import pictures, voices
from latentsync.evaluation.board import Value
from latentsync.evaluation.faces import FacePath, faces_beside
from latentsync.evaluation.figures import DOES_NOT_APPLY
from latentsync.evaluation.instruments import Instruments
from latentsync.evaluation.pairs import ClipFiles
from latentsync.evaluation.recording import Recording
from latentsync.evaluation.scene import Scene, faceless, follow_all, open_all, paths_of, remarks_on
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH, EvaluationSettings
from latentsync.metrics.hyperiqa import quality
from latentsync.metrics.i3d import i3d_features
from latentsync.metrics.inception import inception_features
from latentsync.metrics.speech import speaking_frames
from latentsync.training.contact_sheet import SheetRow, write_sheet

STILLS = 6  # moments of a clip that are kept as pictures
_OWN_SYNC = ("stablesyncnet_cosine", "stablesyncnet_confidence", "stablesyncnet_offset")
_PUBLISHED_SYNC = ("lse_c", "lse_d", "av_offset")
_SOUND = ("sound_lag", "sound_drift")
_PICTURE = ("picture_lag", "picture_drift")
_NO_SOUND_OF_ITS_OWN = "is given the sound of the truth"


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
        _score_sound(scene)
        _score_place(scene)
        _score_mouth(scene)
        _score_pictures(scene)
        _collect_features(scene)
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


def _score_sound(scene: Scene) -> None:
    board, expected = scene.board, scene.expected
    for row, recording in scene.recordings.items():
        _score_sync(scene, row, recording)
        if expected is not None:
            board.put(row, {"length": recording.seconds - len(expected) / AUDIO_RATE})
        if row == SOURCE:
            board.say(row, ("sound_length", *_SOUND), _NO_SOUND_OF_ITS_OWN)
        elif recording.sound is None:
            board.say(row, ("sound_length", *_SOUND), recording.no_sound)
        else:
            board.put(row, {"sound_length": len(recording.sound) / AUDIO_RATE - recording.seconds})
            if expected is not None:
                board.attempt(row, _SOUND, partial(voices.sound_figures, recording.sound, expected))


def _score_place(scene: Scene) -> None:
    """Lag and drift of the pictures against the video that was dubbed."""
    dubbed = scene.dubbed
    if dubbed not in scene.recordings:
        return
    small: dict[str, np.ndarray] = {}

    def lag(row: str) -> voices.Scores:
        for each in (row, dubbed):
            if each not in small:
                small[each] = voices.thumbnails(scene.recordings[each])
        return voices.picture_figures(small[row], small[dubbed])

    for row in scene.recordings:
        if row == TRUTH and not scene.settings.setting.truth_is_picture:
            scene.board.say(row, _PICTURE, f"{DOES_NOT_APPLY}: the truth shows another person")
        else:
            scene.board.attempt(row, _PICTURE, partial(lag, row))


def _score_sync(scene: Scene, row: str, recording: Recording) -> None:
    board, with_, faces = scene.board, scene.with_, scene.placed(row)
    if isinstance(with_.sync, str):
        board.say(row, _OWN_SYNC, with_.sync)
    elif faces is None or scene.shows_none(row):
        board.say(row, _OWN_SYNC, str(board.rows[row].get("faces", "no face")))
    else:
        side = scene.settings.resolution
        board.attempt(row, _OWN_SYNC, lambda: voices.own_sync(with_.sync, recording, faces, scene.sound(row), side))
    if isinstance(with_.published_sync, str):
        board.say(row, _PUBLISHED_SYNC, with_.published_sync)
    else:
        networks = with_.published_sync
        board.attempt(row, _PUBLISHED_SYNC, lambda: voices.published_sync(networks, recording, faces, scene.sound(row)))


def _score_mouth(scene: Scene) -> None:
    openings: dict[str, np.ndarray] = {}
    for row, faces in scene.mouths.items():
        try:
            openings[row] = voices.opening_of(faces)
        except LatentSyncError as error:
            scene.board.say(row, faceless(), error.message)
    expected = scene.expected
    if TRUTH not in openings or expected is None:
        for row in openings:
            scene.board.say(row, faceless(), "the truth has no mouth or no sound to compare with")
        return
    source = openings.get(SOURCE)
    for row, opening in openings.items():
        scene.board.each(row, voices.mouth_figures(opening, openings[TRUTH], source, expected))
        if scene.settings.setting.truth_is_picture:
            scene.board.each(row, {"lmd": lambda row=row: voices.lmd(scene.mouths[row], scene.mouths[TRUTH])})


def _score_pictures(scene: Scene) -> None:
    board, with_, settings = scene.board, scene.with_, scene.settings
    reference = scene.placed(scene.reference)
    if reference is None:
        return
    for row, recording in scene.recordings.items():
        other_person = row == TRUTH and not settings.setting.truth_is_picture
        path = scene.placed(TRUTH) if other_person else reference
        if path is not None:
            _cut(scene, row, recording, path)
    for name, network in (("hyperiqa", with_.hyperiqa), ("csim", with_.csim)):
        for row in scene.strips:
            if isinstance(network, str):
                board.say(row, [name], network)
    for row in scene.strips:
        if isinstance(with_.lpips, str):
            board.say(row, ("lpips_inside", "lpips_outside"), with_.lpips)
        board.each(row, _picture_figures(scene, row))


def _cut(scene: Scene, row: str, recording: Recording, path: FacePath) -> None:
    own, side = scene.mouths.get(row), scene.settings.resolution
    try:
        scene.strips[row] = pictures.cut_faces(recording, path, own, side, scene.folder, row)
    except LatentSyncError as error:  # damaged in the middle
        scene.board.say(row, (*pictures.EQUAL, "flicker", "sharpness", "hyperiqa"), error.message)


def _picture_figures(scene: Scene, row: str) -> dict[str, Callable[[], float]]:
    """Of one row, still to be computed."""
    with_, settings, strip = scene.with_, scene.settings, scene.strips[row]
    reference, source, keep = scene.strips.get(scene.reference), scene.strips.get(scene.dubbed), with_.keep_mask
    figures: dict[str, Callable[[], float]] = {}
    if scene.expected is not None:
        speaking = speaking_frames(scene.expected, len(strip.found))
        figures["flicker"] = lambda: pictures.flicker_in_silence(strip, speaking, keep)
    if not isinstance(with_.hyperiqa, str):
        figures["hyperiqa"] = lambda: quality(with_.hyperiqa, _three_faces(strip))
    if row == TRUTH and scene.reference != TRUTH:  # another person
        return figures
    if row == scene.reference:
        known = {"lpips_inside": with_.lpips, "lpips_outside": with_.lpips, "csim": with_.csim}
        equal = {name: value for name, value in pictures.EQUAL.items() if not isinstance(known.get(name), str)}
        scene.board.put(row, equal)
    elif reference is not None:
        network = None if isinstance(with_.lpips, str) else with_.lpips
        try:
            figures |= pictures.compared(strip, reference, keep, network, settings.stride)
        except LatentSyncError as error:
            scene.board.say(row, pictures.EQUAL, error.message)
        if not isinstance(with_.csim, str):
            figures["csim"] = lambda: pictures.likeness_of_person(with_.csim, strip, reference, settings.stride)
    if source is not None:
        figures["sharpness"] = lambda: pictures.sharpness_of_mouth(strip, source, keep, settings.stride)
    return figures


def _account_for_the_source(scene: Scene, hashes: dict[str, str]) -> None:
    """Where the truth itself was dubbed, the row of the unchanged source is that of the truth."""
    rows = scene.board.rows
    rows[SOURCE] = rows[TRUTH] | dict.fromkeys(("sound_length", *_SOUND), _NO_SOUND_OF_ITS_OWN)
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
        scene.board.say(TRUTH, (*pictures.EQUAL, "sharpness"), f"{DOES_NOT_APPLY}: the truth shows another person")


def _three_faces(strip: pictures.FaceStrip) -> list[np.ndarray]:
    """The first, middle and last."""
    frames = np.flatnonzero(strip.found)
    return [strip.faces[frames[place]] for place in (0, len(frames) // 2, -1)] if len(frames) else []


def _collect_features(scene: Scene) -> None:
    with_, settings, absent = scene.with_, scene.settings, "no face, or no file"
    for row in scene.recordings:
        strip, faces = scene.strips.get(row), scene.placed(row)
        fid = fvd = absent
        if strip is not None:
            few = np.flatnonzero(strip.found)[:: settings.stride]
            fid = with_.inception
            if not isinstance(fid, str):
                fid = inception_features(with_.inception, strip.faces[few]) if len(few) else absent
        if faces is not None:
            fvd = with_.i3d if isinstance(with_.i3d, str) else _i3d(scene, row, faces)
        scene.features["fid"][row], scene.features["fvd"][row] = fid, fvd
    for found in scene.features.values():
        for row in ROWS:
            found.setdefault(row, absent)


def _i3d(scene: Scene, row: str, faces: FacePath) -> np.ndarray | str:
    settings = scene.settings
    try:
        cropped = pictures.faces_of_fvd(scene.recordings[row], faces.boxes, settings.fvd_first_frame)
    except LatentSyncError as error:
        return error.message
    return i3d_features(scene.with_.i3d, cropped, settings.fvd_range)[None]


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
