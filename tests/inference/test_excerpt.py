"""A stretch of a result is what the whole shows there, at any place and in every way of fitting the length."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.cli.dub import main
from latentsync.errors import ConfigError, NoFaceError
from latentsync.face.detections_file import write_detections
from latentsync.inference.excerpt import Excerpt, excerpt_frames, with_pixels
from latentsync.inference.timeline import LengthMode, playing_order
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

DURATION = Fraction(5)


class CountingVideo(DrawnVideo):
    drawn = 0

    def draw(self, index):
        self.drawn += 1
        return super().draw(index)


@pytest.mark.parametrize("mode", list(LengthMode))
@pytest.mark.parametrize("start", [0, Fraction(7, 10), Fraction(19, 10), Fraction(31, 10), Fraction(39, 10)])
def test_the_frames_are_those_of_the_whole(mode, start):
    video = CountingVideo(50, 64, 64, face=30)  # 2 s: the excerpts lie forwards, backwards and across both ends
    excerpt = Excerpt(Fraction(start), start + Fraction(1))
    expected = [
        (frame.index, frame.time)
        for frame in playing_order(video, DURATION, mode)
        if excerpt.start <= frame.time + Fraction(1, 50) < excerpt.stop
    ]
    video.drawn = 0
    if not expected:
        with pytest.raises(ConfigError, match="ends before"):
            excerpt_frames(video, DURATION, mode, excerpt)
        return
    shown = list(with_pixels(video, excerpt_frames(video, DURATION, mode, excerpt)))
    assert [(frame.index, frame.time) for frame in shown] == expected
    assert all(np.array_equal(frame.pixels, video.draw(frame.index)) for frame in shown)
    assert video.drawn <= 3 * len(expected) + 2


def test_around_a_moment():
    ten = Fraction(10)
    assert Excerpt.around(5, 1, ten) == Excerpt(Fraction(9, 2), Fraction(11, 2))
    assert Excerpt.around(0, 1, ten) == Excerpt(Fraction(0), Fraction(1))
    assert Excerpt.around(99, 1, ten) == Excerpt(Fraction(9), ten)
    assert Excerpt.around(0, 1, Fraction(1, 2)) == Excerpt(Fraction(0), Fraction(1, 2))
    with pytest.raises(ConfigError):
        Excerpt(Fraction(2), Fraction(2))


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    video = DrawnVideo(30, 160, 160, face=80, missing=range(20, 30))
    write_video(folder / "video.mp4", video.frames(), video.info)
    known = KnownFaces(video)
    write_detections(folder / "faces.npz", {k: known.detect([ArrayFrame.of(video.draw(k))])[0] for k in range(30)})
    samples = tone(3.0)
    samples[:: 16_000 // 100] = 8000  # a click every hundredth of a second
    write_wav(folder / "audio.wav", (samples * np.linspace(0.1, 1, len(samples))[:, None]).astype(np.int16))
    write_checkpoints(folder / "checkpoints")
    return folder


def arguments(media, output, *more):
    return [
        *("--video_path", str(media / "video.mp4"), "--audio_path", str(media / "audio.wav")),
        *("--checkpoint_dir", str(media / "checkpoints"), "--detector", str(media / "faces.npz")),
        *("--video_out_path", str(output), "--inference_steps", "1", "--guidance_scale", "1"),
        *("--no-output-check", *more),
    ]


@pytest.mark.parametrize("start", ["0", "1.34"])  # the second one is played backwards
def test_the_command_line_writes_an_excerpt_with_its_sound(media, tmp_path, start):
    output = tmp_path / "out.mkv"
    stop = str(Fraction(start) + Fraction(2, 5))
    assert main(arguments(media, output, "--excerpt", start, stop, "--quiet")) == 0
    info = VideoFile(output).info
    assert info.n_frames == 10 and info.duration == Fraction(2, 5)
    first = round(Fraction(start) * 25) * 640
    expected = read_audio(media / "audio.wav")[first : first + 6400]
    assert np.abs(read_audio(output) - expected).max() < 1e-3


def test_a_stretch_without_a_face_is_refused(media, tmp_path, capsys):
    assert main(arguments(media, tmp_path / "out.mp4", "--excerpt", "0.84", "1.2")) == NoFaceError.exit_code
    assert "in this stretch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
