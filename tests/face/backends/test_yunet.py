import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.errors import WeightsCorruptError
from latentsync.face.backends.yunet import YuNetMesh
from latentsync.types import ArrayFrame, Frame
from tests.golden import shared_file

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def detector() -> YuNetMesh:
    return YuNetMesh(
        shared_file("weights/yunet_n_dynamic.onnx"), shared_file("weights/face_landmarker.task"), workers=2
    )


def frames(clip: str, start: int, stop: int, step: int = 1) -> list[np.ndarray]:
    with av.open(str(shared_file(f"media/{clip}"))) as container:
        shown = itertools.islice(container.decode(video=0), start, stop, step)
        return [frame.to_ndarray(format="rgb24") for frame in shown]


def stills(images: list[np.ndarray]) -> list[Frame]:
    return [ArrayFrame.of(image) for image in images]


@pytest.mark.shared
def test_the_face_of_a_talking_head(detector):
    images = frames("bytedance+LatentSync/assets/demo1_video.mp4", 0, 9, 4)
    found = detector.detect(stills(images))
    assert [len(faces) for faces in found] == [1, 1, 1]
    for face in itertools.chain(*found):
        assert face.score > 0.8
        assert face.landmarks.shape == (68, 2)
        assert face.landmarks.dtype == face.box.dtype == np.float32
        left, top, right, bottom = face.box
        centre = face.landmarks.mean(axis=0)
        assert left < centre[0] < right
        assert top < centre[1] < bottom
        brows, eyes, nose, mouth = (
            face.landmarks[a:b].mean(axis=0)[1] for a, b in ((17, 27), (36, 48), (31, 36), (48, 68))
        )
        assert brows < eyes < nose < mouth < face.landmarks[8, 1]
        assert face.landmarks[36, 0] < face.landmarks[45, 0]
    alone = detector.detect(stills(images[1:2]))[0][0]
    assert np.array_equal(alone.landmarks, found[1][0].landmarks)


@pytest.mark.shared
def test_a_turned_and_a_moved_picture_turn_and_move_the_points(detector):
    image = frames("bytedance+LatentSync/assets/demo1_video.mp4", 0, 1)[0][300:1100]
    plain = detector.detect([ArrayFrame.of(image)])[0][0].landmarks
    moved = detector.detect([ArrayFrame.of(np.ascontiguousarray(image[40:, 64:]))])[0][0].landmarks
    assert np.abs(moved - plain + [64, 40]).mean() < 2
    mirrored = detector.detect([ArrayFrame.of(np.ascontiguousarray(image[:, ::-1]))])[0][0].landmarks
    assert abs(mirrored[:, 0].mean() - (image.shape[1] - 1 - plain[:, 0].mean())) < 3


@pytest.mark.shared
def test_small_frames_and_large_ones_give_the_same_points(detector):
    image = frames("bytedance+LatentSync/assets/demo1_video.mp4", 0, 1)[0][400:1100, 200:900]
    large = detector.detect([ArrayFrame.of(image)])[0][0].landmarks
    for side in (350, 175):
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        found = (detector.detect([ArrayFrame.of(small)])[0][0].landmarks + 0.5) * (700 / side) - 0.5
        assert np.linalg.norm(found - large, axis=1).mean() < 0.02 * np.ptp(large[:, 0])


@pytest.mark.shared
def test_no_face_in_a_graphic(detector):
    assert detector.detect(stills(frames("Rudrabha+Wav2Lip/checkpoints/test.mov", 330, 430, 40))) == [[], [], []]


@pytest.mark.shared
@pytest.mark.parametrize("broken", ["detector", "mesh"])
def test_a_foreign_file_is_named(tmp_path, broken):
    paths = {
        "detector": shared_file("weights/yunet_n_dynamic.onnx"),
        "mesh": shared_file("weights/face_landmarker.task"),
    }
    foreign = tmp_path / "cut_short.bin"
    foreign.write_bytes(Path(paths[broken]).read_bytes()[:5000])
    with pytest.raises(WeightsCorruptError, match="cut_short.bin"):
        YuNetMesh(*{**paths, broken: foreign}.values(), workers=1)
