"""What is said of a file, and how a file that is none is refused."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import AudioError, NoAudioStreamError, NoVideoStreamError, VideoError
from latentsync.media.audio import audio_start
from latentsync.media.probe import inspect_clip, probe_video
from latentsync.types import ColorTags
from tests.golden import shared_file
from tests.media.synthetic import picture, tone, write_clip, write_wav


def test_constant_rate_clip(tmp_path):
    info = probe_video(write_clip(tmp_path / "a.mp4", 30, fps=Fraction(30_000, 1001), sound=tone(1)))
    assert (info.width, info.height, info.n_frames) == (96, 64, 30)
    assert info.fps == Fraction(30_000, 1001)
    assert info.duration == Fraction(30 * 1001, 30_000)
    assert not info.variable_frame_rate
    assert info.codec == "h264" and info.pix_fmt == "yuv420p"
    assert info.bit_rate > 1000
    (sound,) = info.audio
    assert (sound.codec, sound.sample_rate, sound.channels) == ("aac", 16_000, 1)


def test_milliseconds_of_matroska_do_not_hide_the_rate(tmp_path):
    info = probe_video(write_clip(tmp_path / "a.mkv", 50, fps=Fraction(24_000, 1001)))
    assert info.fps == Fraction(24_000, 1001)
    assert not info.variable_frame_rate


def test_variable_rate(tmp_path):
    times = [Fraction(i * i, 100) for i in range(8)]
    info = probe_video(write_clip(tmp_path / "a.mp4", 8, times=times))
    assert info.variable_frame_rate
    assert info.n_frames == 8
    assert info.fps == 8 / info.duration
    assert info.duration > times[-1]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_swaps_size_and_pixel_shape(tmp_path, rotation):
    clip = write_clip(tmp_path / "a.mp4", 2, rotation=rotation, sample_aspect_ratio=Fraction(4, 3))
    info = probe_video(clip)
    assert info.rotation == rotation
    upright = rotation == 180
    assert (info.width, info.height) == ((96, 64) if upright else (64, 96))
    assert info.sample_aspect_ratio == (Fraction(4, 3) if upright else Fraction(3, 4))


def test_color_tags(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 2, colorspace=1, color_primaries=1, color_trc=1, color_range=2)
    assert probe_video(clip).color == ColorTags(1, 1, 1, True)
    assert probe_video(write_clip(tmp_path / "b.mp4", 2)).color == ColorTags()


def test_alpha_counts_only_where_something_shows_through(tmp_path):
    alpha = np.full((64, 96, 1), 255, np.uint8)
    opaque = np.concatenate([picture(0), alpha], axis=2)
    half = opaque.copy()
    half[10:20, :, 3] = 127
    write_clip(tmp_path / "a.mov", [opaque, half], codec="png", pix_fmt="rgba")
    assert probe_video(tmp_path / "a.mov").has_alpha
    gif = write_clip(tmp_path / "a.gif", 3, codec="gif", pix_fmt="rgb8", fps=10)
    assert not probe_video(gif).has_alpha
    assert probe_video(gif).fps == 10


def test_header_that_lies_about_the_number_of_frames(tmp_path):
    """The header says 40 frames, but the media data after it is cut short: the packets count."""
    clip = write_clip(tmp_path / "a.mp4", 40, gop=4, container_options={"movflags": "+faststart"})
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * 0.8)])
    clip = inspect_clip(clip)
    assert 10 < clip.info.n_frames < 40
    assert any("of 40 frames" in note for note in clip.notes)


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("empty.mp4", b"", VideoError, "empty"),
        ("lfs.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", VideoError, "Git-LFS"),
        ("page.mp4", b"\n<!DOCTYPE html><html><body>404</body></html>", VideoError, "web page"),
        ("text.mp4", b"just some words, not a video at all\n" * 40, VideoError, "no media file"),
        ("noise.mkv", bytes(range(256)) * 40, VideoError, "no media file"),
    ],
)
def test_files_that_are_no_media(tmp_path, name, content, error, words):
    path = tmp_path / name
    path.write_bytes(content)
    for probe, expected in ((probe_video, error), (audio_start, AudioError)):
        with pytest.raises(expected, match=words) as caught:
            probe(path)
        assert str(path) in caught.value.message and caught.value.remedy


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(VideoError, match="no file"):
        probe_video(tmp_path / "none.mp4")
    with pytest.raises(NoVideoStreamError, match="no pictures"):
        probe_video(tmp_path)
    with pytest.raises(AudioError, match="folder"):
        audio_start(tmp_path)


def test_pipes_devices_and_names_that_cannot_be(tmp_path):
    """Opening a pipe would wait for ever; what came out of it could be read once only."""
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path, words in (
        (pipe, "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path / ("n" * 300), "cannot be read"),
    ):
        for probe, error in ((probe_video, VideoError), (audio_start, AudioError)):
            with pytest.raises(error, match=words) as caught:
                probe(path)
            assert str(path) in caught.value.message and caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 2)
    clip.chmod(0)
    with pytest.raises(VideoError, match="cannot be read"):
        probe_video(clip)


def test_mp4_that_is_cut_before_its_index(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 20)
    clip.write_bytes(clip.read_bytes()[:-200])
    with pytest.raises(VideoError, match="moov atom not found"):
        probe_video(clip)


def test_sound_only_and_cover_art_are_no_video(tmp_path):
    with pytest.raises(NoVideoStreamError, match="only sound"):
        probe_video(write_wav(tmp_path / "a.wav", tone(0.2)))


def test_no_frames_at_all(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        out.add_stream("libx264", rate=25)
        out.start_encoding()
    with pytest.raises(VideoError):
        probe_video(tmp_path / "a.mkv")


def test_audio_of_a_video_and_of_a_silent_one(tmp_path):
    (audio,) = probe_video(write_clip(tmp_path / "a.mp4", 25, sound=tone(1, 44_100, 2), sound_rate=44_100)).audio
    assert (audio.codec, audio.sample_rate, audio.channels, audio.duration) == ("aac", 44_100, 2, 1)
    with pytest.raises(NoAudioStreamError):
        audio_start(write_clip(tmp_path / "b.mp4", 2))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n_frames", "fps", "variable", "rotation", "size"),
    [
        ("OpenTalker+video-retalking/examples/face/1.mp4", 135, Fraction(1350, 61), True, 0, (700, 700)),
        (
            "Breakthrough+PySceneDetect/tests/resources/issue-134-rotate.mp4",
            240,
            Fraction(24_000, 1001),
            False,
            90,
            (544, 1280),
        ),
        ("Rudrabha+Wav2Lip/checkpoints/test.mov", 681, Fraction(30), False, 0, (1280, 720)),
        ("R-V-Abhishek+Syncnet_FCN/data/example.avi", 317, Fraction(25), False, 0, (224, 224)),
        ("rizkiarm+LipNet/evaluation/samples/GRID/bbaf2n.mpg", 75, Fraction(25), False, 0, (360, 288)),
        (
            "tencent-ailab+V-Express/test_samples/short_case/AOC/gt.mp4",
            137,
            Fraction(30_000, 1001),
            False,
            0,
            (512, 512),
        ),
    ],
)
def test_real_clips(name, n_frames, fps, variable, rotation, size):
    info = probe_video(shared_file(f"media/{name}"))
    assert (info.n_frames, info.fps, info.variable_frame_rate) == (n_frames, fps, variable)
    assert (info.rotation, info.width, info.height) == (rotation, *size)
