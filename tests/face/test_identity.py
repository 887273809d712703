"""Who is who, on faces whose looks are told by a table: which number each has, and who is dubbed."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.errors import ConfigError, NoFaceError
from latentsync.face.appearance import BY_LOOKS
from latentsync.face.identity import MAX_VIEWS, NAMING_AHEAD, People
from latentsync.face.selection import OTHER_FACE, FaceSelector
from latentsync.face.tracking import TrackedFrame
from latentsync.face.tracks import FaceTracks
from latentsync.face.user_network import FaceNetwork
from latentsync.types import ArrayFrame, FaceObservation
from tests.face.drawn import detection, placed

WIDTH, HEIGHT = 640, 360
RED, BLUE, GREEN = (200, 60, 60), (60, 60, 200), (60, 180, 60)


class Painted:
    """People in plain colors where ``places(index)`` has them: color -> (x, y, width)."""

    def __init__(self, places, count=60, cuts=(), shades=(90, 200)):
        self.places, self.count, self.cuts, self.shades = places, count, cuts, shades
        self.asked: list[int] = []

    name = "painted"

    def frames(self, start=0, stop=None):
        for index in range(self.count)[start:stop]:
            shade = self.shades[sum(index >= cut for cut in self.cuts) % 2]
            pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
            for color, (x, y, width) in self.places(index).items():
                left, top = round(x - 0.7 * width), round(y - 1.2 * width)
                cv2.rectangle(pixels, (left, top), (round(x + 0.7 * width), round(y + 2 * width)), color, -1)
            yield ArrayFrame(index, Fraction(index, 25), pixels)

    def times(self):
        return [Fraction(index, 25) for index in range(self.count)]

    def detections(self, index):
        return [detection(placed((x, y), width)) for x, y, width in self.places(index).values()]

    def detect(self, frames):
        self.asked += [frame.index for frame in frames]
        return [self.detections(frame.index) for frame in frames]


def numbers(video: Painted) -> list[dict[tuple[int, int, int], int]]:
    """Color -> number of the person, frame by frame."""
    found = []
    for item in FaceTracks(video).people(video.frames()):
        here = {}
        for color, (x, y, _) in video.places(item.frame.index).items():
            for number, face in item.faces.items():
                if np.abs(face.landmarks.mean(axis=0) - (x, y)).max() < 15:
                    here[color] = number
        found.append(here)
    return found


def dubbed(video: Painted, choice: str, prepare: bool = False) -> str:
    """R, B, G or . for each frame."""
    tracks, said = FaceTracks(video, FaceSelector(choice)), ""
    if prepare:
        tracks.prepare(video)
    for target in tracks.follow(video.frames()):
        letter = "."
        if target.face is not None:
            x, y = target.face.landmarks.mean(axis=0)
            letter = min(
                zip("RBG", (RED, BLUE, GREEN), strict=True),
                key=lambda pair: abs(video.places(target.frame.index).get(pair[1], (1e6, 0, 0))[0] - x),
            )[0]
        said += letter
    return said


def hidden(i):
    """Red is gone for 40 frames, in which blue walks to where red was."""
    people = {BLUE: (450 - 300 * np.clip((i - 20) / 25, 0, 1), 130, 60)}
    return people if 12 <= i < 52 else {RED: (150 if i < 12 else 450, 130, 70), **people}


@pytest.mark.parametrize("choice", ["largest", "index:0", "150,130"])
def test_who_is_hidden_is_not_replaced_and_comes_back_elsewhere(choice):
    said = dubbed(Painted(hidden, 64), choice)
    assert said[:12] == "R" * 12 and said[12:52] == "." * 40 and said[52:] == "R" * 12


def swapped(i):
    return {RED: (150, 130, 70), BLUE: (450, 130, 60)} if i < 20 else {RED: (450, 130, 60), BLUE: (150, 130, 70)}


def test_after_a_cut_looks_decide_and_not_the_place():
    video = Painted(swapped, 40, cuts=(20,))
    named = numbers(video)
    assert all(here == named[0] for here in named) and sorted(named[0].values()) == [0, 1]
    assert named[0][RED] == 0  # from the left
    assert dubbed(video, "index:1") == "B" * 40


def test_who_comes_out_from_behind_another_one_is_not_who_went_there():
    """A track that is lost beside red goes on with green, who touches red at first."""

    def places(i):
        x = 220 if i < 10 else 270 if i < 35 else 220
        return {RED: (330, 150, 100)} | ({} if 15 <= i < 30 else {BLUE if i < 15 else GREEN: (x, 150, 90)})

    def tracked():
        for frame in video.frames():
            faces = [
                FaceObservation(frame.index, int(color != RED), found.box, found.landmarks, found.score)
                for color, found in zip(places(frame.index), video.detections(frame.index), strict=True)
            ]
            yield TrackedFrame(frame, faces, 0)

    video = Painted(places)
    named = [sorted(item.faces) for item in People(BY_LOOKS).name(tracked())]
    assert named[:15] == [[0, 1]] * 15  # also while they touch
    assert named[15:35] == [[1]] * 20 and named[35:] == [[1, 2]] * 25


def test_a_shot_without_them():
    """Nobody else is dubbed for who was named; the largest face is, where the largest of before is not to be seen."""

    def places(i):
        return {RED: (150, 130, 70), BLUE: (450, 130, 60)} if i < 15 or i >= 30 else {GREEN: (300, 130, 70)}

    video = Painted(places, 45, cuts=(15, 30))
    assert dubbed(video, "150,130") == "R" * 15 + "." * 15 + "R" * 15
    assert dubbed(video, "largest") == "R" * 15 + "G" * 15 + "R" * 15
    tracks = FaceTracks(video, FaceSelector("index:0"))
    assert [t.reason for t in tracks.follow(video.frames())][15:30] == [OTHER_FACE] * 15


def test_a_point_in_time_names_for_the_whole_video():
    video = Painted(swapped, 40, cuts=(20,))
    assert dubbed(video, "150,130@0.96", prepare=True) == "B" * 40
    assert dubbed(video, "150,130@0.96") == "." * 24 + "B" * 16  # where nobody looks ahead


def test_a_photograph_names(tmp_path):
    video = Painted(swapped, 40, cuts=(20,))
    alone = Painted(lambda i: {BLUE: (100, 120, 80)}, 1)
    pixels = next(alone.frames()).pixels[:, :240]
    cv2.imwrite(str(tmp_path / "ref.png"), pixels[..., ::-1])
    tracks = FaceTracks(Either(video, alone), FaceSelector(str(tmp_path / "ref.png")))
    video.info = None
    tracks.prepare(video)
    shown = [t.face.landmarks[:, 0].mean() for t in tracks.follow(video.frames())]
    assert np.abs(np.array(shown) - ([450] * 20 + [150] * 20)).max() < 15


class Either:
    """Detects in the frames of a video, and in a photograph, which is narrower."""

    name = "either"

    def __init__(self, video, photo):
        self.video, self.photo = video, photo

    def detect(self, frames):
        return [(self.video if frame.shape[1] == WIDTH else self.photo).detections(frame.index) for frame in frames]


def test_a_photograph_of_nobody(tmp_path):
    from types import SimpleNamespace

    video = Painted(swapped, 40, cuts=(20,))
    video.info = SimpleNamespace(path="in.mp4")
    stranger = Painted(lambda i: {(250, 250, 90): (100, 120, 80)}, 1)
    cv2.imwrite(str(tmp_path / "ref.png"), next(stranger.frames()).pixels[:, :240, ::-1])
    tracks = FaceTracks(Either(video, stranger), FaceSelector(str(tmp_path / "ref.png")))
    with pytest.raises(NoFaceError, match=r"looks like .*ref\.png"):
        tracks.prepare(video)
    with pytest.raises(ConfigError, match=r"none\.png"):
        FaceTracks(video, FaceSelector(str(tmp_path / "none.png"))).prepare(video)


def test_names_look_a_bounded_number_of_frames_ahead_and_views_are_bounded():
    taken = []

    def counted(video):
        for frame in video.frames():
            taken.append(frame.index)
            yield frame

    video = Painted(lambda i: {(60 + i, 60, 200 - i): (150, 130, 70)}, 120)
    tracks = FaceTracks(video)
    for item in tracks.people(counted(video)):
        assert len(taken) - item.frame.index <= 16 + 8 + 3 + NAMING_AHEAD + 8 + 1
        assert list(item.faces) == [0]
    assert len(tracks._people.known[0].views) <= MAX_VIEWS


def test_looks_outside_the_frame_are_not_compared():
    frame = next(Painted(lambda i: {RED: (150, 130, 70)}, 1).frames())
    face, close = placed((150, 130), 70), placed((150, 340), 70)
    looks = BY_LOOKS.embed(frame, [face, close])
    assert np.isfinite(looks[0]).all() and np.isnan(looks[1]).any()
    assert np.isfinite(BY_LOOKS.differences(looks, looks)).all()
    beside = BY_LOOKS.embed(frame, [face], [face, placed((190, 130), 70)])
    assert np.isnan(beside).any()  # somebody may stand before the clothes


def test_a_network_of_the_users(tmp_path):
    import torch

    class Mean(torch.nn.Module):
        def forward(self, face):
            return face.mean(dim=(2, 3)) + 1.0

    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    network = FaceNetwork(tmp_path / "mean.pt")
    frame = next(Painted(lambda i: {RED: (150, 130, 70), BLUE: (450, 130, 60)}, 1).frames())
    looks = network.embed(frame, [placed((150, 130), 70), placed((450, 130), 60)])
    assert np.allclose(np.linalg.norm(looks, axis=1), 1)
    assert looks[0].argmax() == 0 and looks[1].argmax() == 2
    assert network.differences(looks, looks)[0, 1] > 0.5 and network.differences(looks, looks)[0, 0] < 1e-3
    torch.jit.script(torch.nn.Identity()).save(str(tmp_path / "none.pt"))
    with pytest.raises(ConfigError, match=r"none\.pt"):
        FaceNetwork(tmp_path / "none.pt").embed(frame, [placed((150, 130), 70)])
