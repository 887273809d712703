"""What a page shows: one kind of video, whatever the source is."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.errors import EncoderError
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, check_encoder, write_video
from tests.media.synthetic import picture, read_number, tone, write_clip, write_wav

FOR_BROWSERS = EncodingOptions(for_browsers=True)
SOURCES = {
    "4:2:0": (".mp4", "libx264", "yuv420p", (96, 64)),
    "4:2:2": (".mp4", "libx264", "yuv422p", (96, 64)),
    "4:4:4": (".mp4", "libx264", "yuv444p", (96, 64)),
    "10 bits": (".mkv", "ffv1", "yuv420p10le", (96, 64)),
    "RGB": (".mkv", "ffv1", "bgr0", (96, 64)),
    "odd": (".mkv", "ffv1", "yuv420p", (97, 65)),
    "odd width, 4:4:4": (".mp4", "libx264", "yuv444p", (97, 64)),
    "odd height, 4:2:2, 10 bits": (".mkv", "ffv1", "yuv422p10le", (96, 65)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_becomes_one_kind(tmp_path, kind):
    suffix, codec, pix_fmt, (width, height) = SOURCES[kind]
    source = VideoFile(write_clip(tmp_path / f"in{suffix}", 4, codec=codec, pix_fmt=pix_fmt, size=(width, height)))
    plan = check_encoder(FOR_BROWSERS, source.info, ".mp4")
    written = write_video(tmp_path / "out.mp4", source.frames(), source.info, FOR_BROWSERS)
    shown = VideoFile(written.path)
    assert (plan.codec, plan.pix_fmt, shown.info.codec, shown.info.pix_fmt) == ("h264", "yuv420p", "h264", "yuv420p")
    assert (shown.info.width, shown.info.height) == (width + width % 2, height + height % 2)
    for before, after in zip(source.frames(), shown.frames(), strict=True):
        assert read_number(after.pixels) == before.index
        inside = after.pixels[:height, :width].astype(int)
        assert np.abs(inside - before.pixels).mean() < 4
        assert np.abs(after.pixels[-1].astype(int) - after.pixels[height - 1]).mean() < 6
    assert bool(written.notes) is (kind != "4:2:0") and written.notes == plan.notes
    assert ("odd" in str(written.notes)) is ("odd" in kind)


def test_what_is_transparent_is_black(tmp_path):
    clear = [np.dstack([picture(n), np.full((64, 96), 255, np.uint8)]) for n in range(3)]
    for pixels in clear:
        pixels[:, :40, 3] = 0
        pixels[:, 40:, :3] = 200
    source = VideoFile(write_clip(tmp_path / "in.mov", iter(clear), codec="png", pix_fmt="rgba"))
    assert source.info.has_alpha
    with pytest.raises(EncoderError, match="alpha channel"):
        check_encoder(EncodingOptions(), source.info, ".mp4")
    written = write_video(tmp_path / "out.mp4", source.frames(), source.info, FOR_BROWSERS)
    (first, *_) = VideoFile(written.path).frames()
    assert first.pixels[:, :36].max() < 12 and first.pixels[:, 44:].min() > 188
    assert "transparent" in str(written.notes) and "--" not in str(written.notes)


@pytest.mark.parametrize(
    "name, codec, how",
    [("a.m4a", "aac", "copied"), ("a.m4a", "alac", "aac"), ("a.mka", "ac3", "aac"), ("a.mp3", "libmp3lame", "aac")],
)
def test_audio_is_aac(tmp_path, name, codec, how):
    source = VideoFile(write_clip(tmp_path / "in.mp4", 25))
    audio = write_wav(tmp_path / name, tone(1.0, 48_000), 48_000, codec)
    written = write_video(tmp_path / "out.mp4", source.frames(), source.info, FOR_BROWSERS, audio)
    assert written.audio.startswith(how)
    (track,) = VideoFile(written.path).info.audio
    assert track.codec == "aac" and abs(read_audio(written.path)[8000:16_000]).max() > 0.1
    assert ("some browsers are silent" in str(written.notes)) is (codec != "aac")


def test_other_codecs_and_files_are_not_for_browsers(tmp_path):
    info = VideoFile(write_clip(tmp_path / "in.mp4", 2)).info
    for encoding, suffix in [(EncodingOptions("ffv1", for_browsers=True), ".mkv"), (FOR_BROWSERS, ".webm")]:
        with pytest.raises(EncoderError, match="browsers"):
            check_encoder(encoding, info, suffix)
