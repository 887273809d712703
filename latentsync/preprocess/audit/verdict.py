"""What the clips of a run are enough for, in words.

The limits are judgements, not measurements: reports of people who trained on more or less than that contradict each
other, see docs/data.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentsync.preprocess.audit.account import StepAccount
from latentsync.preprocess.audit.histogram import Histogram

_PURPOSES = (  # hours from which on, and what for
    (100.0, "enough to train a sync network and both stages of the U-Net"),
    (20.0, "enough to fine-tune for a language or a kind of recording; little for training from scratch"),
    (2.0, "enough to adapt to the speakers in it, not for a new language"),
    (0.2, "enough for an adapter to one speaker; anything more will learn it by heart"),
    (0.0, "enough to see the training run, no more"),
)
_FEW_SPEAKERS = 20
_MIXED_OFFSETS = 0.6  # share of clips in sync to one frame, below which the recordings themselves are suspect
_LARGEST_LOSS = 0.5  # of the hours that came to a step


def verdict(accounts: Sequence[StepAccount], speakers: int, recordings: int, offsets: Histogram) -> list[str]:
    """Sentences. ``speakers``: 0 if they are not known."""
    hours = accounts[-1].kept_seconds / 3600
    people = f"{speakers} speakers" if speakers else f"{recordings} recordings (speakers are not known)"
    purpose = next(text for least, text in _PURPOSES if hours >= least)
    lines = [f"{hours:.2f} h from {people}: {purpose}."]
    if hours >= 2.0 and (speakers or recordings) < _FEW_SPEAKERS:
        lines.append(f"Few people for so much time: faces beyond these {speakers or recordings} will come out worse.")
    measured = offsets.n
    if measured:
        in_sync = sum(
            count for edge, count in zip(offsets.edges[:-1], offsets.counts, strict=True) if -1.5 <= edge <= 0.5
        )
        if in_sync < _MIXED_OFFSETS * measured:
            lines.append(
                f"Only {in_sync / measured:.0%} of {measured} clips were in sync to one frame before they were put "
                "right: listen to a few of them."
            )
    for each in accounts:
        if each.seconds and each.kept_seconds < (1 - _LARGEST_LOSS) * each.seconds and each.lost:
            kind = max(each.lost, key=lambda name: each.lost[name].seconds)
            lost = 1 - each.kept_seconds / each.seconds
            lines.append(f"{each.step} drops {lost:.0%} of the hours that come to it, most of them for '{kind}'.")
    return lines
