"""A face read from planes and painted onto them, against the same over RGB."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner
from latentsync.face.appearance import BY_LOOKS
from latentsync.face.layers import rgb_at
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.face.shots import mark_cuts
from latentsync.media.color import Reading, RgbToFrame, plane_view
from latentsync.media.planes import frame_of
from latentsync.types import ArrayFrame, ColorTags, Frame
from latentsync.yuv import yuv_frame
from tests.face.drawn import placed, smooth_image

SIZE = (480, 360)
PLACES = {"inside": (231, 171), "at the edge": (90, 250)}


def frames(tags: ColorTags) -> tuple[Frame, Frame]:
    """The same image as planes, and as RGB."""
    image = 80 + smooth_image(SIZE[1], SIZE[0], detail=12) // 3  # of colors that RGB holds with any chroma beside them
    planes = RgbToFrame(tags, "yuv420p")(image, None)
    decoded = frame_of(3, Fraction(3, 25), planes, Reading.of(tags, "yuv420p"), alpha=False)
    assert yuv_frame(decoded) is not None
    return decoded, ArrayFrame(3, decoded.time, decoded.pixels)


def psnr(actual: np.ndarray, expected: np.ndarray, peak: float = 255) -> float:
    return float(10 * np.log10(peak**2 / max(((actual.astype(np.float64) - expected) ** 2).mean(), 1e-12)))


def planes_of(frame: Frame, tags: ColorTags) -> list[np.ndarray]:
    return [plane_view(plane).copy() for plane in frame.planes_for(RgbToFrame(tags, "yuv420p")).planes]


@pytest.mark.parametrize("tags", [ColorTags(), ColorTags(matrix=1), ColorTags(matrix=9), ColorTags(full_range=True)])
@pytest.mark.parametrize("width", [90, 200])
def test_a_face_is_aligned_as_from_rgb(tags, width):
    decoded, plain = frames(tags)
    landmarks, aligner = placed(PLACES["inside"], width, degrees=7), FaceAligner(256)
    by_planes, by_rgb = (aligner.align(frame, landmarks) for frame in (decoded, plain))
    assert psnr(by_planes.pixels, by_rgb.pixels, peak=2) > 52


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tags", [ColorTags(matrix=1), ColorTags(full_range=True)])
def test_a_face_is_painted_as_onto_rgb_and_nothing_beside_it(place, tags):
    decoded, plain = frames(tags)
    landmarks, aligner = placed(PLACES[place], 120, degrees=7), FaceAligner(256)
    aligned = aligner.align(plain, landmarks)
    paster = FacePaster(load_mask("mask", 256))
    wave = 0.25 * np.sin(np.arange(256, dtype=np.float32) / 20)[None, :, None]
    face = np.clip(aligned.pixels + wave, -1, 1)
    fit = paster.fit(face, aligned, plain.shape, landmarks)
    by_planes, by_rgb = (paster.paste(frame, face, aligned, fit, landmarks=landmarks) for frame in (decoded, plain))
    changed = (by_rgb.pixels != plain.pixels).any(axis=-1)
    assert 0.02 < changed.mean() < 0.5
    assert psnr(by_planes.pixels[changed], by_rgb.pixels[changed]) > 50
    assert psnr(by_planes.pixels[changed], plain.pixels[changed]) < 35
    seen = paster.paste(ArrayFrame.of(np.zeros_like(plain.pixels)), np.ones_like(face), aligned).pixels[..., 0]
    seen = cv2.dilate(seen, np.ones((3, 3))) > 0
    samples = seen.reshape(SIZE[1] // 2, 2, SIZE[0] // 2, 2).any(axis=(1, 3))
    before, after = planes_of(decoded, tags), planes_of(by_planes, tags)
    for own, painted, source in zip((seen, samples, samples), after, before, strict=True):
        assert np.array_equal(painted[~own], source[~own])
        assert (painted[own] != source[own]).any()


def test_a_second_face_lies_over_the_first_one_and_without_strength_nothing_changes():
    decoded, _ = frames(ColorTags(matrix=1))
    landmarks, aligner = placed(PLACES["inside"], 120, degrees=7), FaceAligner(256)
    aligned = aligner.align(decoded, landmarks)
    paster = FacePaster(load_mask("mask", 256))
    assert paster.paste(decoded, aligned.pixels, aligned, landmarks=landmarks, strength=0) is decoded
    dark, light = np.full_like(aligned.pixels, -0.6), np.full_like(aligned.pixels, 0.6)
    once = paster.paste(decoded, dark, aligned)
    twice = paster.paste(once, light, aligned)
    black = ArrayFrame.of(np.zeros_like(decoded.pixels))
    whole = cv2.erode(paster.paste(black, np.ones_like(dark), aligned).pixels[..., 0], np.ones((5, 5))) == 255
    assert whole.sum() > 1000
    for frame, level in ((once, 51), (twice, 204)):
        assert np.abs(frame.pixels[whole].astype(int) - level).max() <= 2


@pytest.mark.parametrize("tags", [ColorTags(matrix=1), ColorTags(full_range=True)])
def test_single_pixels_and_what_people_look_like_are_as_in_rgb(tags):
    decoded, plain = frames(tags)
    x, y = np.random.default_rng(0).integers(0, SIZE, (300, 2)).T
    assert np.array_equal(rgb_at(plain, x, y), plain.pixels[y, x])
    assert np.abs(rgb_at(decoded, x, y) - plain.pixels[y, x]).mean() < 1.5
    for place in PLACES.values():
        by_planes, by_rgb = (BY_LOOKS.embed(frame, [placed(place, 90)]) for frame in (decoded, plain))
        assert np.array_equal(np.isfinite(by_planes), np.isfinite(by_rgb))
        assert BY_LOOKS.differences(by_planes, by_rgb)[0, 0] < 0.2  # 1: two people


def test_a_cut_between_frames_of_either_kind_is_none():
    decoded, plain = frames(ColorTags(matrix=1))
    assert not any(cut for _, cut in mark_cuts([decoded, plain, decoded, decoded, plain, plain]))
