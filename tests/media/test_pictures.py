"""Pictures and films as cameras leave them: orientation, order, HDR, fields."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from latentsync.media.encoding import EncodingOptions, plan_encoding
from latentsync.media.probe import probe_video
from latentsync.media.tone_map import HLG, PQ, ToneMap
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.types import ArrayFrame, ColorTags, HdrMetadata, VideoInfo
from tests.media.synthetic import picture, read_number, write_clip

ORIENTATION = 0x0112  # EXIF tag


def corners(width=64, height=40):
    """A picture that no turn or flip leaves as it was."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 3], pixels[height // 2 :, width // 2 :] = (250, 30, 30), (30, 30, 250)
    return pixels


def with_exif(orientation, kind="jpeg", pixels=None):
    """The bytes of a picture, and how it is to be seen."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(corners() if pixels is None else pixels)
    image.save(out, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "jpeg" else {}))
    upright = Image.open(io.BytesIO(out.getvalue()))
    return out.getvalue(), np.asarray(ImageOps.exif_transpose(upright).convert("RGB")).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_pictures_are_seen_upright(tmp_path, kind, orientation):
    data, upright = with_exif(orientation, kind)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    video = VideoFile(path)
    (frame,) = video.frames()
    assert (video.info.height, video.info.width, 3) == frame.pixels.shape == upright.shape
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("orientation", [2, 5, 6, 8])
def test_films_of_photos_are_seen_upright(tmp_path, orientation):
    data, upright = with_exif(orientation)
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 40, "yuvj444p"
        for number in range(3):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            out.mux(packet)
    frames = list(VideoFile(path).frames())
    assert len(frames) == 3 and np.abs(frames[1].pixels.astype(int) - upright).mean() < 6


def test_a_folder_is_read_in_natural_order_each_photo_upright(tmp_path):
    for number, orientation in ((1, 6), (2, 8), (10, 5), (11, 6)):
        (tmp_path / f"shot{number}.jpg").write_bytes(with_exif(orientation)[0])
    video = VideoFile(tmp_path, fps=Fraction(30))
    assert (video.info.width, video.info.height, video.info.fps) == (40, 64, 30) and video.is_images
    for frame, orientation in zip(video.frames(), (6, 8, 5, 6), strict=True):
        assert np.abs(frame.pixels.astype(int) - with_exif(orientation)[1]).mean() < 6
    for number in (7, 100):
        Image.fromarray(picture(number, 40, 64)).save(tmp_path / f"shot{number}.png")
    assert [read_number(f.pixels) for k, f in enumerate(VideoFile(tmp_path).frames()) if k in (2, 5)] == [7, 100]


def test_pixels_of_an_absurd_shape_are_taken_for_square(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 2, sample_aspect_ratio=Fraction(50, 1))
    assert probe_video(path).sample_aspect_ratio == 1
    assert "square" in VideoFile(path).notes[0]


# -- HDR --------------------------------------------------------------------------------------------------------------

MASTERING = tuple(Fraction(n, 50_000) for n in (35_400, 14_600, 8500, 39_850, 6550, 2300, 15_635, 16_450))
SCREEN = HdrMetadata((*MASTERING, Fraction(1, 1000), Fraction(4000)), (800, 200))


def hdr_info(transfer, **changes):
    info = VideoInfo(
        path=None, width=96, height=64, fps=Fraction(25), n_frames=3, duration=Fraction(3, 25), pix_fmt="yuv420p10le"
    )
    return replace(info, color=ColorTags(9, 9, transfer, False), **changes)


def test_an_hdr_video_stays_one_with_its_mastering_data(tmp_path):
    info = replace(hdr_info(PQ, hdr=SCREEN), path=tmp_path)
    frames = (ArrayFrame(n, Fraction(n, 25), picture(n)) for n in range(3))
    written = write_video(tmp_path / "a.mp4", frames, info, EncodingOptions(preset="ultrafast"))
    assert (written.codec, written.pix_fmt) == ("hevc", "yuv420p10le")
    found = probe_video(written.path)
    assert found.color.transfer == PQ and found.hdr == SCREEN


@pytest.mark.parametrize("transfer", [HLG, PQ])
@pytest.mark.parametrize(
    ("suffix", "asked"),
    [
        (".mp4", {"codec": "h264"}),
        (".mp4", {"for_browsers": True}),
        (".webm", {}),
        (".avi", {}),
        (".mov", {"codec": "png"}),
    ],
)
def test_eight_bits_are_never_tagged_as_hdr(tmp_path, transfer, suffix, asked):
    info = hdr_info(transfer)
    plan = plan_encoding(EncodingOptions(**asked), info, suffix)
    assert plan.tone_map == transfer and plan.color.transfer == 1 and plan.color.primaries == 1
    assert any("BT.709" in note for note in plan.notes)
    for pix_fmt, kept in (("yuv420p10le", None), ("yuv420p", transfer)):
        asked_for = plan_encoding(EncodingOptions("h264", pix_fmt=pix_fmt), info, ".mkv")
        assert asked_for.tone_map == kept


@pytest.mark.parametrize(("transfer", "white"), [(HLG, 0.75), (PQ, 0.58)])
def test_reference_white_is_nearly_white_and_nothing_changes_places(transfer, white):
    """HLG at 75 % and PQ at 58 % of the range are 203 cd/m2 (BT.2408)."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    mapped = ToneMap(transfer)(ramp)[0].astype(int)
    assert (np.diff(mapped[:, 0]) >= 0).all() and mapped[0].max() == 0 and mapped[255].min() >= 254
    assert np.ptp(mapped, axis=1).max() <= 1  # grey stays grey
    assert 205 <= mapped[round(255 * white), 0] <= 250
    assert mapped[128, 0] > 100


# -- fields -----------------------------------------------------------------------------------------------------------


def interlaced(path, first, codec="libx264", n=6):
    """A bar that moves 4 pixels from field to field."""

    def field(moment):
        image = np.full((64, 96, 3), 40, np.uint8)
        image[:, 4 * moment : 4 * moment + 12] = 220
        return image

    pictures = []
    for number in range(n):
        woven = field(2 * number)
        woven[(1 if first == "top" else 0) :: 2] = field(2 * number + 1)[(1 if first == "top" else 0) :: 2]
        pictures.append(woven)
    info = VideoInfo(path, 96, 64, Fraction(25), n, Fraction(n, 25), first_field=first)
    frames = (ArrayFrame(k, Fraction(k, 25), pixels) for k, pixels in enumerate(pictures))
    return write_video(path, frames, replace(info, path=path.parent), EncodingOptions("h264", crf=4)), field


@pytest.mark.parametrize("first", ["top", "bottom"])
def test_field_order_is_kept_and_fields_become_frames_if_asked_for(tmp_path, first):
    written, field = interlaced(tmp_path / "a.mp4", first)
    assert f"{first} field first" in written.notes[0]
    assert probe_video(written.path).first_field == first
    video = VideoFile(written.path, deinterlace=True)
    assert video.info.first_field == ""
    whole = list(video.frames())
    assert [frame.index for frame in whole] == list(range(6))
    for frame in whole[1:-1]:
        assert np.abs(frame.pixels.astype(int) - field(2 * frame.index)).mean() < 4
    backwards = list(video.frames(1, 5, reverse=True))
    assert all((a.pixels == b.pixels).all() for a, b in zip(backwards, whole[4:0:-1], strict=True))


def test_codecs_that_do_not_say_that_they_are_interlaced():
    plan = plan_encoding(EncodingOptions("hevc"), replace(hdr_info(1), first_field="top"), ".mp4")
    assert plan.first_field == "" and "hevc does not say" in plan.notes[-1]
