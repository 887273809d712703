"""Things before a drawn face are found with the truth at hand, and a face without them never raises an alarm."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.occlusion import counts, covers_of, looks_and_truth, shares
from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.errors import ConfigError, WeightsCorruptError
from latentsync.face.occlusion import GIVEN_UP, REACH, SETTLED, OcclusionFinder, signs_of
from latentsync.face.user_network import load_segmenter

EVENT = ((1.7, 2.2),)


def made(seed, size=192, **options):
    """The looks of a talker, and what of each canvas is a thing."""
    seconds = 3.2 if "hands" in options else 2.8
    clip = make_talker(seed, seed + 100, seed + 200, seconds=seconds, size=size, options=TalkerOptions(**options))
    return looks_and_truth(clip)


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (2, {"thing": "bar", "held": EVENT}),
        (4, {"thing": "microphone", "held": EVENT}),
        (6, {"thing": "microphone", "held": EVENT}),
        (8, {"hands": ((2.1, 2.5),), "size": 288}),
    ],
    ids=["bar", "microphone", "dark microphone on dark skin", "hand while the head turns"],
)
def test_a_thing_keeps_its_pixels_and_nothing_else_does(seed, options):
    looks, truth = made(seed, **options)
    kept, touched = shares(counts(looks, covers_of(looks), truth))
    assert kept >= 0.98
    assert touched <= 0.005


def test_what_is_hidden_in_a_thing_by_its_color_belongs_to_it():
    """A brown cup before a brown beard."""
    looks, truth = made(26, thing="cup", held=EVENT)
    assert shares(counts(looks, covers_of(looks), truth))[0] >= 0.98


def test_parts_of_one_color_belong_together():
    """A brown bar before a mustache and a goatee is new at both sides of them only."""
    looks, truth = made(351, thing="bar", held=EVENT)
    kept, touched = shares(counts(looks, covers_of(looks), truth))
    assert kept >= 0.98
    assert touched <= 0.005


@pytest.fixture(scope="module")
def clean():
    return made(7)[0]


def test_a_talking_face_raises_no_alarm(clean):
    assert covers_of(clean) == [None] * len(clean)


def test_frames_without_a_face_keep_their_place(clean):
    holey = [None if index % 7 == 3 else look for index, look in enumerate(clean[:40])]
    assert covers_of(holey) == [None] * 40


def test_answers_come_as_late_as_promised_and_shots_are_apart(clean):
    finder = OcclusionFinder()
    assert [len(list(finder.push(index, look))) for index, look in enumerate(clean[:20])] == [0] * REACH + [1] * 6
    assert len(list(finder.finish())) == REACH
    assert list(finder.finish()) == []


def test_a_thing_that_stays_becomes_part_of_the_picture(clean):
    """Otherwise a change that is none, of the light or the clothes, would stop the dub for good."""
    looks, _ = made(4, thing="microphone", held=((1.7, 2.8),))
    covers = covers_of([*looks[:30], *[looks[60]] * (GIVEN_UP + 80)])
    assert covers[40] is not None and covers[GIVEN_UP] is not None
    assert covers[-1] is None


def test_a_vivid_thing_needs_no_memory():
    look = made(2, thing="bar", held=((0.0, 2.8),))[0][40]
    assert signs_of(look, []).is_thing


def test_a_network_of_the_users(tmp_path):
    import torch

    class Lower(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return (faces[:, :1] > 0).float()

    path = tmp_path / "things.pt"
    torch.jit.save(torch.jit.script(Lower()), str(path))
    pixels = np.full((3, 8, 8), -0.5, np.float32)
    pixels[:, 4:] = 0.5
    assert np.array_equal(load_segmenter(path)(pixels), (pixels[0] > 0).astype(np.float32))
    with pytest.raises(ConfigError, match="There is no network"):
        load_segmenter(tmp_path / "none.onnx")
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no network")
    with pytest.raises(WeightsCorruptError, match=r"broken\.pt"):
        load_segmenter(broken)


def test_answers_depend_on_bounded_neighbours():
    """A run that begins ``SETTLED`` frames earlier gives the covers of the whole."""
    looks, _ = made(4, thing="microphone", held=EVENT)
    start = 30
    long = [*(looks[k % 30] for k in range(SETTLED + start)), *looks[30:]]
    whole = covers_of(long)[start + SETTLED :]
    finder = OcclusionFinder()
    covers = [cover for k in range(start, len(long)) for cover in finder.push(k, long[k])]
    part = (covers + list(finder.finish()))[SETTLED:]
    assert any(cover is not None for cover in whole)
    for one, other in zip(whole, part, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other)
