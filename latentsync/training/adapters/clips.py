"""From videos of one person to the clips that an adapter is trained on: cut, checked for sync, a part held out."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from latentsync.audio.mel import syncnet_mel
from latentsync.data.manifest import TRAIN, VALIDATION, Clip, content_hash
from latentsync.errors import DataError
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics.stable_sync import StableSync, SyncFit, SyncTrace

logger = logging.getLogger(__name__)

HELD_OUT = 0.12  # of the clips
ENOUGH_VIDEOS = 8  # from so many on whole videos are held out, below it the end of each
SURE = 0.3  # confidence of a sync network from which on its verdict counts, as in ``inference.job.sync_judge``
TOLERANCE = 1  # frames, 40 ms: what a sync network misjudges by in videos that are in sync


def hold_out(clips: Mapping[Path, Sequence[Clip]]) -> list[Clip]:
    """All clips of the videos, each with its side and its source.

    Of many videos some are held out whole, chosen by their contents; of a few the end of each, so that what is said
    there is said nowhere else. Raises ``DataError`` if a side stays empty.
    """
    found = {video: list(some) for video, some in clips.items() if some}
    if len(found) >= ENOUGH_VIDEOS:
        ranked = sorted(found, key=lambda video: hashlib.blake2b(content_hash(video).encode()).digest())
        held = set(ranked[: max(1, round(HELD_OUT * len(found)))])
        sides = [(clip, video in held) for video, some in found.items() for clip in some]
    else:
        sides = [
            (clip, number >= len(some) - max(1, round(HELD_OUT * len(some))))
            for some in found.values()
            for number, clip in enumerate(some)
        ]
    if len({side for _, side in sides}) < 2:
        raise DataError(
            f"{len(sides)} clip(s) are too few to hold one out.",
            remedy="Give more video of the person: two minutes are little, ten are good.",
        )
    chosen = [(clip, VALIDATION if held_out else TRAIN) for clip, held_out in sides]
    return [replace(clip, split=split, source=f"{clip.source} ({split})") for clip, split in chosen]


def in_sync(clips: Mapping[Path, Sequence[Clip]], sync: StableSync) -> dict[Path, list[Clip]]:
    """The clips without those whose audio the network is sure to be out of place; a line of the log says how many.

    Raises ``DataError`` if it is sure that the audio of a whole video is: the same shift in most of its clips.
    """
    kept: dict[Path, list[Clip]] = {}
    sure = unsure = 0
    for video, some in clips.items():
        shifts = {clip: _shift(_judge(clip, sync)) for clip in some}
        known = Counter(shift for shift in shifts.values() if shift is not None)
        sure, unsure = sure + known.total(), unsure + len(some) - known.total()
        if known:
            shift, count = known.most_common(1)[0]
            if abs(shift) > TOLERANCE and count > known.total() / 2 and known.total() > len(some) / 2:
                raise DataError(
                    f"The audio of {video} is {abs(shift) * 40} ms too {'late' if shift > 0 else 'early'}.",
                    remedy="Shift it in the file, for example with `ffmpeg -itsoffset`, and begin again.",
                )
        kept[video] = [clip for clip in some if abs(shifts[clip] or 0) <= TOLERANCE]
    left_out = sum(map(len, clips.values())) - sum(map(len, kept.values()))
    logger.info(
        "Sync: the network is sure of %d clips, of which %d are out of sync and left out; of %d it can say nothing.",
        sure, left_out, unsure,
    )  # fmt: skip
    return kept


def _shift(fit: SyncFit | None) -> int | None:
    """Frames by which the audio comes too late; None where nobody knows."""
    return None if fit is None or fit.offset.confidence < SURE else fit.offset.frames


def _judge(clip: Clip, sync: StableSync) -> SyncFit | None:
    trace = SyncTrace(sync, syncnet_mel(read_audio(clip.path)))
    for frame in VideoFile(clip.path).frames():
        trace.add(frame.pixels)
    return trace.finish()
