"""What is known of one clip while it is scored: its recordings, the face in each, and the figures so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentsync.errors import DataError, LatentSyncError
from latentsync.evaluation.board import Board
from latentsync.evaluation.faces import FacePath, follow_face, given_faces
from latentsync.evaluation.figures import FIGURES, SET_FIGURES
from latentsync.evaluation.instruments import Instruments
from latentsync.evaluation.pairs import ClipFiles
from latentsync.evaluation.pictures import FaceStrip
from latentsync.evaluation.recording import Recording, differences, open_recording
from latentsync.evaluation.settings import RESULT, SOURCE, TRUTH, EvaluationSettings


@dataclass
class Scene:
    """Filled in step by step, see ``clip.score_clip``."""

    files: ClipFiles
    settings: EvaluationSettings
    with_: Instruments
    folder: Path
    board: Board = field(default_factory=Board)
    recordings: dict[str, Recording] = field(default_factory=dict)
    faces: dict[str, FacePath] = field(default_factory=dict)  # each row's own
    strips: dict[str, FaceStrip] = field(default_factory=dict)
    features: dict[str, dict[str, np.ndarray | str]] = field(default_factory=lambda: {n: {} for n in SET_FIGURES})

    @property
    def reference(self) -> str:
        """The row that pictures are compared with."""
        return TRUTH if self.settings.setting.truth_is_picture else SOURCE

    @property
    def is_dub(self) -> bool:
        """Whether the source says something else than the truth."""
        return self.files.source != self.files.truth

    @property
    def expected(self) -> np.ndarray | None:
        """The sound that should be spoken."""
        sounds = [self.recordings[row].sound for row in (TRUTH, RESULT) if row in self.recordings]
        return next((sound for sound in sounds if sound is not None), None)

    def sound(self, row: str) -> np.ndarray:
        """What is heard in a row. Raises ``DataError``."""
        sound = self.expected if row == SOURCE else self.recordings[row].sound
        if sound is None:
            raise DataError(self.recordings[row].no_sound or "no sound", remedy="Give files with sound.")
        return sound

    def placed(self, row: str) -> FacePath | None:
        """Where the face of a row is: its own path, or that of the video that was dubbed."""
        return self.faces.get(row) or (self.faces.get(self.reference) if row == RESULT else None)


def paths_of(files: ClipFiles) -> dict[str, Path | None]:
    """By row, those first that others are compared with."""
    return {TRUTH: files.truth, SOURCE: files.source, RESULT: files.result}


def open_all(scene: Scene) -> None:
    """Open the recordings; a result is brought to the size of what it is compared with."""
    size = None
    for row, path in paths_of(scene.files).items():
        if path is None:
            scene.board.say(row, FIGURES, f"no file of this name among the {'results' if row == RESULT else row + 's'}")
            continue
        try:
            opened = open_recording(path, size if row == RESULT else None)
        except LatentSyncError as error:
            scene.board.say(row, FIGURES, f"unreadable: {error.message}")
            continue
        scene.recordings[row] = opened
        if row == scene.reference:
            size = opened.size


def follow_all(scene: Scene) -> None:
    """Find the faces: given ones if all recordings have them, else the detector's; without a detector the given."""
    try:
        given = {row: given_faces(each.video.info.path) for row, each in scene.recordings.items()}
    except LatentSyncError as error:
        for row in scene.recordings:
            scene.board.say(row, ("faces",), error.message)
        return
    detector = scene.with_.detector
    use_given = isinstance(detector, str) or all(faces is not None for faces in given.values())
    for row, recording in scene.recordings.items():
        if row == SOURCE and not scene.is_dub and TRUTH in scene.faces:
            scene.faces[SOURCE] = scene.faces[TRUTH]
        elif use_given and given[row] is None:
            scene.board.say(row, faceless(), str(detector))
            continue
        else:
            known = given[row] if use_given else None
            face, side = scene.settings.face, scene.settings.resolution
            try:
                scene.faces[row] = follow_face(recording, None if use_given else detector, known, face, side)
            except LatentSyncError as error:
                scene.board.say(row, faceless(), error.message)
                continue
        scene.board.put(row, {"faces": scene.faces[row].share})


def faceless() -> tuple[str, ...]:
    """Figures that nothing can stand in for where the face is not found."""
    return ("faces", "lmd", "opening_correlation", "opening_lag", "leak", "source_correlation", "silence_movement",
            "sharpness", "csim")  # fmt: skip


def remarks_on(scene: Scene) -> list[str]:
    """What sets the files apart, and what their decoder met."""
    result, other = scene.recordings.get(RESULT), scene.recordings.get(scene.reference)
    found = [] if result is None or other is None else differences(result, other)
    return found + [note for each in scene.recordings.values() for note in each.video.notes]
