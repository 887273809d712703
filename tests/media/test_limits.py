"""What strangers send: refused in a sentence before a picture is decoded (and what is ordinary is not)."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from latentsync.errors import AudioError, NoVideoStreamError, StoppedError, VideoError
from latentsync.media.audio import read_audio
from latentsync.media.limits import MediaLimits
from latentsync.media.probe import probe_video
from latentsync.media.video import VideoFile
from tests.media.hostile.uploads import concatenation, gif_bomb, huge_frames, huge_png, playlist, ten_hours, web_page
from tests.media.synthetic import tone, write_clip, write_wav
from tests.memory import peak_megabytes

LIMITS = MediaLimits()


HOSTILE = {
    "10,000 x 10,000 pixels": (huge_frames, "video.mp4", "far too large"),
    "the same as PNG": (huge_png, "video.mp4", "not of a kind"),
    "GIF": (gif_bomb, "video.mp4", "not of a kind"),
    "GIF by its own name": (gif_bomb, "video.gif", "not of a kind"),
    "ten hours": (ten_hours, "video.mp4", "more than 10 minutes"),
    "web page": (web_page, "video.mp4", "web page"),
    "playlist": (playlist, "video.mp4", "not of a kind|no media file"),
    "concatenation": (concatenation, "video.mp4", "not of a kind|no media file"),
}


@pytest.mark.parametrize("make, name, words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_videos(tmp_path, make, name, words):
    path = make(tmp_path / name)
    with pytest.raises(VideoError, match=words) as refused:
        LIMITS.check_video(path)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "name, codec, way",
    [("a.png", "png", "Make a video of the picture"), ("a.gif", "gif", "Make a video of the picture")]
    + [("a.mpg", "mpeg2video", "Export it as MP4 with H.264"), ("a.ts", "mpeg2video", "Export it as MP4 with H.264")],
)
def test_kinds_that_are_not_taken_have_a_way_out(tmp_path, name, codec, way):
    with av.open(str(tmp_path / name), "w", format="image2" if codec == "png" else None) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = {"png": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), "rgb24")
        out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    with pytest.raises(VideoError, match="not of a kind") as refused:
        LIMITS.check_video(tmp_path / name)
    assert refused.value.remedy.startswith(way) and "MKV, WebM or AVI" in refused.value.remedy
    with pytest.raises(AudioError, match="not of a kind") as refused:
        LIMITS.check_audio(tmp_path / name)


def test_nothing_large_is_decoded(tmp_path):
    huge_frames(tmp_path / "a.mp4"), gif_bomb(tmp_path / "b.mp4"), huge_png(tmp_path / "c.mp4")
    code = "from pathlib import Path\nfrom latentsync.media.limits import MediaLimits\n"
    base = peak_megabytes(code)
    for name in "abc":
        code += f"try: MediaLimits().check_video(Path({str(tmp_path)!r}) / '{name}.mp4')\nexcept Exception: pass\n"
    assert peak_megabytes(code) - base < 150


def test_sound_where_a_video_belongs(tmp_path):
    with pytest.raises(VideoError):
        LIMITS.check_video(write_wav(tmp_path / "sound.wav", tone(1.0)))
    with pytest.raises(NoVideoStreamError, match="only sound"):
        LIMITS.check_video(write_wav(tmp_path / "sound.m4a", tone(1.0), codec="aac"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_ordinary_videos(tmp_path, suffix):
    path = write_clip(tmp_path / f"video{suffix}", 30, codec="libvpx-vp9" if suffix == ".webm" else "libx264")
    LIMITS.check_video(path)
    with pytest.raises(VideoError, match="more than 1 s"):
        MediaLimits(seconds=1).check_video(path)
    with pytest.raises(VideoError, match="0 MB"):
        MediaLimits(bytes=100).check_video(path)
    with pytest.raises(VideoError, match="96 x 64"):
        MediaLimits(pixels=6000).check_video(path)
    with pytest.raises(VideoError, match="30 frames"):
        MediaLimits(fps=20).check_video(path)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".wav", "pcm_s16le"), (".mp3", "libmp3lame"), (".m4a", "aac"), (".flac", "flac"), (".ogg", "libopus")],
)
def test_ordinary_sounds(tmp_path, suffix, codec):
    path = write_wav(tmp_path / f"sound{suffix}", tone(1.5, 48_000), 48_000, codec)
    LIMITS.check_audio(path)
    with pytest.raises(AudioError, match="more than 1 s"):
        MediaLimits(seconds=1).check_audio(path)


def test_a_sound_that_claims_ten_hours(tmp_path):
    path = write_wav(tmp_path / "sound.wav", tone(1.0, 8000), 8000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 36_000 * 16_000)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        claimed = Fraction(container.duration or 0, av.time_base)
    if claimed > 600:  # FFmpeg corrects it by the size of the file otherwise
        with pytest.raises(AudioError, match="more than 10 minutes"):
            LIMITS.check_audio(path)
    silence = np.zeros((700 * 8000, 1), np.int16)
    with pytest.raises(AudioError, match="more than 10 minutes"):
        LIMITS.check_audio(write_wav(tmp_path / "long.flac", silence, 8000, "flac"))


class Countdown:
    """Ends reading at the n-th packet."""

    def __init__(self, packets):
        self.left = packets

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            raise StoppedError("Nobody waits for it.")


@pytest.mark.parametrize("packets", [1, 10])
def test_whoever_no_longer_waits_ends_the_reading(tmp_path, packets):
    video, audio = write_clip(tmp_path / "a.mp4", 50), write_wav(tmp_path / "a.wav", tone(2.0))
    readings = {
        "the check of a video": lambda limits: limits.check_video(video),
        "the check of audio": lambda limits: limits.check_audio(audio),
        "a video's timeline": lambda limits: VideoFile(video, limits=limits),
        "audio": lambda limits: read_audio(audio, limits=limits),
    }
    for read in readings.values():
        with pytest.raises(StoppedError):
            read(MediaLimits(on_packet=Countdown(packets)))
    counter = Countdown(10**9)
    file = VideoFile(video, limits=MediaLimits(on_packet=counter))
    counter.left = packets
    with pytest.raises(StoppedError):
        list(file.frames())


@pytest.mark.parametrize(("fps", "jitter"), [(30, 0.004), (15, 0.02), (60, 0.001)])
def test_live_recordings_of_browsers_state_no_length(tmp_path, fps, jitter):
    """WebM as MediaRecorder writes it: no length of the file or of a frame, and times that are never quite even."""
    rng = np.random.default_rng(7)
    even = [k / fps + (rng.uniform(-jitter, jitter) if k else 0) for k in range(3 * fps)]
    times = [Fraction(round(1000 * time), 1000) for time in even]
    whole = write_clip(tmp_path / "whole.webm", 3 * fps, times=times, codec="libvpx", options={"deadline": "realtime"})
    path = tmp_path / "live.webm"
    with av.open(str(whole)) as source, av.open(str(path), "w", container_options={"live": "1"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.duration = stream, 0
                out.mux(packet)
    MediaLimits().check_video(path)
    info = probe_video(path)
    assert info.n_frames == 3 * fps and info.fps == pytest.approx(fps, rel=0.1)
    with pytest.raises(VideoError, match="2 s, the longest"):
        MediaLimits(seconds=2).check_video(path)
