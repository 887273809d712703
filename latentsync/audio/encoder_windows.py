"""How audio is cut into encoder windows. Whole numbers and fractions only.

Whisper's encoder reads 30 s at a time. A file that is longer is cut in one of two ways:

- ``published``: consecutive windows of 30 s, so the encoder starts anew at every join;
- ``overlapping``: every window has at least ``CONTEXT_SECONDS`` of context on both sides of what is kept of it.

Up to 30 s both are the same single window.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from latentsync.constants import FEATURE_RATE, WHISPER_MEL_FRAMES, WHISPER_POSITIONS, exact_div

WindowPlan = Literal["published", "overlapping"]

CONTEXT_SECONDS = 5
_CONTEXT_POSITIONS = CONTEXT_SECONDS * FEATURE_RATE
_MEL_PER_POSITION = exact_div(WHISPER_MEL_FRAMES, WHISPER_POSITIONS)


@dataclass(frozen=True, slots=True)
class EncoderWindow:
    """One run of the encoder: what goes in and what is kept of the 1500 positions that come out.

    Log-mel frames ``mel_start`` to ``mel_stop - 1`` go in, with zeros after them up to 3000. Kept are the positions
    ``start`` to ``stop - 1``, counted from the start of the audio.
    """

    mel_start: int
    mel_stop: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """The kept positions, counted from the start of the window."""
        first = exact_div(self.mel_start, _MEL_PER_POSITION)
        return slice(self.start - first, self.stop - first)


def plan_windows(n_mel_frames: int, plan: WindowPlan) -> tuple[EncoderWindow, ...]:
    """Windows whose kept parts tile the ``n_mel_frames // 2`` positions of the audio in order, without gap or overlap.

    Raises ``ValueError`` for audio without a single position.
    """
    n_positions = n_mel_frames // _MEL_PER_POSITION
    if n_positions < 1:
        raise ValueError(f"{n_mel_frames} log-mel frames are less than one encoder position")
    context = _CONTEXT_POSITIONS if plan == "overlapping" else 0
    hop = WHISPER_POSITIONS - 2 * context
    n_windows = 1 + ceil(Fraction(max(0, n_positions - WHISPER_POSITIONS), hop))
    firsts = [number * hop for number in range(n_windows)]
    if plan == "overlapping" and n_windows > 1:  # the last one ends with the audio instead of reading padding
        firsts[-1] = min(firsts[-1], ceil(Fraction(n_mel_frames, _MEL_PER_POSITION)) - WHISPER_POSITIONS)
    joins = [first + WHISPER_POSITIONS - context for first in firsts[:-1]]
    return tuple(
        EncoderWindow(
            mel_start=_MEL_PER_POSITION * first,
            mel_stop=min(_MEL_PER_POSITION * first + WHISPER_MEL_FRAMES, n_mel_frames),
            start=start,
            stop=stop,
        )
        for first, start, stop in zip(firsts, [0, *joins], [*joins, n_positions], strict=True)
    )


def published_frame_count(n_positions: int, fps: Fraction) -> int:
    """Video frames that the published code makes of ``n_positions`` encoder positions.

    It goes on until the frame's own position is past the end, so it makes one or two more than the audio fills:
    ``n // 2 + 2`` at 25 fps.
    """
    return ceil((n_positions + 1) * fps / FEATURE_RATE) + 1
