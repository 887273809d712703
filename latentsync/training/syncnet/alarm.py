"""Why does a sync network not learn? The known causes, ranked, each with the value measured in this very run.

A loss of ln 2 = 0.693 is what guessing gives. Thresholds are rules of thumb from what users of sync networks report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latentsync.training.loop.task import Row

CHANCE_LOSS = math.log(2)
CHANCE_MARGIN = 0.01
RECENT_SHARE = 0.25  # of the steps so far, whose mean loss is looked at


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """What was measured of a run. Shares are 0 to 1; None = could not be measured."""

    clips: int
    sources: int
    hours: float
    silent_share: float  # of the mel frames of a sample of clips
    still_share: float  # of a sample of windows in which hardly a pixel of the mouth's half changes
    learning_rate: float
    pairs_per_step: int
    min_distance: int  # of negatives, frames
    near_negative_share: float  # of the negatives, closer than 5 frames
    in_sync_share: float | None = None  # of a sample of clips whose measured A/V offset is at most one frame
    offsets: str = ""  # histogram of those offsets


class ChanceAlarm:
    """Speaks at ``first_step``, and again at every doubling of it, while the loss sits at ``chance``, its level for a
    network that guesses."""

    def __init__(self, first_step: int, measure: Callable[[], SyncFacts], chance: float = CHANCE_LOSS) -> None:
        self._next = first_step
        self._measure = measure
        self._chance = chance

    def check(self, step: int, rows: Sequence[Row]) -> str | None:
        """The message, if there is one to give; ``rows`` are those of the training table."""
        if step < self._next:
            return None
        self._next = 2 * step
        losses = [row["loss"] for row in rows if row["step"] > step * (1 - RECENT_SHARE)]
        mean = sum(losses) / max(1, len(losses))
        if abs(mean - self._chance) > CHANCE_MARGIN:
            return None
        return diagnose(self._measure(), step, mean, self._chance)


def diagnose(facts: SyncFacts, step: int, loss: float, chance: float = CHANCE_LOSS) -> str:
    """Causes from the most to the least suspicious value, then what looks right."""
    findings = sorted(_findings(facts, step), key=lambda finding: -finding[0])
    suspects = [text for badness, text in findings if badness > 0]
    fine = [text for badness, text in findings if badness <= 0]
    lines = [f"The loss sits at chance level: {loss:.4f} after {step} steps, guessing gives {chance:.4f}."]
    lines += ["Likely causes, the likeliest first:"] if suspects else ["No measured value is suspicious."]
    lines += [f"  {number}. {text}" for number, text in enumerate(suspects, start=1)]
    lines += ["Measured and in order:", *(f"  - {text}" for text in fine)] if fine else []
    return "\n".join(lines)


def _findings(facts: SyncFacts, step: int) -> list[tuple[float, str]]:
    """(badness, sentence); badness 0 is the threshold, 1 means off by a factor of ten or the worst share."""
    pairs = step * facts.pairs_per_step
    found = [
        (
            math.log10(100 / max(1, facts.sources)),
            f"{facts.sources} recordings ({facts.clips} clips, {facts.hours:.2f} h). With fewer than about 100 the "
            "network learns them by heart; add recordings of other people.",
        ),
        (
            math.log10(facts.learning_rate / 1e-4),
            f"learning rate {facts.learning_rate:.1e}. Above about 1e-4 runs tend to stay at chance; published: 1e-5.",
        ),
        (
            math.log10(64 / facts.pairs_per_step),
            f"{facts.pairs_per_step} pairs per step. Below about 64 the gradient is mostly noise; raise "
            "data.gradient_accumulation_steps.",
        ),
        (
            (facts.silent_share - 0.3) / 0.7,
            f"{facts.silent_share:.0%} of the audio is silent. In silence nothing tells a fit from a misfit.",
        ),
        (
            (facts.still_share - 0.2) / 0.8,
            f"{facts.still_share:.0%} of the windows hardly move. Check that the crops show the mouth in their lower "
            "half.",
        ),
        (
            facts.near_negative_share - 0.02,
            f"{facts.near_negative_share:.0%} of the negatives lie closer than 5 frames to their positive "
            f"(data.negatives.min_distance {facts.min_distance}). They are nearly positives with the wrong label.",
        ),
        (
            math.log10(1e6 / max(1, pairs)) / 2,
            f"{pairs:,} pairs seen so far. Networks of the published size leave chance level late, often after some "
            "million pairs; if the values above are in order, go on.",
        ),
    ]
    if facts.in_sync_share is None:
        found.append((0.01, "A/V offsets were not measured; run.offset_syncnet_path names a trained network to do it."))
    else:
        found.append(
            (
                2 * (0.6 - facts.in_sync_share) / 0.6,
                f"{facts.in_sync_share:.0%} of the clips are in sync to one frame; offsets in frames: {facts.offsets}. "
                "Below 60 % shift the audio first (`latentsync preprocess` does).",
            )
        )
    return found
