"""YUV <-> RGB: the right matrix, no bias, and a round trip that changes nothing one could see."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from latentsync.media.color import (
    Reading,
    RgbToFrame,
    alpha_of,
    coefficients,
    plane_view,
    rgb_of,
)
from latentsync.media.rotation import Orientation, Upright
from latentsync.media.threads import single_threaded
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ColorTags
from tests.media.synthetic import picture, write_clip

TASKS = Path("/proc/self/task")  # a folder for each thread of this process
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def flat_yuv(u: int, v: int, width: int = 512, height: int = 16) -> av.VideoFrame:
    """Every luma value twice along a row, one chroma value."""
    frame = av.VideoFrame(width, height, "yuv420p")
    ramp = np.arange(256, dtype=np.uint8).repeat(2)
    for plane, value in zip(frame.planes, (ramp, u, v), strict=True):
        plane_view(plane)[:] = value
    return frame


def reference_rgb(u: int, v: int, matrix: int, full_range: bool) -> np.ndarray:
    """(512, 3) unclipped, from the definition (ITU-T H.273)."""
    kr, kb = LUMA[matrix]
    luma = np.arange(256.0).repeat(2)
    if full_range:
        y, cb, cr = luma / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, cb, cr = (luma - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return 255 * np.stack([red, green, blue], axis=-1)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_decoding_follows_the_tags_to_rounding(matrix, full_range):
    tags = ColorTags(matrix=matrix, full_range=full_range)
    reading = Reading.of(tags, "yuv420p")
    for u, v in ((128, 128), (100, 150), (160, 120)):
        pixels = rgb_of(flat_yuv(u, v), reading)
        expected = reference_rgb(u, v, matrix, full_range)
        inside = (expected > 0) & (expected < 255)
        error = (pixels[5] - expected)[inside]
        assert np.abs(error).max() < 0.6  # rounding alone: 0.5; FFmpeg's quick converter: 2.7
        assert abs(error.mean()) < 0.3  # quick converter: 0.9 to 1.1 in limited range


def test_unstated_and_unknown_matrices_are_bt601():
    assert coefficients(ColorTags()) == coefficients(ColorTags(matrix=6)) == coefficients(ColorTags(matrix=8)) == 5


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("tags", [ColorTags(), ColorTags(1, 1, 1, False), ColorTags(5, 5, 6, True)])
def test_planes_that_go_through_rgb_come_back(tags, pix_fmt):
    """Levels of mean error; what is left is the rounding to 8 bits, twice."""
    smooth = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (90, 160, 3), np.uint8), (0, 0), 4)
    smooth = cv2.normalize(smooth, None, 40, 215, cv2.NORM_MINMAX)
    to_frame = RgbToFrame(tags, pix_fmt)
    first = to_frame(smooth, None)
    second = to_frame(rgb_of(first, to_frame.reading), None)
    errors = [
        np.abs(plane_view(a).astype(int) - plane_view(b)).mean()
        for a, b in zip(first.planes, second.planes, strict=True)
    ]
    assert errors[0] < 0.02, errors
    assert max(errors[1:]) < 0.1, errors


@pytest.mark.parametrize(
    "pix_fmt", ["yuva420p", "yuva422p", "yuva444p", "yuva444p10le", "yuva444p12le", "rgba", "bgra"]
)
def test_alpha_is_bit_equal(pix_fmt):
    alpha = np.arange(256, dtype=np.uint8).repeat(24).reshape(64, 96)
    frame = RgbToFrame(ColorTags(), pix_fmt)(picture(1), alpha)
    np.testing.assert_array_equal(alpha_of(frame), alpha)
    pixels = rgb_of(frame, Reading.of(ColorTags(), pix_fmt))
    assert np.abs(pixels.astype(int) - picture(1)).mean() < 3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_orientation_from_the_display_matrix(degrees, mirrored):
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = np.array([cosine, sine, 0, -sine, cosine, 0, 0, 0, 1])  # clockwise, as MP4 has it
    turned = np.rot90(picture(1), -degrees // 90)  # numpy turns counter-clockwise
    if mirrored:  # after turning, left to right
        matrix[[0, 3]] *= -1
        turned = turned[:, ::-1]
    upright = Upright(96, 64, Orientation.from_display_matrix(matrix))
    for _ in range(2):
        frame = upright(av.VideoFrame.from_ndarray(picture(1), "rgb24"))
        pixels = rgb_of(frame, Reading.of(ColorTags(), "rgb24"))
        np.testing.assert_array_equal(pixels, turned)


def test_orientation_by_other_angles_is_refused():
    assert Orientation.from_display_matrix(np.array([46_341, 46_341, 0, -46_341, 46_341, 0, 0, 0, 1])) is None


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_decoded_frame_keeps_its_planes(tmp_path, rotation):
    """H.264 states where its chroma lies, frames of our own do not: both must be read alike, turned or not."""
    clip = write_clip(tmp_path / "a.mp4", 1, size=(192, 128), rotation=rotation, options={"crf": "4"})
    source = VideoFile(clip)
    path = write_video(tmp_path / "b.mkv", source.frames(), source.info, EncodingOptions("ffv1")).path
    with av.open(str(clip)) as first, av.open(str(path)) as second:
        before, after = next(first.decode(video=0)), next(second.decode(video=0))
        for a, b in zip(before.planes, after.planes, strict=True):
            np.testing.assert_array_equal(plane_view(b), np.rot90(plane_view(a), -rotation // 90))


@pytest.mark.parametrize("size", [(128, 96), (1280, 720)])
def test_threads_do_not_change_pictures_and_are_as_many_as_allowed(size):
    pixels, found, started = picture(0, *size), [], []
    for how in (single_threaded, nullcontext):
        with how():
            before = len(list(TASKS.iterdir()))
            to_frame = RgbToFrame(ColorTags(), "yuv420p")
            upright = Upright(*size, Orientation(flip_x=True))
            found.append(rgb_of(upright(to_frame(pixels, None)), to_frame.reading))
            started.append(len(list(TASKS.iterdir())) - before)
            del to_frame, upright
    assert np.array_equal(*found)
    assert started[0] <= 0
    if size == (128, 96):
        assert started[1] <= 0  # not worth it
