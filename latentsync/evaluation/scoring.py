"""The figures of a scene, instrument by instrument: each row gets a number, or the sentence why there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from latentsync.audio.voice_activity import speaking_frames
from latentsync.constants import AUDIO_RATE
from latentsync.errors import LatentSyncError
from latentsync.evaluation import pictures, voices
from latentsync.evaluation.faces import FacePath
from latentsync.evaluation.figures import DOES_NOT_APPLY
from latentsync.evaluation.recording import Recording
from latentsync.evaluation.scene import Scene, faceless
from latentsync.evaluation.settings import ROWS, SOURCE, TRUTH
from latentsync.metrics.hyperiqa import quality
from latentsync.metrics.i3d import i3d_features
from latentsync.metrics.inception import inception_features

NO_SOUND_OF_ITS_OWN = "is given the sound of the truth"
SOUND = ("sound_lag", "sound_drift")
_OWN_SYNC = ("stablesyncnet_cosine", "stablesyncnet_confidence", "stablesyncnet_offset")
_PUBLISHED_SYNC = ("lse_c", "lse_d", "av_offset")
_PICTURE = ("picture_lag", "picture_drift")


def score_sound(scene: Scene) -> None:
    """Sync of lips and sound, and how long the sound is, late, and drifting."""
    board, expected = scene.board, scene.expected
    for row, recording in scene.recordings.items():
        _score_sync(scene, row, recording)
        if expected is not None:
            board.put(row, {"length": recording.seconds - len(expected) / AUDIO_RATE})
        if row == SOURCE:
            board.say(row, ("sound_length", *SOUND), NO_SOUND_OF_ITS_OWN)
        elif recording.sound is None:
            board.say(row, ("sound_length", *SOUND), recording.no_sound)
        else:
            board.put(row, {"sound_length": len(recording.sound) / AUDIO_RATE - recording.seconds})
            if expected is not None:
                board.attempt(row, SOUND, partial(voices.sound_figures, recording.sound, expected))


def score_place(scene: Scene) -> None:
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


def score_mouth(scene: Scene) -> None:
    """How the mouth opens, against the truth's and the source's."""
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


def score_pictures(scene: Scene) -> None:
    """Cut out the faces and hold them against the reference and the source."""
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


def _three_faces(strip: pictures.FaceStrip) -> list[np.ndarray]:
    """The first, middle and last."""
    frames = np.flatnonzero(strip.found)
    return [strip.faces[frames[place]] for place in (0, len(frames) // 2, -1)] if len(frames) else []


def collect_features(scene: Scene) -> None:
    """What the figures of the whole set need of each row."""
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
