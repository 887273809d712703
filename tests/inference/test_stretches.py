"""Stretches of time as a user names them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from latentsync.errors import ConfigError
from latentsync.inference.stretches import Stretch, Stretches


@pytest.mark.parametrize(
    ("text", "start", "stop"), [("12.0-14.5", 12, Fraction(29, 2)), ("0-1/3", 0, Fraction(1, 3)), ("1 - 2", 1, 2)]
)
def test_what_is_written_is_read_and_written_again(text, start, stop):
    stretch = Stretch.parse(text)
    assert (stretch.start, stretch.stop) == (start, stop)
    assert Stretch.parse(str(stretch)) == stretch


@pytest.mark.parametrize("text", ["", "3", "1-2-3", "a-b", "2-1", "1-1", "-1-2", "1/0-2", "nan-2", "1,5-2"])
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError) as refused:
        Stretch.parse(text)
    assert refused.value.remedy


def test_stretches_are_joined_and_found():
    stretches = Stretches([Stretch.parse(text) for text in ("5-6", "1-2", "1.5-3", "3-4")])
    assert [str(stretch) for stretch in stretches.all] == ["1-4", "5-6"]
    found = [stretches.at(Fraction(moment)) for moment in ("0.9", "1", "3.99", "4", "5.5", "6")]
    assert [str(stretch) if stretch else None for stretch in found] == [None, "1-4", "1-4", None, "5-6", None]
    assert stretches.seconds_within(Stretch.parse("2-5.5")) == Fraction(5, 2)
    assert Stretches().at(Fraction(1)) is None
