"""Does the mouth follow the audio? Each stretch of a dub is judged while its windows are still in hand.

A sync network needs a second or two of speech for a verdict that can be trusted, and a window of the generator has
0.64 s. So the gate collects the generated groups of a shot until they make up ``STRETCH`` frames at 25 frames/s, has
the stretch judged, and passes the groups on. What waits is one stretch, however long the video; nothing is decoded or
encoded twice.

A stretch is *out of sync* if its lips agree less with the audio than they should (``SyncJudge``). With ``redo`` its
windows are then generated once more, with another seed and a higher guidance (``second_try``), and whichever of the two
agrees better is shown; what is still out of sync is flagged in the report. The second try looks up no kept windows and
keeps none (``kept_latents``): a run that is resumed finds those of the first try, comes to the same verdict, and so to
the same result. Stretches in which hardly anybody speaks have no verdict.

An excerpt begins elsewhere, so its stretches are not those of the whole: it is judged, but nothing of it is made again,
and its frames stay those of the whole as far as that was not made again.

F frames of a window · R face side
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

import numpy as np

from latentsync.constants import MODEL_FPS
from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.batching import GenerateBatch, GeneratedGroup
from latentsync.inference.options import SyncOptions
from latentsync.inference.record import JudgedStretch, SyncVerdict
from latentsync.inference.windows import FaceFrame
from latentsync.levels import to_image
from latentsync.types import Window

STRETCH = 60  # frames at 25 frames/s, 2.4 s, that make up a stretch
LEAST = 32  # frames of a stretch, below which the rest of a shot goes with the stretch before it or has no verdict
MORE_GUIDANCE, LEAST_GUIDANCE = 0.5, 2.0  # of a second try: that much more than the first, and at least that


class SyncJudge(Protocol):
    """Tells how well lips follow the audio of a run; ``inference.job.sync_judge`` has the sync networks."""

    def __call__(self, faces: np.ndarray, start: Fraction) -> SyncVerdict | None:
        """Of faces (n, R, R, 3) uint8 at 25 frames/s, the first of them at ``start`` seconds of the audio.

        None if there is too little speech, or too few faces.
        """
        ...


def second_try(options: SyncOptions) -> SyncOptions:
    """The options with which a stretch is made again."""
    sampler: SamplerSettings = options.sampler
    guidance = max(LEAST_GUIDANCE, sampler.guidance_scale + MORE_GUIDANCE)
    return replace(options, seed=(options.seed + 1) % 2**64, sampler=replace(sampler, guidance_scale=guidance))


class StretchGate:
    """Judges the stretches of one run.

    ``keep_mask`` (1, R, R) float32, 1 = keep. ``again``: generates windows in another way; None: nothing is made again.
    ``on_judged`` is told of every stretch that has a verdict, in order.
    """

    def __init__(
        self,
        judge: SyncJudge,
        keep_mask: np.ndarray,
        on_judged: Callable[[JudgedStretch], None],
        again: GenerateBatch | None = None,
    ) -> None:
        self._judge = judge
        self._keep_mask = keep_mask
        self._on_judged = on_judged
        self._again = again

    def judged(self, groups: Iterable[GeneratedGroup]) -> Iterator[GeneratedGroup]:
        """The groups in order, some of them with other faces."""
        waiting: list[GeneratedGroup] = []
        for group in groups:
            if waiting and _shot_of(group) != _shot_of(waiting[-1]):
                yield from self._passed(waiting)
                waiting = []
            waiting.append(group)
            if _seconds(waiting) * MODEL_FPS >= STRETCH:
                yield from self._passed(waiting)
                waiting = []
        yield from self._passed(waiting)

    def _passed(self, groups: list[GeneratedGroup]) -> list[GeneratedGroup]:
        verdict = self._verdict(groups)
        if verdict is None:
            return groups
        first: SyncVerdict | None = None
        if not verdict.in_sync and self._again is not None:
            others = _made_again(groups, self._again)
            second = self._verdict(others)
            first = verdict
            if second is not None and second.confidence > verdict.confidence:
                groups, verdict = others, second
        frames = [member.frame for each in groups for member in each.group.frames]
        self._on_judged(JudgedStretch(frames[0].time, _end(groups), verdict, first))
        return groups

    def _verdict(self, groups: Sequence[GeneratedGroup]) -> SyncVerdict | None:
        """Of the longest run of frames with a face."""
        run = _longest_run(groups)
        if len(run) < 2:
            return None
        times = [frame.frame.time for frame, _ in run]
        count = int((times[-1] - times[0]) * MODEL_FPS) + 1
        if count < LEAST:
            return None
        places = _nearest([float(time) for time in times], [float(times[0] + k / MODEL_FPS) for k in range(count)])
        return self._judge(np.stack([self._shown(*run[place]) for place in places]), times[0])

    def _shown(self, frame: FaceFrame, made: np.ndarray) -> np.ndarray:
        """(R, R, 3) uint8: the aligned face as the result shows it."""
        face = frame.face.pixels + (1 - self._keep_mask) * (made - frame.face.pixels)
        return to_image(face[None])[0]


def _shot_of(group: GeneratedGroup) -> int:
    return group.group.frames[0].shot


def _seconds(groups: Sequence[GeneratedGroup]) -> Fraction:
    return _end(groups) - groups[0].group.frames[0].frame.time


def _end(groups: Sequence[GeneratedGroup]) -> Fraction:
    """When the last frame of the groups is over, taking it to last as long as the one before."""
    times = [member.frame.time for each in groups for member in each.group.frames]
    return times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1 / MODEL_FPS)


def _longest_run(groups: Sequence[GeneratedGroup]) -> list[tuple[FaceFrame, np.ndarray]]:
    """The frames with their generated faces (3, R, R) of the longest run of frames with a face, each frame once."""
    best: list[tuple[FaceFrame, np.ndarray]] = []
    current: list[tuple[FaceFrame, np.ndarray]] = []
    for each in groups:
        slots = iter(each.group.slots)
        for member in each.group.frames:
            if not isinstance(member, FaceFrame):
                current = []
                continue
            slot = next(slots)
            if slot is not None and (not current or member.frame.time > current[-1][0].frame.time):
                current.append((member, each.faces[slot[0]][slot[1]]))
                best = max(best, current, key=len)
    return best


def _nearest(times: list[float], wanted: list[float]) -> list[int]:
    """For each of ``wanted`` the place of the nearest of ``times``; both ascend."""
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    left, right = np.take(times, after - 1), np.take(times, after)
    return np.where(np.asarray(wanted) - left <= right - np.asarray(wanted), after - 1, after).tolist()


def _made_again(groups: Sequence[GeneratedGroup], generate: GenerateBatch) -> list[GeneratedGroup]:
    windows: list[Window] = [window for each in groups for window in each.group.windows]
    faces = iter(generate(windows))
    return [GeneratedGroup(each.group, tuple(next(faces) for _ in each.group.windows)) for each in groups]
