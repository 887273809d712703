"""Files that come out: times, color, sound, alpha, names, and nothing at all when something fails."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import (
    AudioError,
    DiskFullError,
    EncoderError,
    NoAudioStreamError,
    OutputError,
    VideoError,
)
from latentsync.media.audio import read_audio
from latentsync.media.color import plane_view
from latentsync.media.output_audio import AudioPart
from latentsync.media.probe import probe_video
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, check_encoder, write_video
from latentsync.types import ArrayFrame, ColorTags, VideoInfo
from tests.golden import shared_file
from tests.media.synthetic import picture, read_number, read_pcm, tone, write_clip, write_wav

RATES = [
    Fraction(16),
    Fraction(24_000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30_000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60_000, 1001),
    Fraction(60),
]


def source_info(n: int = 10, fps: Fraction = Fraction(25), size: tuple[int, int] = (96, 64), **fields) -> VideoInfo:
    width, height = size
    return VideoInfo(Path("source.mp4"), width, height, fps, n, n / fps, **fields)


def frames_of(info: VideoInfo, alpha: np.ndarray | None = None):
    for n in range(info.n_frames):
        yield ArrayFrame(n, n / info.fps, picture(n, info.width, info.height), alpha)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".part")


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".webm"])
@pytest.mark.parametrize("fps", RATES)
def test_constant_rates_stay_constant(tmp_path, fps, suffix):
    info = source_info(20, fps)
    written = write_video(tmp_path / f"a{suffix}", frames_of(info), info, EncodingOptions(preset="ultrafast"))
    back = VideoFile(written.path)
    assert (back.info.fps, back.info.n_frames, back.info.duration) == (fps, 20, 20 / fps)
    assert not back.info.variable_frame_rate
    frames = list(back.frames())
    assert [frame.time for frame in frames] == [i / fps for i in range(20)]
    assert [read_number(frame.pixels) for frame in frames] == list(range(20))
    assert written.n_frames == 20 and written.n_bytes == written.path.stat().st_size


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_variable_rate_is_kept_to_the_last_frame(tmp_path, suffix):
    times = [Fraction(k, 600) for k in (0, 20, 41, 100, 400, 420, 1000)]
    info = source_info(7, Fraction(7, 2), variable_frame_rate=True)
    frames = [ArrayFrame(n, time, picture(n)) for n, time in enumerate(times)]
    path = write_video(tmp_path / f"a{suffix}", iter(frames), info).path
    back = VideoFile(path)
    assert [frame.time for frame in back.frames()] == times
    assert back.info.variable_frame_rate
    assert back.info.duration == info.duration  # 2 s: the last frame is shown from 1000/600 s on


def test_matroska_keeps_variable_times_to_the_millisecond(tmp_path):
    times = [Fraction(k, 600) for k in (0, 20, 41, 100)]
    info = source_info(4, Fraction(10), variable_frame_rate=True)
    path = write_video(tmp_path / "a.mkv", (ArrayFrame(n, t, picture(n)) for n, t in enumerate(times)), info).path
    assert all(
        abs(frame.time - time) <= Fraction(1, 1000) for frame, time in zip(VideoFile(path).frames(), times, strict=True)
    )


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_short_videos(tmp_path, codec, n):
    info = source_info(n)
    for attempt in range(3):
        path = write_video(tmp_path / f"{attempt}.mp4", frames_of(info), info, EncodingOptions(codec)).path
        assert probe_video(path).duration == n / Fraction(25)


def test_frames_that_break_the_contract(tmp_path):
    info = source_info(2)
    late = [ArrayFrame(0, Fraction(0), picture(0)), ArrayFrame(1, Fraction(1, 26), picture(1))]
    with pytest.raises(ValueError, match="constant rate"):
        write_video(tmp_path / "a.mp4", iter(late), info)
    twice = [ArrayFrame(0, Fraction(0), picture(0)), ArrayFrame(1, Fraction(0), picture(1))]
    with pytest.raises(ValueError, match="not later"):
        write_video(tmp_path / "a.mp4", iter(twice), info)
    with pytest.raises(ValueError, match="shape"):
        write_video(tmp_path / "a.mp4", iter([ArrayFrame(0, Fraction(0), picture(0, 64, 64))]), info)
    assert list(tmp_path.iterdir()) == []


# -- picture ----------------------------------------------------------------------------------------------------------

TAGS = {
    "bt601": {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 1},
    "bt709": {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1},
    "full": {"colorspace": 5, "color_primaries": 1, "color_trc": 1, "color_range": 2},
    "bt2020": {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1},
    "unstated": {},
    "rotated": {"rotation": 90},
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("tags", TAGS)
def test_a_clip_that_nobody_touches_comes_back(tmp_path, tags, suffix):
    clip = write_clip(tmp_path / "in.mp4", 6, size=(192, 128), options={"crf": "4"}, **TAGS[tags])
    source = VideoFile(clip)
    path = write_video(tmp_path / f"out{suffix}", source.frames(), source.info, EncodingOptions(crf=12)).path
    back = VideoFile(path)
    assert (back.info.width, back.info.height) == (source.info.width, source.info.height)
    assert back.info.color == source.info.color
    assert back.info.rotation == 0
    assert back.info.pix_fmt in (source.info.pix_fmt, "yuvj420p")
    assert min(psnr(a.pixels, b.pixels) for a, b in zip(source.frames(), back.frames(), strict=True)) >= 45


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "ffv1"])
def test_chroma_of_the_source_is_kept(tmp_path, codec, pix_fmt):
    info = source_info(2, pix_fmt=pix_fmt)
    written = write_video(tmp_path / "a.mkv", frames_of(info), info, EncodingOptions(codec))
    assert written.pix_fmt == probe_video(written.path).pix_fmt == pix_fmt
    assert written.codec == codec
    unseen = codec == "h264" and pix_fmt != "yuv420p"
    assert ["--pix_fmt yuv420p" in note for note in written.notes] == [True] * unseen


def test_a_shape_of_pixels_that_is_lost_is_noted(tmp_path):
    info = source_info(2, sample_aspect_ratio=Fraction(4, 3))
    for codec, suffix, told in (("ffv1", ".mkv", False), ("vp9", ".webm", False), ("h264", ".mkv", True)):
        written = write_video(tmp_path / f"a{suffix}", frames_of(info), info, EncodingOptions(codec), overwrite=True)
        assert (probe_video(written.path).sample_aspect_ratio == Fraction(4, 3)) == told == (written.notes == ())


def test_an_odd_size_in_a_pixel_format_that_has_even_ones_repeats_the_last_row_and_column(tmp_path):
    info = source_info(2, size=(97, 65))
    options = EncodingOptions("h264", crf=4, pix_fmt="yuv420p")
    written = write_video(tmp_path / "a.mkv", frames_of(info), info, options)
    assert "there twice" in written.notes[0]
    first = next(VideoFile(written.path).frames()).pixels
    assert first.shape == (66, 98, 3)
    assert np.abs(first[:65, :97].astype(int) - picture(0, 97, 65)).mean() < 6


def test_shape_of_pixels_is_kept(tmp_path):
    for ratio in (Fraction(4, 3), Fraction(16, 11)):
        info = source_info(2, sample_aspect_ratio=ratio)
        assert (
            probe_video(write_video(tmp_path / "a.mp4", frames_of(info), info, overwrite=True).path).sample_aspect_ratio
            == ratio
        )


@pytest.mark.parametrize("size", [(97, 64), (96, 65), (97, 65), (33, 17)])
@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "ffv1", "prores"])
def test_odd_sizes_stay(tmp_path, codec, size):
    info = source_info(3, size=size)
    if codec == "hevc" and size == (33, 17):
        with pytest.raises(EncoderError, match="x265"):  # it would end the process
            check_encoder(EncodingOptions(codec), info, ".mkv")
        return
    path = tmp_path / ("a.mov" if codec == "prores" else "a.mkv")
    written = write_video(path, frames_of(info), info, EncodingOptions(codec))
    back = VideoFile(path)
    assert (back.info.width, back.info.height) == size
    assert psnr(next(back.frames()).pixels, picture(0, *size)) > 25
    assert bool(written.notes) == (written.pix_fmt in ("yuv444p", "yuv444p10le"))


def test_lossless_codecs_keep_every_value(tmp_path):
    info = source_info(2, pix_fmt="rgb24")
    for codec, name in (("ffv1", "a.mkv"), ("png", "a.mov")):
        path = write_video(tmp_path / name, frames_of(info), info, EncodingOptions(codec)).path
        for n, frame in enumerate(VideoFile(path).frames()):
            np.testing.assert_array_equal(frame.pixels, picture(n))


def test_rgb_sources_are_tagged_so_that_players_agree(tmp_path):
    info = source_info(2, pix_fmt="bgra")
    written = write_video(tmp_path / "a.mp4", frames_of(info), info)
    assert probe_video(written.path).color == ColorTags(1, 1, 1, False)
    assert any("4:2:0" in note for note in written.notes)


@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mp4"), ("ffv1", ".mkv")])
@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p12le"])
def test_deep_color_is_kept(tmp_path, codec, suffix, pix_fmt):
    clip = write_clip(tmp_path / "a.mkv", 4, codec="ffv1", size=(192, 128), pix_fmt=pix_fmt, options={})
    source = VideoFile(clip)
    written = write_video(tmp_path / f"b{suffix}", source.frames(), source.info, EncodingOptions(codec, crf=None))
    assert written.pix_fmt == probe_video(written.path).pix_fmt == pix_fmt and written.notes == ()
    bits = av.VideoFormat(pix_fmt).components[0].bits
    with av.open(str(clip)) as first, av.open(str(written.path)) as second:
        for before, after in zip(first.decode(video=0), second.decode(video=0), strict=True):
            for a, b in zip(before.planes, after.planes, strict=True):
                error = np.abs(plane_view(a, bits).astype(int) - plane_view(b, bits))
                assert error.max() == 0 if codec == "ffv1" else error.mean() < 2 ** (bits - 8)


@pytest.mark.parametrize(
    ("name", "options", "size", "way"),
    [
        ("a.mp4", EncodingOptions(), (96, 64), True),
        ("a.mkv", EncodingOptions("ffv1"), (95, 64), False),  # an odd width does not come in parts
        ("a.mov", EncodingOptions("prores"), (96, 64), True),
    ],
)
def test_deep_color_that_is_lost_is_noted(tmp_path, name, options, size, way):
    info = source_info(2, pix_fmt="yuv420p10le", size=size)
    written = write_video(tmp_path / name, frames_of(info), info, options)
    (note,) = (note for note in written.notes if "10-bit source is written with 8 bits" in note)
    assert ("hevc" in note) == way


def test_deep_color_in_h264_by_its_pixel_format(tmp_path):
    source = VideoFile(write_clip(tmp_path / "a.mp4", 2, pix_fmt="yuv420p10le"))
    written = write_video(tmp_path / "b.mp4", source.frames(), source.info, EncodingOptions(pix_fmt="yuv420p10le"))
    assert probe_video(written.path).pix_fmt == "yuv420p10le" and written.notes == ()


@pytest.mark.parametrize(
    ("name", "codec", "exact"),
    [
        ("a.mov", "prores", True),
        ("a.mkv", "ffv1", True),
        ("b.mov", "png", True),
        ("a.avi", "png", True),
        ("a.webm", "vp9", False),
    ],
)
@pytest.mark.parametrize("pix_fmt", ["rgba", "yuva420p"])
def test_alpha_comes_through(tmp_path, name, codec, exact, pix_fmt):
    alpha = np.arange(256, dtype=np.uint8).repeat(24).reshape(64, 96)
    info = source_info(3, pix_fmt=pix_fmt, has_alpha=True)
    asked = "png" if name == "b.mov" else "auto"
    written = write_video(tmp_path / name, frames_of(info, alpha), info, EncodingOptions(asked))
    back = VideoFile(written.path)
    assert written.codec == codec and back.info.has_alpha
    error = np.abs(next(back.frames()).alpha.astype(int) - alpha)
    assert error.max() == 0 if exact else error.mean() < 2
    assert exact or any("alpha" in note for note in written.notes)


@pytest.mark.parametrize(
    ("encoding", "suffix", "fields", "error"),
    [
        (EncodingOptions(), ".mp4", {"has_alpha": True, "pix_fmt": "rgba"}, EncoderError),
        (EncodingOptions("h264"), ".mov", {"has_alpha": True, "pix_fmt": "rgba"}, EncoderError),
        (EncodingOptions("vp9"), ".mp4", {"has_alpha": True, "pix_fmt": "rgba"}, EncoderError),
        (
            EncodingOptions(pix_fmt="yuv420p", codec="ffv1"),
            ".mkv",
            {"has_alpha": True, "pix_fmt": "rgba"},
            EncoderError,
        ),
        (EncodingOptions("prores"), ".mp4", {}, EncoderError),
        (EncodingOptions("divx"), ".mp4", {}, EncoderError),
        (EncodingOptions(crf=99), ".mp4", {}, EncoderError),
        (EncodingOptions("ffv1", crf=3), ".mkv", {}, EncoderError),
        (EncodingOptions(preset="warp"), ".mp4", {}, EncoderError),
        (EncodingOptions(pix_fmt="yuv410p"), ".mp4", {}, EncoderError),
        (EncodingOptions(), ".avi", {"variable_frame_rate": True}, EncoderError),
        (EncodingOptions(), ".exe", {}, OutputError),
    ],
)
def test_encoder_is_checked_beforehand(tmp_path, encoding, suffix, fields, error):
    info = source_info(2, **fields)
    with pytest.raises(error) as caught:
        check_encoder(encoding, info, suffix)
    assert caught.value.remedy
    with pytest.raises(error):
        write_video(
            tmp_path / f"a{suffix}", frames_of(info, np.zeros((info.height, info.width), np.uint8)), info, encoding
        )
    assert list(tmp_path.iterdir()) == []


def test_check_encoder_says_what_it_will_use():
    plan = check_encoder(EncodingOptions("hevc", crf=20), source_info(size=(320, 180)), ".MP4")
    assert (plan.codec, plan.encoder, plan.pix_fmt) == ("hevc", "libx265", "yuv420p")


# -- sound ------------------------------------------------------------------------------------------------------------

SOUNDS = [
    ("a.wav", "pcm_s16le", 16_000, 1),
    ("a.wav", "pcm_s24le", 96_000, 2),
    ("a.wav", "pcm_f32le", 44_100, 2),
    ("a.wav", "pcm_u8", 8_000, 1),
    ("a.mp3", "libmp3lame", 44_100, 2),
    ("a.flac", "flac", 48_000, 6),
    ("a.m4a", "aac", 48_000, 2),
    ("a.aac", "aac", 44_100, 2),
    ("b.m4a", "alac", 44_100, 2),
    ("a.ogg", "libopus", 48_000, 2),
    ("a.ac3", "ac3", 48_000, 6),
]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
@pytest.mark.parametrize(("name", "codec", "rate", "channels"), SOUNDS)
def test_sound_is_copied_or_encoded_in_place(tmp_path, suffix, name, codec, rate, channels):
    sound = write_wav(tmp_path / name, tone(1, rate, channels), rate, codec)
    info = source_info(25)
    written = write_video(tmp_path / f"out{suffix}", frames_of(info), info, EncodingOptions(preset="ultrafast"), sound)
    before, before_rate = read_pcm(sound)
    after, after_rate = read_pcm(written.path)
    assert after.shape[1] == channels
    if written.audio == "copied":
        assert after_rate == before_rate
        n = len(before)
        assert 0 <= len(after) - n <= 0.03 * rate  # MP4 does not say where the padding of the last packet begins
        np.testing.assert_array_equal(after[:n], before)
    elif suffix in (".mkv", ".avi"):
        assert written.audio in ("flac", "pcm_s16le")
        expected, actual = read_audio(sound), read_audio(written.path)
        assert len(expected) == len(actual)
        assert np.abs(expected - actual).max() < 3 / 32_768
    else:
        kbps = int(written.audio.split()[1][:-1])
        assert kbps >= 192 or kbps * 1000 >= 5.9 * rate * channels  # AAC has a limit at low sampling rates
        assert after_rate == (48_000 if suffix == ".webm" else rate)
    copied = {
        ".mp4": {"aac", "alac", "ac3"},
        ".mov": {"pcm_s16le", "pcm_s24le", "pcm_f32le", "aac", "alac", "ac3"},
        ".mkv": {"pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_u8", "flac", "alac", "libopus", "ac3"},
        ".webm": {"libopus"},
        ".avi": {"pcm_s16le", "pcm_u8", "ac3"},
    }
    if not (suffix == ".mkv" and name == "a.aac"):  # ADTS has no lead-in, AAC in MP4 has
        assert (written.audio == "copied") == (codec in copied[suffix])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize(("name", "codec", "rate", "channels"), SOUNDS)
def test_sound_is_cut_at_the_limit(tmp_path, suffix, name, codec, rate, channels):
    sound = write_wav(tmp_path / name, tone(1.5, rate, channels), rate, codec)
    info = source_info(23)
    limit = info.duration
    path = tmp_path / f"out{suffix}"
    part = AudioPart(sound, limit=limit)
    written = write_video(path, frames_of(info), info, EncodingOptions(preset="ultrafast"), part)
    samples, out_rate = read_pcm(path)
    half_packet = 1024 / rate if "aac" in (codec, written.audio.split()[0]) else 0.03
    exact = written.audio in ("flac", "alac", "pcm_s16le") or (written.audio == "copied" and codec.startswith("pcm"))
    assert abs(len(samples) / out_rate - limit) <= (0.001 if exact else half_packet)
    if codec in ("flac", "alac") and written.audio in ("copied", "flac", "alac"):
        np.testing.assert_array_equal(samples, read_pcm(sound)[0][: len(samples)])
    assert abs(probe_video(path).duration - limit) == 0


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus")])
def test_sound_that_players_do_not_expect_is_copied_only_if_asked_for(tmp_path, name, codec):
    sound = write_wav(tmp_path / name, tone(0.5, 48_000), 48_000, codec)
    info = source_info(5)
    for copied, how in ((False, "aac"), (True, "copied")):
        path = tmp_path / f"{copied}.m4v"
        written = write_video(
            path, frames_of(info), info, EncodingOptions(preset="ultrafast"), AudioPart(sound, copied=copied)
        )
        assert written.audio.split()[0] == how
        assert [codec.removeprefix("lib").removesuffix("lame") in note for note in written.notes] == [True] * (
            not copied
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("delay", [Fraction(1, 3), Fraction(-1, 3)])
def test_sound_that_begins_later_or_is_cut_at_its_beginning(tmp_path, suffix, delay):
    click = np.zeros((32_000, 1), np.int16)
    click[16_000:16_100] = 20_000
    sound = write_wav(tmp_path / "a.wav", click)
    info = source_info(25)
    path = tmp_path / f"a{suffix}"
    write_video(path, frames_of(info), info, EncodingOptions(preset="ultrafast"), AudioPart(sound, delay=delay))
    with av.open(str(path)) as container:
        begin = float((container.streams.audio[0].start_time or 0) * container.streams.audio[0].time_base)
    heard = np.flatnonzero(np.abs(read_audio(path)) > 0.2)[0] / 16_000 + begin
    assert heard == pytest.approx(1 + delay, abs=0.01)


def test_sound_of_a_video_and_long_sound_without_a_limit(tmp_path):
    sound = write_clip(tmp_path / "in.mkv", 5, sound=tone(3), sound_codec="pcm_s16le")
    info = source_info(10)
    written = write_video(tmp_path / "out.mkv", frames_of(info), info, audio=sound)
    assert written.audio == "copied"
    np.testing.assert_array_equal(read_pcm(written.path)[0], tone(3))
    assert write_video(tmp_path / "mute.mp4", frames_of(info), info).audio == "none"


def test_sound_that_cannot_be_used(tmp_path):
    info = source_info(3)
    silent = write_clip(tmp_path / "silent.mp4", 2)
    with pytest.raises(NoAudioStreamError):
        write_video(tmp_path / "a.mp4", frames_of(info), info, audio=silent)
    with pytest.raises(AudioError, match="no file"):
        write_video(tmp_path / "a.mp4", frames_of(info), info, audio=tmp_path / "none.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["silent.mp4"]


# -- files ------------------------------------------------------------------------------------------------------------

NAMES = [
    "a b (1).mp4",
    "视频.mov",
    "-x.mp4",
    "q'uote\".mkv",
    "50%d_%s.mp4",
    "a:b.mp4",
    "file:x.mkv",
    "n" * 200 + ".mp4",
    "[x]*?.webm",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_works(tmp_path, monkeypatch, name):
    folder = tmp_path / "fol der 文件"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sound = write_wav(folder / "s.wav", tone(0.4)).rename(folder / f"{name}.wav")
    info = source_info(10)
    write_video(name, frames_of(info), info, EncodingOptions(preset="ultrafast"), sound.name)  # relative paths, too
    back = VideoFile(name)
    assert [read_number(frame.pixels) for frame in back.frames()] == list(range(10))
    assert len(read_audio(name)) > 0
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, sound.name])


def test_existing_files_and_inputs_are_safe(tmp_path):
    clip = write_clip(tmp_path / "in.mp4", 5)
    before = clip.read_bytes()
    source = VideoFile(clip)
    with pytest.raises(OutputError, match="is an input"):
        write_video(clip, source.frames(), source.info, overwrite=True)
    (tmp_path / "link.mp4").symlink_to(clip)
    with pytest.raises(OutputError, match="is an input"):
        write_video(tmp_path / "link.mp4", source.frames(), source.info, overwrite=True)
    other = tmp_path / "other.mp4"
    other.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        write_video(other, source.frames(), source.info)
    assert other.read_bytes() == b"precious"
    write_video(other, source.frames(), source.info, overwrite=True)
    assert probe_video(other).n_frames == 5
    assert clip.read_bytes() == before


def test_places_that_cannot_be_written(tmp_path):
    info = source_info(2)
    with pytest.raises(OutputError, match="no folder"):
        write_video(tmp_path / "none" / "a.mp4", frames_of(info), info)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_video(tmp_path / "folder.mp4", frames_of(info), info)
    with pytest.raises(OutputError, match="too long"):
        write_video(tmp_path / ("n" * 300 + ".mp4"), frames_of(info), info)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        write_video(tmp_path / "a.mp4", frames_of(source_info(2)), source_info(2))


@pytest.mark.parametrize("error", [KeyboardInterrupt, VideoError("the source broke"), RuntimeError("a bug")])
def test_nothing_stays_behind_and_the_old_result_lives(tmp_path, error):
    closed = []

    def failing():
        try:
            yield from frames_of(source_info(5))
            assert len(leftovers(tmp_path)) == 1  # in the same folder, so that the renaming is atomic
            raise error
        finally:
            closed.append(True)

    old = tmp_path / "a.mp4"
    old.write_bytes(b"old")
    sound = write_wav(tmp_path / "s.wav", tone(1))
    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_video(old, failing(), source_info(), audio=sound, overwrite=True)
    assert closed and old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "s.wav"]


def test_frames_are_closed_even_if_nothing_is_written(tmp_path):
    frames = frames_of(source_info())
    next(frames)
    with pytest.raises(OutputError):
        write_video(tmp_path / "a.exe", frames, source_info())
    with pytest.raises(StopIteration):
        next(frames)


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="not a single frame"):
        write_video(tmp_path / "a.mp4", iter(()), source_info())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_full_disk(tmp_path, suffix):
    """A limit on the size of files stands for the full disk: the system refuses to write in the same place."""
    code = f"""
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from latentsync.errors import DiskFullError
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, Frame, VideoInfo
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
info = VideoInfo(Path("x.mp4"), 160, 120, Fraction(25), 30, Fraction(30, 25))
noise = np.random.default_rng(0).integers(0, 255, (30, 120, 160, 3), np.uint8)
frames = (ArrayFrame(n, n / info.fps, noise[n]) for n in range(30))
try:
    write_video(Path({str(tmp_path)!r}) / "a{suffix}", frames, info, EncodingOptions(crf=0, preset="ultrafast"))
except DiskFullError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == DiskFullError.exit_code, run.stderr
    assert "not enough room" in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_mp4_starts_with_its_index(tmp_path):
    info = source_info(5)
    data = write_video(tmp_path / "a.mp4", frames_of(info), info).path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    """The writer asks for the next frame only when it can use it: never far ahead of what is encoded."""
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    levels = []

    def endless(info):
        for n in range(info.n_frames):
            if n in (100, 599):
                levels.append(process.memory_info().rss)
            yield ArrayFrame(n, n / info.fps, picture(n % 50, 320, 240))

    info = source_info(600, size=(320, 240))
    write_video(tmp_path / "a.mp4", endless(info), info, EncodingOptions(preset="ultrafast"))
    assert levels[1] - levels[0] < 20 * 2**20


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "OpenTalker+video-retalking/examples/face/1.mp4",
        "Breakthrough+PySceneDetect/tests/resources/issue-134-rotate.mp4",
        "rizkiarm+LipNet/evaluation/samples/GRID/bbaf2n.mpg",
        "tencent-ailab+V-Express/test_samples/short_case/AOC/gt.mp4",
    ],
)
def test_real_clips_through_the_whole_way(tmp_path, name):
    source = VideoFile(shared_file(f"media/{name}"))
    info = replace(source.info, n_frames=20)
    path = write_video(tmp_path / "a.mp4", source.frames(0, 20), info, EncodingOptions(crf=10, preset="ultrafast")).path
    back = VideoFile(path)
    pairs = list(zip(source.frames(0, 20), back.frames(), strict=True))
    assert all(a.time == b.time for a, b in pairs)
    assert min(psnr(a.pixels, b.pixels) for a, b in pairs) > 42


def test_sound_and_picture_begin_together(tmp_path):
    sound = write_wav(tmp_path / "s.m4a", tone(1, 48_000, 2), 48_000, "aac")
    info = source_info(25)
    for suffix in (".mp4", ".mov", ".mkv"):
        path = write_video(tmp_path / f"a{suffix}", frames_of(info), info, audio=sound).path
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert abs(
                (video.start_time or 0) * video.time_base - (audio.start_time or 0) * audio.time_base
            ) < Fraction(1, 400)
