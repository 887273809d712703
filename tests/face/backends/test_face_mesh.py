import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from latentsync.face.backends.face_mesh import FIRST, SECOND, Place, fit_mesh, read_meshes
from latentsync.face.backends.yunet import YuNetMesh, place_of_mesh
from latentsync.types import ArrayFrame
from tests.golden import shared_file

av = pytest.importorskip("av")


class Counting:
    """A network that says how often it ran."""

    def __init__(self, network: cv2.dnn.Net) -> None:
        self.runs, self._network = 0, network
        self.setInput = network.setInput

    def forward(self, names: list[str]) -> tuple[np.ndarray, ...]:
        self.runs += 1
        return self._network.forward(names)


@pytest.fixture(scope="module")
def mesh() -> cv2.dnn.Net:
    return read_meshes(shared_file("weights/face_landmarker.task"), 1)[0]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    clip = shared_file("media/bytedance+LatentSync/assets/demo1_video.mp4")
    with av.open(str(clip)) as container:
        return [f.to_ndarray(format="rgb24") for f in itertools.islice(container.decode(video=0), 0, 25, 8)]


@pytest.fixture(scope="module")
def places(images) -> list[Place]:
    detector = YuNetMesh(
        shared_file("weights/yunet_n_dynamic.onnx"), shared_file("weights/face_landmarker.task"), workers=1
    )
    faces = [found[0] for found in detector.detect([ArrayFrame.of(image) for image in images])]
    return [place_of_mesh(f.box[:2], f.box[2:] - f.box[:2], f.landmarks[[36, 45]]) for f in faces]


def test_the_point_table():
    assert FIRST.shape == SECOND.shape == (68,)
    assert max(FIRST.max(), SECOND.max()) < 478
    assert (FIRST != SECOND).sum() == 10  # both edges of the brows


def test_what_is_near():
    here = Place(np.array([100.0, 100.0]), np.array([[80.0, 90.0], [120.0, 90.0]]), 100.0)
    assert here.is_near(replace(here, centre=here.centre + 3))
    assert not here.is_near(replace(here, centre=here.centre + 6))
    assert not here.is_near(replace(here, extent=110.0))
    assert not here.is_near(replace(here, eyes=np.array([[80.0, 86.0], [120.0, 94.0]])))
    assert np.allclose(here.matrix() @ [100, 100, 1], 127.5)


@pytest.mark.shared
def test_a_second_crop_only_where_the_face_is_elsewhere(mesh, images, places):
    for image, place in zip(images, places, strict=True):
        once, twice = Counting(mesh), Counting(mesh)
        points, presence = fit_mesh(once, ArrayFrame.of(image), place)
        aside = replace(place, centre=place.centre + [0.15 * place.extent, 0])
        again, _ = fit_mesh(twice, ArrayFrame.of(image), aside)
        assert (once.runs, twice.runs) == (1, 2)
        assert presence > 0.9
        assert np.linalg.norm(points - again, axis=1).mean() < 0.015 * place.extent
