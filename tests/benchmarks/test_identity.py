"""The drawn scenes of ``benchmarks.identity``, a few of them: nobody gets the number of another one."""

import pytest

from benchmarks.identity import name_people
from benchmarks.identity_scenes import HIDDEN, Scene


@pytest.mark.parametrize(("seed", "people"), [(3, 2), (13, 3)])
def test_people_keep_their_numbers(seed, people):
    scene = Scene(seed, people, shots=3)
    result = name_people(scene)
    assert result.swaps == 0 and result.extra == 0
    assert result.share >= 0.98
    gone = [number for number in range(len(scene)) if len(scene.truth(number)) < people]
    assert len(gone) >= HIDDEN  # somebody was away for three seconds
