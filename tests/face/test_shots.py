import itertools
from fractions import Fraction

import numpy as np
import pytest

from latentsync.face.shots import mark_cuts
from latentsync.types import ArrayFrame
from tests.face.drawn import blank_frames, smooth_image
from tests.golden import shared_file


def cuts(images) -> list[int]:
    marked = list(mark_cuts(ArrayFrame(i, Fraction(i, 25), pixels) for i, pixels in enumerate(images)))
    assert [frame.index for frame, _ in marked] == list(range(len(marked)))
    return [frame.index for frame, cut in marked if cut]


def test_cuts_are_where_they_are():
    assert [frame.index for frame, cut in mark_cuts(blank_frames(60, cuts=(1, 20, 23, 59))) if cut] == [1, 20, 23, 59]


def test_a_moving_camera_and_a_fade_are_no_cuts():
    wide = smooth_image(120, 900, 20)
    assert cuts(wide[:, 8 * i : 8 * i + 200] for i in range(60)) == []
    assert cuts((wide[:, :200] * (1 - i / 30)).astype(np.uint8) for i in range(30)) == []


def test_a_cut_while_the_camera_moves():
    first, second = smooth_image(120, 900, 20), 255 - smooth_image(120, 900, 20, seed=1) // 2
    assert cuts(
        [*(first[:, 6 * i :][:, :200] for i in range(20)), *(second[:, 6 * i :][:, :200] for i in range(20))]
    ) == [20]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_short_streams_come_out_whole(count):
    assert len(list(mark_cuts(blank_frames(count)))) == count


def test_looks_two_frames_ahead_and_no_further():
    taken = []

    def counted():
        for frame in blank_frames(20):
            taken.append(frame.index)
            yield frame

    next(mark_cuts(counted()))
    assert taken == [0, 1, 2]


@pytest.mark.shared
def test_the_graphic_insert_of_a_real_clip():
    import av

    path = shared_file("media/Rudrabha+Wav2Lip/checkpoints/test.mov")
    with av.open(str(path)) as container:
        shown = itertools.islice(container.decode(video=0), 310, 326)
        assert cuts(frame.to_ndarray(format="rgb24") for frame in shown) == [318 - 310]
