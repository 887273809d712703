"""Decoded frames: parts as they are in the whole, and planes that only painting changes."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from latentsync.media.color import Reading, RgbToFrame, plane_view, rgb_of
from latentsync.media.planes import DecodedFrame, frame_of, layout_of
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, ColorTags
from tests.media.synthetic import write_clip

LAYOUTS = ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le", "yuv444p12le"]
SIZE = (160, 96)
UNSTATED = ColorTags()


def bits_of(pix_fmt: str) -> int:
    return av.VideoFormat(pix_fmt).components[0].bits


def noise_planes(pix_fmt: str, size: tuple[int, int] = SIZE, seed: int = 0) -> av.VideoFrame:
    """Every sample drawn anew, the hardest to interpolate."""
    rng = np.random.default_rng(seed)
    frame = av.VideoFrame(*size, pix_fmt)
    for plane in frame.planes:
        view = plane_view(plane, bits_of(pix_fmt))
        view[:] = rng.integers(0, 2 ** bits_of(pix_fmt), view.shape)
    return frame


def decoded(pix_fmt: str, tags: ColorTags = UNSTATED, **how) -> tuple[av.VideoFrame, DecodedFrame]:
    planes = noise_planes(pix_fmt, **how)
    return planes, frame_of(7, Fraction(7, 25), planes, Reading.of(tags, pix_fmt), alpha=False)


def samples(frame: av.VideoFrame) -> list[np.ndarray]:
    return [plane_view(plane, frame.format.components[0].bits).copy() for plane in frame.planes]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pix_fmt", LAYOUTS)
def test_a_part_is_as_it_is_in_the_whole(pix_fmt, full_range):
    tags = ColorTags(matrix=1, full_range=full_range)
    planes, _ = decoded(pix_fmt, tags)
    whole = rgb_of(planes, Reading.of(tags, pix_fmt))
    rng = np.random.default_rng(1)
    width, height = SIZE
    boxes = [(0, 0, 1, 1), (width - 1, height - 1, width, height), (0, 0, width, height), (5, 5, 5, 9)]
    for _ in range(40):
        (x0, x1), (y0, y1) = (sorted(rng.integers(0, side + 1, 2).tolist()) for side in SIZE)
        boxes.append((x0, y0, x1, y1))
    _, kept = decoded(pix_fmt, tags)  # what it has converted already may not matter
    for x0, y0, x1, y1 in boxes:
        _, fresh = decoded(pix_fmt, tags)
        np.testing.assert_array_equal(fresh.region((x0, y0, x1, y1)), whole[y0:y1, x0:x1])
        np.testing.assert_array_equal(kept.region((x0, y0, x1, y1)), whole[y0:y1, x0:x1])
    np.testing.assert_array_equal(kept.pixels, whole)
    assert kept.shape == whole.shape


@pytest.mark.parametrize("pix_fmt", LAYOUTS)
def test_untouched_planes_are_the_decoders_own(pix_fmt):
    planes, frame = decoded(pix_fmt, ColorTags(full_range=True))
    out = frame.planes_for(RgbToFrame(ColorTags(full_range=True), layout_of(pix_fmt)))
    assert out.format.name == layout_of(pix_fmt)
    for before, after in zip(samples(planes), samples(out), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("box", [(30, 20, 71, 51), (0, 0, 160, 96), (159, 95, 160, 96)])
@pytest.mark.parametrize("pix_fmt", LAYOUTS)
def test_only_samples_under_changed_pixels_change(pix_fmt, box):
    tags = ColorTags(full_range=True)
    planes, frame = decoded(pix_fmt, tags)
    x0, y0, x1, y1 = box
    changed = np.random.default_rng(2).random((y1 - y0, x1 - x0)) < 0.1
    changed[0, 0] = True
    patch = frame.region(box).copy()
    patch[changed] = 255 - patch[changed]
    painted = frame.patched(box, patch)
    to_frame = RgbToFrame(tags, layout_of(pix_fmt))
    whole, expected = painted.pixels, to_frame(painted.pixels, None)
    np.testing.assert_array_equal(whole[y0:y1, x0:x1], patch)
    under = np.zeros(frame.shape[:2], bool)
    under[y0:y1, x0:x1] = (patch != frame.region(box)).any(axis=2)
    columns = zip(samples(planes), samples(painted.planes_for(to_frame)), samples(expected), strict=True)
    for before, after, all_new in columns:
        rows, per_row = (under.shape[axis] // before.shape[axis] for axis in range(2))
        mine = under.reshape(before.shape[0], rows, before.shape[1], per_row).any(axis=(1, 3))
        np.testing.assert_array_equal(after[~mine], before[~mine])
        np.testing.assert_array_equal(after[mine], all_new[mine])
    np.testing.assert_array_equal(frame.region(box)[~changed], patch[~changed])  # the frame itself is as it was


def test_patches_lie_one_over_the_other_and_stay_with_the_frame():
    _, frame = decoded("yuv420p")
    red, blue = np.full((10, 10, 3), (255, 0, 0), np.uint8), np.full((10, 10, 3), (0, 0, 255), np.uint8)
    both = frame.patched((10, 10, 20, 20), red).patched((15, 15, 25, 25), blue).shown_at(Fraction(3))
    expected = frame.pixels.copy()
    expected[10:20, 10:20], expected[15:25, 15:25] = red, blue
    np.testing.assert_array_equal(both.pixels, expected)
    np.testing.assert_array_equal(both.region((12, 12, 18, 18)), expected[12:18, 12:18])
    assert (both.index, both.time, frame.time) == (7, 3, Fraction(7, 25))
    assert frame.shown_at(Fraction(1), 4).index == 4


@pytest.mark.parametrize(
    ("pix_fmt", "tags"),
    [
        ("yuv422p", ColorTags()),
        ("yuv420p10le", ColorTags()),
        ("yuv420p", ColorTags(1)),
        ("yuv420p", ColorTags(2, 2, 2, True)),
    ],
)
def test_planes_of_another_meaning_are_made_anew(pix_fmt, tags):
    _, frame = decoded("yuv420p")
    assert frame.planes_for(RgbToFrame(tags, pix_fmt)) is None


def test_pictures_that_do_not_come_in_parts_are_plain_frames():
    for pix_fmt, size in (
        ("yuv420p", (159, 96)),
        ("yuv422p", (159, 96)),
        ("yuv420p", (160, 95)),
        ("nv12", SIZE),
        ("rgb24", SIZE),
    ):
        planes = av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), "rgb24").reformat(format=pix_fmt)
        assert type(frame_of(0, Fraction(0), planes, Reading.of(ColorTags(), pix_fmt), alpha=False)) is ArrayFrame
    with_alpha = noise_planes("yuva420p")
    frame = frame_of(0, Fraction(0), with_alpha, Reading.of(ColorTags(), "yuva420p"), alpha=True)
    np.testing.assert_array_equal(frame.alpha, samples(with_alpha)[3])
    assert isinstance(decoded("yuv444p", size=(159, 95))[1], DecodedFrame)


@pytest.mark.parametrize("kind", [DecodedFrame, ArrayFrame])
def test_samples_lie_on_an_even_grid(kind):
    width, height = SIZE
    planes = av.VideoFrame(width, height, "yuv444p")
    plane_view(planes.planes[0])[:] = 30 + np.arange(width) // 20 * 20
    for chroma in planes.planes[1:]:
        plane_view(chroma)[:] = 128
    frame = frame_of(0, Fraction(0), planes, Reading.of(ColorTags(full_range=True), "yuv444p"), alpha=False)
    if kind is ArrayFrame:
        frame = ArrayFrame(0, Fraction(0), frame.pixels)
    small = frame.samples(8, 4)
    assert small.shape == (4, 8, 3)
    assert np.abs(small.astype(int) - (30 + np.arange(8) * 20)[:, None]).max() <= 1


def test_a_reduced_picture_is_an_average():
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8), (0, 0), 3)
    planes = RgbToFrame(UNSTATED, "yuv420p")(picture, None)
    frame = frame_of(0, Fraction(0), planes, Reading.of(UNSTATED, "yuv420p"), alpha=False)
    for scale, shape in ((1 / 4, (24, 40, 3)), (1 / 3, (32, 53, 3))):
        expected = ArrayFrame.of(frame.pixels).reduced(scale)
        assert frame.reduced(scale).shape == expected.shape == shape
        assert np.abs(frame.reduced(scale).astype(int) - expected).mean() < 1
    white = frame.patched((0, 0, 160, 96), np.full((96, 160, 3), 255, np.uint8))
    assert white.reduced(1 / 4).min() == white.samples(40, 24).min() == 255


@pytest.mark.parametrize("rotation", [0, 90, 180])
def test_a_lossless_copy_with_a_painted_mouth_differs_there_only(tmp_path, rotation):
    clip = write_clip(tmp_path / "a.mp4", 3, size=(192, 128), rotation=rotation, options={"crf": "20"})
    source = VideoFile(clip)
    box = (41, 31, 80, 63)
    patch = np.full((32, 39, 3), (200, 30, 90), np.uint8)
    painted = (frame.patched(box, patch) for frame in source.frames())
    path = write_video(tmp_path / "b.mkv", painted, source.info, EncodingOptions("ffv1")).path
    with av.open(str(clip)) as first, av.open(str(path)) as second:
        for before, after in zip(first.decode(video=0), second.decode(video=0), strict=True):
            for a, b, scale in zip(samples(before), samples(after), (1, 2, 2), strict=True):
                a = np.rot90(a, -rotation // 90)
                outside = np.ones(a.shape, bool)
                outside[box[1] // scale : -(-box[3] // scale), box[0] // scale : -(-box[2] // scale)] = False
                np.testing.assert_array_equal(b[outside], a[outside])
                assert (b[~outside] != a[~outside]).mean() > 0.5


def test_planes_are_painted_without_rgb():
    planes, frame = decoded("yuv420p", ColorTags(matrix=1))
    to_frame, box = RgbToFrame(ColorTags(matrix=1), "yuv420p"), (10, 20, 50, 44)
    rng = np.random.default_rng(3)
    new = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((24, 40), (12, 20), (12, 20))]
    painted = frame.with_planes(box, new)
    again = painted.with_planes((12, 20, 14, 22), [np.full((side, side), 9, np.uint8) for side in (2, 1, 1)])
    new = [plane.copy() for plane in new]
    new[0][:2, 2:4] = new[1][0, 1] = new[2][0, 1] = 9
    expected = samples(planes)
    for plane, part, (x, y) in zip(expected, new, ((10, 20), (5, 10), (5, 10)), strict=True):
        plane[y : y + part.shape[0], x : x + part.shape[1]] = part
    assert all(map(np.array_equal, samples(again.planes_for(to_frame)), expected))
    assert all(map(np.array_equal, samples(frame.planes_for(to_frame)), samples(planes)))
    assert np.array_equal(again.plane(1, (4, 9, 30, 25)), expected[1][9:25, 4:30])
    whole = av.VideoFrame(*SIZE, "yuv420p")
    for plane, part in zip(whole.planes, expected, strict=True):
        plane_view(plane)[:] = part
    rgb = rgb_of(whole, Reading.of(ColorTags(matrix=1), "yuv420p"))
    assert np.array_equal(again.region((3, 7, 90, 70)), rgb[7:70, 3:90]) and np.array_equal(again.pixels, rgb)
    assert frame.yuv_layout is not None and again.yuv_layout is frame.yuv_layout
    assert frame.patched((0, 0, 2, 2), np.zeros((2, 2, 3), np.uint8)).yuv_layout is None
    assert decoded("yuv420p10le")[1].yuv_layout is None and decoded("yuv444p")[1].yuv_layout is None
