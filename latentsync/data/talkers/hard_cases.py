"""Which clips of a training set hold a hand or a thing before the mouth for a while, and in which the head turns far.

Whether a clip is one of them follows from its seed alone: with larger shares these clips stay and more join them, and
all others are drawn as they would be without any.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from latentsync.data.talkers.clip import TalkerOptions
from latentsync.data.talkers.scene import Span, ramp
from latentsync.data.talkers.surroundings import HAND, THINGS

FURTHEST_TURN = np.radians(35)  # yaw of a drawn head: beyond it a dub leaves a face alone
_LEAST_TURN = 0.7  # of the furthest
_TURNED = (0.1, 0.5)  # s at the furthest yaw, besides the time that turning there and back takes
_HELD = (0.2, 0.8)  # s before the mouth, besides the time that rising and sinking take


def draw_case(
    seed: int, seconds: float, covered_share: float, turned_share: float, furthest_turn: float = FURTHEST_TURN
) -> TalkerOptions:
    """The options of the clip of that ``seed``, ``seconds`` long, in a set with those shares; ``furthest_turn`` in rad.

    The two kinds are independent, so a clip may be both; a clip that is neither has the options that are none.
    """
    rng = np.random.default_rng([seed, 78])
    covered, turned = rng.random(2) < (covered_share, turned_share)
    name = (HAND, *THINGS)[int(rng.integers(1 + len(THINGS)))]
    held, turns = (_somewhere(rng, seconds, lengths) for lengths in (_HELD, _TURNED))
    turn = furthest_turn * rng.uniform(_LEAST_TURN, 1) * rng.choice((-1, 1))
    return TalkerOptions(
        turns=(turns,) if turned else (),
        turn=float(turn),
        hands=(held,) if covered and name == HAND else (),
        thing="bar" if name == HAND else name,
        held=(held,) if covered and name != HAND else (),
    )


def covered_frames(options: TalkerOptions, count: int, fps: Fraction) -> tuple[tuple[int, int], ...]:
    """Frames of a clip of ``count`` in which something is before the mouth or on its way: (first, one behind the last)
    of each stretch."""
    raised = ramp(np.arange(count) / float(fps), options.hands + options.held) > 0
    edges = np.flatnonzero(np.diff(raised, prepend=False, append=False)).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _somewhere(rng: np.random.Generator, seconds: float, lengths: tuple[float, float]) -> Span:
    """A span with its middle anywhere in the clip, so that now and then the clip begins or ends within it."""
    middle, half = rng.uniform(0, seconds), rng.uniform(*lengths) / 2
    return float(middle - half), float(middle + half)
