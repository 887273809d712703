"""Turns of speakers, as several formats have them, made into segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from latentsync.scene.model import PersonChoice, Scene, Segment


def scene_of_turns(turns: Iterable[Segment], pause: Fraction = Fraction(0)) -> Scene:
    """Of segments in any order. Turns of one person that overlap, touch, or are no more than ``pause`` seconds apart,
    are one segment. Who the people are nobody has said."""
    joined: list[Segment] = []
    last: dict[str, int] = {}  # person -> place of the latest segment
    for turn in sorted(turns, key=lambda each: each.start):
        place = last.get(turn.person)
        before = None if place is None else joined[place]
        if place is not None and before is not None and before.end is not None and turn.start <= before.end + pause:
            ends = [before.end, turn.end or before.end]
            joined[place] = replace(before, end=max(ends))
            continue
        last[turn.person] = len(joined)
        joined.append(turn)
    return Scene(tuple(PersonChoice(name) for name in last), tuple(joined))
