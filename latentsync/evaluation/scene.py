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
from latentsync.face.detections_file import Detections
from latentsync.face.detector import FaceDetector


@dataclass
class Scene:
    """Filled in step by step, see ``clip.score_clip``."""

    files: ClipFiles
    settings: EvaluationSettings
    with_: Instruments
    folder: Path
    board: Board = field(default_factory=Board)
    recordings: dict[str, Recording] = field(default_factory=dict)
    places: dict[str, FacePath] = field(default_factory=dict)  # from files of faces
    mouths: dict[str, FacePath] = field(default_factory=dict)  # all of one origin
    lost: set[str] = field(default_factory=set)  # rows whose face was looked for in vain
    strips: dict[str, FaceStrip] = field(default_factory=dict)
    features: dict[str, dict[str, np.ndarray | str]] = field(default_factory=lambda: {n: {} for n in SET_FIGURES})

    @property
    def reference(self) -> str:
        """The row that pictures are compared with."""
        return TRUTH if self.settings.setting.truth_is_picture else self.dubbed

    @property
    def dubbed(self) -> str:
        """The row of the video that was dubbed."""
        return SOURCE if self.is_dub else TRUTH

    @property
    def is_dub(self) -> bool:
        """Whether the source says something else than the truth. If not, only the truth is opened and scored."""
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

    def shows_none(self, row: str) -> bool:
        """Whether a face was looked for in a row in vain, and no file says that there is one. Its pictures can still be
        compared where the face should be, but a sync network finds some agreement in anything."""
        return row in self.lost and row not in self.places

    def placed(self, row: str) -> FacePath | None:
        """Where the face of a row is: as a file says, of itself or of the picture it should be; else as was found;
        else as in the video that was dubbed."""
        places, mouths, reference = self.places, self.mouths, self.reference
        same_picture = row == RESULT and self.settings.setting.truth_is_picture
        path = places.get(row) or (places.get(reference) if same_picture else None) or mouths.get(row)
        return path or (places.get(reference) or mouths.get(reference) if row == RESULT else None)


def paths_of(files: ClipFiles) -> dict[str, Path | None]:
    """By row, those first that others are compared with; a source that is the truth is left out."""
    paths = {TRUTH: files.truth, SOURCE: files.source, RESULT: files.result}
    return {row: path for row, path in paths.items() if row != SOURCE or path != files.truth}


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
    """Find the faces. Mouths are only compared if all come from one landmarker: files of faces where all recordings
    have one, else the detector. A file of faces always says where the face is placed."""
    try:
        given = {row: given_faces(each.video.info.path) for row, each in scene.recordings.items()}
    except LatentSyncError as error:
        for row in scene.recordings:
            scene.board.say(row, ("faces",), error.message)
        return
    detector = scene.with_.detector
    all_given = all(faces is not None for faces in given.values())
    for row in scene.recordings:
        if given[row] is not None:
            _follow(scene, scene.places, row, None, given[row])
        if all_given and row in scene.places:
            scene.mouths[row] = scene.places[row]
        elif isinstance(detector, str):
            scene.board.say(row, faceless(), detector)
        elif not all_given:
            _follow(scene, scene.mouths, row, detector, None)
        if face := scene.mouths.get(row, scene.places.get(row)):
            scene.board.rows[row]["faces"] = face.share


def _follow(
    scene: Scene, paths: dict[str, FacePath], row: str, detector: FaceDetector | None, given: Detections | None
) -> None:
    """Add the path of a row, or say why there is none."""
    face, side = scene.settings.face, scene.settings.resolution
    try:
        paths[row] = follow_face(scene.recordings[row], detector, given, face, side)
        scene.lost.discard(row)
    except LatentSyncError as error:
        scene.lost.add(row)
        scene.board.say(row, faceless(), error.message)


def faceless() -> tuple[str, ...]:
    """Figures that nothing can stand in for where the face is not found."""
    return ("faces", "lmd", "opening_correlation", "opening_lag", "leak", "source_correlation", "silence_movement",
            "sharpness", "csim")  # fmt: skip


def remarks_on(scene: Scene) -> list[str]:
    """What sets the files apart, and what their decoder met."""
    result, other = scene.recordings.get(RESULT), scene.recordings.get(scene.reference)
    found = [] if result is None or other is None else differences(result, other)
    return found + [note for each in scene.recordings.values() for note in each.video.notes]
