"""Whose word counts for the face of each row: files beside the videos, the detector, or another row's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.evaluation.faces import RowFaces, follow_clip
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.recordings import ClipFiles, open_clip
from latentsync.evaluation.settings import RESULT, TRUTH, Setting
from latentsync.face.detector import Detection
from tests.evaluation.world import SETTINGS, talker, write_talker

CLIP = talker(2, seconds=1.0, size=96)


class Drawn:
    """A detector that knows what was drawn, or finds nothing."""

    name = "drawn"

    def __init__(self, shift: float | None) -> None:
        self._shift = shift
        self.name = f"drawn {shift}"

    def detect(self, frames) -> list[list[Detection]]:
        return [[] if self._shift is None else [self._face(frame.index)] for frame in frames]

    def _face(self, index: int) -> Detection:
        points = (CLIP.landmarks[index] + self._shift).astype(np.float32)
        return Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)


@pytest.fixture
def files(tmp_path, monkeypatch) -> ClipFiles:
    """A truth with a file of faces, and a result without."""
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    truth = write_talker(tmp_path / "truth" / "a.mp4", CLIP)
    result = write_talker(tmp_path / "result" / "a.mp4", CLIP, quality=28)
    result.with_suffix(".npz").unlink()
    return ClipFiles("a", result, truth, truth)


def follow(files: ClipFiles, detector, setting: Setting = Setting.RECONSTRUCTION) -> dict[str, RowFaces]:
    return follow_clip(open_clip(files, setting), detector, replace(SETTINGS, setting=setting))


def test_mouths_come_from_one_landmarker_and_places_from_the_file(files) -> None:
    found = follow(files, Drawn(1.0))
    for row in (RESULT, TRUTH):
        assert np.allclose(found[row].mouth.landmarks, CLIP.landmarks[:25] + 1, atol=1e-4), row
        assert found[row].own is found[row].mouth
    given = found[TRUTH].given
    assert np.allclose(given.landmarks, CLIP.landmarks[:25], atol=1e-4)
    assert found[TRUTH].place is found[RESULT].place is given  # the result should be the same frames
    assert not found[RESULT].in_vain


def test_without_a_detector_a_file_says_where_the_face_is_but_mouths_do_not_compare(files) -> None:
    missing = Missing("weights missing")
    found = follow(files, missing)
    assert found[TRUTH].mouth == found[RESULT].mouth == found[RESULT].own == missing
    assert found[TRUTH].own is found[TRUTH].given
    assert found[RESULT].visible is found[TRUTH].given  # nobody has looked and found nothing


def test_where_nothing_is_found_the_crop_stays_and_nobody_is_visible(files) -> None:
    found = follow(files, Drawn(None))
    assert "no face" in found[RESULT].own.reason
    assert found[RESULT].in_vain
    assert found[RESULT].place is found[TRUTH].given
    assert found[RESULT].visible == found[RESULT].own
    assert found[TRUTH].visible is found[TRUTH].given


def test_files_beside_all_videos_need_no_detector(files) -> None:
    write_talker(Path(files.result), CLIP)
    found = follow(files, Missing("weights missing"))
    for faces in found.values():
        assert faces.mouth is faces.given is faces.own is faces.visible


def test_a_damaged_file_leaves_the_clip_without_faces(files) -> None:
    files.truth.with_suffix(".npz").write_text("words")
    for faces in follow(files, Drawn(1.0)).values():
        assert "no file of faces" in faces.own.reason
        assert faces.mouth == faces.place == Missing()
