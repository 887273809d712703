"""Data sets as one: shares, order, and that a key alone says what it names."""

from __future__ import annotations

from collections import Counter

import pytest

from latentsync.data.clip_dataset import SampleKey
from latentsync.data.mixture import Mixture, Part
from latentsync.errors import ConfigError


class Named:
    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: SampleKey) -> tuple[str, int, int]:
        assert 0 <= key.index < self.size
        return self.name, key.epoch, key.index


def mixture(**parts: tuple[int, float]) -> Mixture:
    return Mixture({name: Part(Named(name, size), share) for name, (size, share) in parts.items()}, seed=3, least=100)


def test_shares_hold_in_every_stretch_whatever_the_sizes():
    mixed = mixture(few=(3, 1.0), many=(500, 3.0))
    assert len(mixed) == 503
    names = [mixed[SampleKey(0, place)][0] for place in range(len(mixed))]
    assert Counter(names) == {"few": 126, "many": 377}
    for start in range(0, 480, 40):
        assert 8 <= Counter(names[start : start + 40])["few"] <= 12


def test_every_sample_of_a_part_comes_once_before_any_comes_again():
    mixed = mixture(a=(7, 1.0), b=(60, 1.0))
    seen = [mixed[SampleKey(epoch, place)] for epoch in range(3) for place in range(len(mixed))]
    for name, size in (("a", 7), ("b", 60)):
        own = [key for key in seen if key[0] == name]
        for start in range(0, len(own) - size, size):
            assert len({index for _, _, index in own[start : start + size]}) == size
        assert len(set(own)) == len(own)  # never twice with the same epoch, which seeds what is drawn of it
    assert mixture(a=(7, 1.0), b=(60, 1.0))[SampleKey(2, 31, 5)] == mixed[SampleKey(2, 31)]


def test_an_index_beyond_the_end_counts_on():
    mixed = mixture(a=(7, 1.0), b=(60, 1.0))
    assert mixed[SampleKey(0, len(mixed) + 4)] == mixed[SampleKey(1, 4)]


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="b"):
        mixture(a=(7, 1.0), b=(60, 0.0))
