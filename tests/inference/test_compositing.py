"""Fits of faces over time: smoothed without lag, within a shot, and colors that drift leave no seam and no step."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from latentsync.face.color_match import ColorFit
from latentsync.face.paste import FaceFit
from latentsync.inference.compositing import FIT_REACH, GeneratedFrame, with_steady_fits
from latentsync.inference.windows import FaceFrame, PassedFrame
from latentsync.types import AlignedFace, ArrayFrame, FaceObservation
from tests.inference.world import DrawnVideo, Identity, sync, write_number

FACE = AlignedFace(np.zeros((3, 1, 1), np.float32), np.eye(2, 3))


def member(index: int, shot: int = 0, number: int | None = None) -> GeneratedFrame:
    frame = ArrayFrame(index if number is None else number, Fraction(index, 25), np.zeros((2, 2, 3), np.uint8))
    observed = FaceObservation(index, 0, np.zeros(4, np.float32), np.zeros((68, 2), np.float32), 1.0)
    return GeneratedFrame(FaceFrame(frame, FACE, shot, observed), FACE.pixels)


def smoothed(members, level, jaw=lambda index: 0.0):
    """Offset and jaw of the smoothed fits, by frame; None where a frame passes through."""

    def measure(generated, colors):
        index = int(generated.frame.time * 25)
        offset = level(index) if colors else np.nan  # of a frame whose colors are not compared
        return FaceFit(ColorFit(1.0, np.full(3, offset, np.float32)), jaw(index))

    found = list(with_steady_fits(iter(members), measure))
    assert [fitted.member for fitted in found] == members
    return [None if each.fit is None else (float(each.fit.color.offset[0]), each.fit.jaw) for each in found]


def test_a_drift_is_followed_without_lag_and_noise_is_averaged():
    drift = smoothed([member(k) for k in range(40)], lambda k: 0.5 * k)
    assert [offset for offset, _ in drift] == pytest.approx([0.5 * k for k in range(40)], abs=1e-4)
    noise = np.random.default_rng(0).normal(0, 1, 200)
    calm = [offset for offset, _ in smoothed([member(k) for k in range(200)], lambda k: noise[k])]
    assert np.std(calm[FIT_REACH:-FIT_REACH]) < 0.55


def test_nothing_is_smoothed_across_a_cut_a_jump_or_further_than_the_reach():
    shots = [member(k, shot=int(k >= 10)) for k in range(20)]
    again = [member(k, number=k % 10) for k in range(20)]
    for members in (shots, again):
        offsets = [offset for offset, _ in smoothed(members, lambda k: 10.0 * (k >= 10))]
        assert offsets == pytest.approx([0.0] * 10 + [10.0] * 10)
    pulse = smoothed([member(k) for k in range(30)], lambda k: 7.0 * (k == 16))
    changed = [k for k, (offset, _) in enumerate(pulse) if offset != 0]
    assert changed == list(range(16 - FIT_REACH, 17 + FIT_REACH))


def test_frames_without_a_face_keep_their_place_and_count_for_nothing():
    members = [member(k) for k in range(12)]
    members[5] = PassedFrame(members[5].frame, 0, "no face")
    fits = smoothed(members, lambda k: 3.0)
    assert fits[5] is None
    assert [fit for fit in fits if fit is not None] == [(pytest.approx(3.0), 0.0)] * 11


@pytest.mark.parametrize("numbers", [range(3, 24), range(1, 41, 2), range(0, 40, 2), [5], [7, 6, 5, 4]])
def test_colors_are_compared_in_every_other_frame_of_the_source(numbers):
    asked = []

    def measure(generated, colors):
        asked.append(colors)
        return FaceFit(ColorFit(1.0, np.full(3, 2.0 if colors else np.nan, np.float32)), 0.0)

    members = [member(k, number=number) for k, number in enumerate(numbers)]
    found = list(with_steady_fits(iter(members), measure))
    assert [float(each.fit.color.offset[0]) for each in found] == pytest.approx([2.0] * len(members))
    steps = set(np.diff(numbers))
    assert asked == [place == 0 or steps == {2} or number % 2 == 0 for place, number in enumerate(numbers)]


def test_the_outline_is_where_the_jaw_is_and_moves_without_jumps():
    jaws = [18.0 * (k in (20, 21)) - 9.0 * (k == 40) for k in range(60)]
    smooth = [jaw for _, jaw in smoothed([member(k) for k in range(60)], lambda k: 0.0, lambda k: jaws[k])]
    assert smooth[20] == smooth[21] == 18 and smooth[40] == -9
    assert max(abs(b - a) for a, b in zip(smooth, smooth[1:], strict=False)) <= 18 / (FIT_REACH + 1) + 1e-6


class DriftingColors(Identity):
    """A generator whose colors go off and back: gain 0.9 and (+8, -5, +6) grey levels at the most."""

    def __call__(self, windows):
        faces = (super().__call__(windows) + 1) * 127.5
        for made, window in zip(faces, windows, strict=True):
            share = np.sin(window.audio[:, 0, 0] / 50 * np.pi / 2)[:, None, None, None] ** 2
            noise = np.random.default_rng(window.number).normal(0, 0.25, (len(made), 3, 1, 1))
            made *= 1 - 0.1 * share
            made += (np.array([8, -5, 6])[:, None, None] + noise) * share
        return np.clip(faces, 0, 255).astype(np.float32) / 127.5 - 1


class GrainyVideo(DrawnVideo):
    """With the grain of a camera."""

    def draw(self, index):
        grain = np.random.default_rng(index).normal(0, 2, (self.info.height, self.info.width, 3))
        pixels = np.clip(super().draw(index) + grain, 0, 255).astype(np.uint8)
        write_number(pixels, index)
        return pixels


def test_colors_that_drift_leave_no_seam_and_no_step():
    video = GrainyVideo(64, 200, 200, face=110.0)
    seams = []
    for frame in sync(video, Fraction(64, 25), DriftingColors()):
        source = video.draw(frame.index)
        left, top = (video.landmarks(frame.index)[48:68].min(axis=0) - 25).astype(int)
        right, bottom = (video.landmarks(frame.index)[48:68].max(axis=0) + 25).astype(int)
        around = slice(top, bottom), slice(left, right)
        seams.append(float(deltaE_ciede2000(rgb2lab(frame.pixels[around]), rgb2lab(source[around])).mean()))
    steps = np.abs(np.diff(seams))
    print(f"seam at most {max(seams):.2f}, step at most {steps.max():.2f}")
    assert max(seams) <= 1.5
    assert steps.max() <= 0.3
