import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.face.detections_file import cache_path, read_cache, read_detections, write_detections
from latentsync.face.selection import NO_FACE, FaceSelector
from latentsync.face.tracks import FaceTracks
from tests.face.drawn import TruthfulDetector, blank_frames, detection, placed


def moving(i: int):
    return [detection(placed((200 + 3 * i, 200), 150) + np.sin(i * np.arange(136)).reshape(68, 2))]


def answers(targets) -> list[tuple]:
    return [
        (target.frame.index, target.shot, None if target.face is None else target.face.landmarks.tobytes())
        for target in targets
    ]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a b (1).mp4"
    path.write_bytes(b"content of a video")
    return path


def test_backwards_and_again_are_looked_up():
    detector = TruthfulDetector(moving)
    tracks, frames = FaceTracks(detector), list(blank_frames(50, cuts=(20,)))
    once = answers(tracks.follow(frames))
    assert answers(FaceTracks(detector).follow([*frames, *frames[-2:0:-1], *frames])) == [*once, *once[-2:0:-1], *once]
    detector.asked.clear()
    assert answers(tracks.follow(reversed(frames))) == once[::-1]
    assert detector.asked == []


def test_repeated_frames_are_one_frame_and_keep_their_own_times():
    frames = list(blank_frames(30))
    slow = [replace(frame, time=frame.time * 3 + k) for frame in frames for k in range(3)]
    detector = TruthfulDetector(moving)
    targets = list(FaceTracks(detector).follow(slow))
    assert [target.frame for target in targets] == slow
    assert detector.asked == list(range(30))
    assert len({target.shot for target in targets}) == 1


def test_several_are_followed_as_each_would_be_alone_and_every_frame_is_looked_at_once():
    def both(i: int):
        return [*moving(i), detection(placed((600, 200), 120))]

    frames, choices = list(blank_frames(40, cuts=(20,))), ("index:1", "200,200", "index:0")
    detector = TruthfulDetector(both)
    tracks = FaceTracks(detector)
    tracks.choose([FaceSelector(choice) for choice in choices])
    order = [*frames, *frames[::-1], frames[0], frames[0]]
    columns = list(zip(*tracks.follow_each(order), strict=True))
    assert sorted(detector.asked) == list(range(40))
    for choice, targets in zip(choices, columns, strict=True):
        assert answers(targets) == answers(FaceTracks(TruthfulDetector(both), FaceSelector(choice)).follow(order))
    with pytest.raises(ValueError, match="before the first frame"):
        tracks.choose([FaceSelector()])


def test_frames_beyond_those_known_are_looked_for():
    detector = TruthfulDetector(moving)
    tracks, frames = FaceTracks(detector), list(blank_frames(40))
    list(tracks.follow(frames[:25]))
    assert [target.frame.index for target in tracks.follow(frames)] == list(range(40))
    assert detector.asked == list(range(40))


def test_a_second_run_on_the_same_content_detects_nothing(video, tmp_path):
    first, second = TruthfulDetector(moving), TruthfulDetector(moving)
    tracks = FaceTracks.cached(video, first, folder=tmp_path / "cache")
    once = answers(tracks.follow(blank_frames(40)))
    tracks.save()
    moved = tmp_path / "other name.mov"
    moved.write_bytes(video.read_bytes())
    again = FaceTracks.cached(moved, second, folder=tmp_path / "cache")
    assert answers(again.follow(blank_frames(40))) == once
    assert second.asked == []
    assert again.note == ""


def test_other_content_and_other_detectors_have_their_own_cache(video, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(b"content of another video")
    assert (
        len({cache_path(video, "a", tmp_path), cache_path(video, "b", tmp_path), cache_path(other, "a", tmp_path)}) == 3
    )


def test_a_damaged_cache_is_noted_left_alone_and_replaced_by_saving(video, tmp_path):
    detector = TruthfulDetector(moving)
    path = cache_path(video, detector.name, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 cut short")
    tracks = FaceTracks.cached(video, detector, folder=tmp_path)
    assert str(path) in tracks.note
    assert path.read_bytes() == b"PK\x03\x04 cut short"
    list(tracks.follow(blank_frames(5)))
    tracks.save()
    assert len(read_cache(path)[0]) == 5
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_nothing_new_is_not_written(video, tmp_path):
    tracks = FaceTracks.cached(video, TruthfulDetector(moving), folder=tmp_path / "cache")
    tracks.save()
    assert not (tmp_path / "cache").exists()
    assert hashlib.sha256(video.read_bytes()).hexdigest() not in str(list(tmp_path.iterdir()))


@pytest.mark.parametrize("where", ["a file", "x" * 300])
def test_a_cache_that_cannot_be_written_costs_a_note(video, tmp_path, where):
    (tmp_path / "a file").write_text("mine")
    tracks = FaceTracks.cached(video, TruthfulDetector(moving), folder=tmp_path / where)
    assert len(list(tracks.follow(blank_frames(5)))) == 5
    assert "could not be kept" in tracks.save()
    assert (tmp_path / "a file").read_text() == "mine"


def test_a_user_without_a_home_is_told(video, monkeypatch):
    for name in ("LATENTSYNC_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    tracks = FaceTracks.cached(video, TruthfulDetector(moving))
    assert "LATENTSYNC_CACHE" in tracks.note
    assert len(list(tracks.follow(blank_frames(5)))) == 5 and tracks.save() == ""


def test_a_damaged_compressed_file_is_named(tmp_path):
    path = tmp_path / "faces.npz"
    np.savez_compressed(path, version=np.array([1]), frames=np.arange(9999))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"faces\.npz"):
        read_detections(path)


def test_detections_survive_the_file(tmp_path):
    known = {0: moving(0), 3: [], 7: [*moving(7), detection(placed((10, 20), 40), 0.25)]}
    write_detections(tmp_path / "faces.npz", known)
    read = read_detections(tmp_path / "faces.npz")
    assert sorted(read) == [0, 3, 7]
    for number, faces in known.items():
        for face, other in zip(faces, read[number], strict=True):
            assert np.array_equal(face.landmarks, other.landmarks)
            assert np.array_equal(face.box, other.box)
            assert face.score == other.score


def test_a_users_json_and_no_detector(tmp_path):
    landmarks = placed((200, 200), 150)
    path = tmp_path / "faces.json"
    text = ", ".join(f'"{i}": [{{"landmarks": {landmarks.tolist()}}}]' for i in range(10))
    path.write_text(f'{{"version": 1, "frames": {{{text}}}}}')
    targets = list(FaceTracks.from_file(path).follow(blank_frames(30)))
    assert np.abs(targets[5].face.landmarks - landmarks).max() < 1e-3
    assert targets[5].face.score == 1
    assert [target.reason for target in targets[10:]] == [NO_FACE] * 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.json", None),
        ("empty.json", b""),
        ("foreign.npz", b"\x00" * 100),
        ("version.json", b'{"version": 9, "frames": {}}'),
        ("list.json", b"[]"),
        ("points.json", b'{"version": 1, "frames": {"4": [{"landmarks": [[1, 2], [3, 4]]}]}}'),
        ("nan.json", b'{"version": 1, "frames": {"4": [{"landmarks": [' + b", ".join([b"[NaN, 1]"] * 68) + b"]}]}}"),
        ("point.json", b'{"version": 1, "frames": {"4": [{"landmarks": [' + b", ".join([b"[7, 1]"] * 68) + b"]}]}}"),
    ],
)
def test_useless_files_are_named(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        read_detections(tmp_path / name)


def test_all_people_of_a_frame_in_any_order():
    def two(i: int):
        return [*moving(i), detection(placed((600, 200), 120))]

    tracks, frames = FaceTracks(TruthfulDetector(two)), list(blank_frames(40))
    forwards = list(tracks.people(frames))
    backwards = list(tracks.people(reversed(frames)))
    assert [sorted(item.faces) for item in forwards] == [[0, 1]] * 40
    assert all(item.faces[1].box[0] > 500 for item in forwards)
    assert [(item.frame, item.faces) for item in backwards] == [(item.frame, item.faces) for item in forwards[::-1]]
