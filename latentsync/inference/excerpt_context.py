"""An excerpt as a part of the whole result: the frames around it that decide what its own frames look like.

Whom a run follows is decided at the start of the video or at a moment of the user's, and the windows are counted from
the start of a shot. An excerpt that knew only its own frames could show another person, and its windows would begin
elsewhere. So the chosen person is first seen where the whole run chooses them, and followed from the start of the shot
(or from where one face has been alone for long). What the whole run learns of people between these two places, in other
light and from other sides, an excerpt does not know, so it may leave somebody alone whom the whole dubs. The network
works on those windows of the whole that hold a frame of the excerpt, or one that its faces are fitted with
(``compositing``), or whose joins reach so far (``joins``); their other frames are thrown away. What an excerpt does not
have, with ``compat``, are the posterior draws and the smoothed alignment of the frames before its first window.

Several people in one run have windows of their own, which begin anew with each of their parts. What is decoded is what
any of them needs.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from math import ceil

from latentsync.face.association import Associator
from latentsync.face.detector import Detection
from latentsync.face.identity import NAMING_AHEAD
from latentsync.face.selection import LOOK_AHEAD, PATIENCE, FaceChoice
from latentsync.face.shots import NEIGHBOURS, mark_cuts
from latentsync.face.tracking import TrackingSettings
from latentsync.face.tracks import INTRODUCED, FaceTracks
from latentsync.inference.compositing import FIT_REACH
from latentsync.inference.excerpt import excerpt_frames, order_of, with_pixels
from latentsync.inference.occlusion import occlusion_reach
from latentsync.inference.options import SyncOptions
from latentsync.inference.scene import Cast, Role
from latentsync.inference.visibility import VisibilityLimits
from latentsync.inference.windows import FrameGroup, WindowPlan
from latentsync.stream import prefetch
from latentsync.types import Frame, VideoSource

CUT_SEARCH = 250  # frames that are decoded together in search of the start of a shot
START_STEP = 12  # frames between those that are searched for the first face of the video
SETTLED = PATIENCE + 1 + LOOK_AHEAD  # frames: a face that is alone for so long is followed, whoever was before
# The track, the landmarks and the choice of a frame depend on no frame further behind it.
RUN_OUT = TrackingSettings().smoothing + TrackingSettings().max_gap + 1 + NAMING_AHEAD + LOOK_AHEAD + NEIGHBOURS


def _is_one_track(faces: Iterable[Detection]) -> bool:
    """Whether detections in consecutive frames, one in each, are of one face."""
    associator = Associator()
    return all(associator.update(position, [face]) == [0] for position, face in enumerate(faces))


class ExcerptContext:
    """The surroundings of ``options.excerpt`` in the whole result of a ``cast``.

    ``plan``: how the whole is cut into windows. ``check`` is called now and then; what it raises ends the search. A
    position is a place in the playing order, a place one among the frames of the source that are shown at all.
    """

    def __init__(
        self,
        video: VideoSource,
        cast: Cast,
        options: SyncOptions,
        plan: WindowPlan,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Looks for cuts, so it decodes. Raises ``ConfigError`` if the excerpt has no frame, and ``VideoError``."""
        if options.excerpt is None:
            raise ValueError("there is no excerpt")
        self._video, self._plan, self._check = video, plan, check
        self._limits = VisibilityLimits(options, video.info)
        self._roles = cast.roles
        self._choices = [FaceChoice.parse(role.face) for role in cast.roles]
        self._shown = excerpt_frames(video, cast.duration, options.length, options.excerpt)
        self._order = order_of(video, cast.duration, options.length)
        first_shown: dict[int, Frame] = {}
        for frame in self._order:
            first_shown.setdefault(frame.index, frame)
        self._source = list(first_shown.values())  # in the order of the source: the first pass goes forwards
        self._place = {frame.index: place for place, frame in enumerate(self._source)}
        self._begins_shot: dict[int, bool] = {}  # by place, as far as they have been looked at
        times = [frame.time for frame in self._order]
        start, stop = times.index(self._shown[0].time), times.index(self._shown[-1].time) + 1
        reach = FIT_REACH + 1 + plan.reach if options.compat is None else 0
        start, stop = self._moved(start, -reach), self._moved(stop - 1, reach) + 1
        self._generated = times[start], times[stop - 1]
        before, after = occlusion_reach(options)
        self._starts, firsts, stops = [], [], []  # positions: where the windows of each role begin
        for role in cast.roles:
            ramp = max(options.ramp, role.longest_fade, self._limits.reach)
            self._starts.append(self._start_of_lead_in(role, start, max(ramp, before)))
            firsts.append(min(self._starts[-1], self._moved(start, -max(ramp, before))))
            stops.append(self._end_of_windows(role, stop, max(ramp, after)))
        self._first, self._stop = min(firsts), max(stops)
        self._reference_from = self._back_while(self._first, self._same_shot) if plan.steady_reference else self._first
        self._is_followed = False

    def shows(self, frame: Frame) -> bool:
        """Whether a frame of the whole, by its time, is one of the excerpt."""
        return self._shown[0].time <= frame.time <= self._shown[-1].time

    def begins_run(self, number: int, before: Frame, after: Frame) -> bool:
        """Whether the windows of role ``number`` begin anew between two of ``frames``: with a part, or because the
        first lies elsewhere in the whole."""
        begin = self._order[self._starts[number]].time
        return before.time < begin <= after.time or self._roles[number].begins(before, after)

    def composes(self, frame: Frame) -> bool:
        """Whether a frame of the whole, by its time, is one that those of the excerpt are fitted with."""
        return self._generated[0] <= frame.time <= self._generated[1]

    def touched(self, groups: Iterable[FrameGroup]) -> Iterator[FrameGroup]:
        """Those of ``groups`` that a frame of the excerpt depends on."""
        for group in groups:
            if any(self.composes(member.frame) for member in group.frames):
                yield group

    def follow(self, tracks: FaceTracks, whole: bool = False) -> list[Counter[str]]:
        """Let ``tracks`` see all that the choice of the faces depends on, or all up to the excerpt if ``whole``.

        Gives, for each role, why the frames of the excerpt show no face of it, and in how many that is so; "" counts
        those that show one. To be called before ``frames``.
        """
        places = [self._place[frame.index] for frame in self._order[self._reference_from : self._stop]]
        first = 0 if whole else self._follow_from(min(places), tracks)
        tracks.prepare(self._video)
        if tracks.knows_people and first > 0 and not tracks.is_introduced:
            tracks.introduce(with_pixels(self._video, self._first_faces(first, tracks)))
            if not self._shows_chosen(first, tracks):
                first = self._back_to_cut(first)  # whether the shot has shown them matters
        wanted = {frame.index for frame in self._shown}
        found: list[Counter[str]] = [Counter() for _ in self._roles]
        seen = with_pixels(self._video, self._source[first : max(places) + 1 + RUN_OUT])
        with closing(tracks.follow_each(prefetch(seen))) as followed:
            for targets in followed:
                self._check()
                if targets[0].frame.index in wanted:
                    limited = self._limits.apply(iter(targets))
                    for reasons, role, target in zip(found, self._roles, limited, strict=True):
                        (inside,) = role.inside([target])
                        reasons["" if inside.face else inside.reason] += 1
        self._is_followed = True
        return found

    def _shows_chosen(self, place: int, tracks: FaceTracks) -> bool:
        """Whether whoever is chosen without being named is seen at ``place``, or may be chosen anew there."""
        unnamed = [number for number, choice in enumerate(self._choices) if not choice.names]
        if not unnamed or self._is_cut(place):
            return True
        frame = next(with_pixels(self._video, self._source[place : place + 1]), None)
        return frame is not None and all(tracks.shows_chosen(frame, number) for number in unnamed)

    def _back_to_cut(self, place: int) -> int:
        while place > 0 and not self._is_cut(place):
            place -= 1
        return place

    def _first_faces(self, stop: int, tracks: FaceTracks) -> list[Frame]:
        """Frames from the first one that shows a face, as far as that is found in steps; all before place ``stop``."""
        for place in range(0, stop, START_STEP):
            self._detect(place, place + 1, tracks)
            if tracks.detections.get(self._source[place].index):
                start = max(0, place - START_STEP + 1)
                return self._source[start : min(place + INTRODUCED, stop)]
        return []

    def _detect(self, first: int, stop: int, tracks: FaceTracks) -> None:
        self._check()
        tracks.detect(with_pixels(self._video, self._source[first:stop]))

    def _follow_from(self, place: int, tracks: FaceTracks) -> int:
        """The start of the shot of ``place``, or a later place after which it is settled whom the whole follows.

        That is where one face has been alone for so long that it has its name, or, where only tracks are known, that
        any other would have been given up for it. For a choice by index there is no such place among tracks: it may
        have fallen on a face that is not there now.
        """
        alone: deque[Detection] = deque()
        while place > 0 and not self._is_cut(place) and len(alone) < SETTLED:
            place -= 1
            if not tracks.knows_people and any(choice.index is not None for choice in self._choices):
                continue
            index = self._source[place].index
            if index not in tracks.detections:
                self._detect(max(0, place - SETTLED), place + 1, tracks)
            faces = tracks.detections.get(index, [])
            alone.extendleft(faces)
            if len(faces) != 1 or not _is_one_track(alone):
                alone.clear()
        return place

    def frames(self, tracks: FaceTracks) -> Iterator[Frame]:
        """What the pipeline has to be given, in playing order; its windows are those of the whole."""
        if not self._is_followed:
            self.follow(tracks)
        yield from with_pixels(self._video, [*self._reference_groups(tracks), *self._order[self._first : self._stop]])

    def _reference_groups(self, tracks: FaceTracks) -> list[Frame]:
        """The first face of each role in the shot and frames after it, where they lie before those that are given."""
        before = range(self._reference_from, self._first)
        positions: set[int] = set()
        for number, role in enumerate(self._roles):
            known = tracks.follow_each(self._order[position] for position in before)  # all are known by now
            targets = role.spoken(self._limits.apply(role.inside(each[number] for each in known)))
            found = next((position for position, target in zip(before, targets, strict=True) if target.face), None)
            if found is not None:
                positions.update(range(found, min(found + self._plan.group_length, self._first)))
        return [self._order[position] for position in sorted(positions)]

    def _start_of_lead_in(self, role: Role, start: int, ramp: int) -> int:
        """Where the windows begin, and before it whole groups as far as the ``ramp`` looks back, within the run."""
        begin = self._back_while(start, lambda position: self._same_run(role, position))
        first = max(0, start - begin - self._plan.shared) // self._plan.step  # number of the first group with ``start``
        return begin + self._plan.step * max(0, first - ceil(ramp / self._plan.step))

    def _end_of_windows(self, role: Role, stop: int, ramp: int) -> int:
        inside = stop - 1 - self._back_while(stop - 1, lambda position: self._same_run(role, position))
        rest = self._plan.group_length - 1 - inside % self._plan.step  # of the last group with frame ``stop - 1``
        return self._moved(stop - 1, rest) + 1 + ramp

    def _moved(self, position: int, offset: int) -> int:
        """The position ``offset`` further on, or the last one on the way there that no cut lies before."""
        for _ in range(abs(offset)):
            following = position + (1 if offset > 0 else -1)
            if not 0 <= following < len(self._order) or not self._is_joined(max(position, following)):
                break
            position = following
        return position

    def _back_while(self, position: int, same: Callable[[int], bool]) -> int:
        """The first of the positions up to ``position`` that are joined by ``same``."""
        while position > 0 and same(position):
            position -= 1
        return position

    def _same_run(self, role: Role, position: int) -> bool:
        """Whether windows of a role may span from the position before to this one."""
        before, after = self._order[position - 1], self._order[position]
        return not role.begins(before, after) and self._is_joined(position)

    def _is_joined(self, position: int) -> bool:
        """Whether no cut lies between the position before and this one (``windows.is_cut``), or it does not matter."""
        if not self._plan.split_at_cuts:
            return True
        before, after = self._order[position - 1], self._order[position]
        return after.index >= before.index - 1 and self._same_shot(position)

    def _same_shot(self, position: int) -> bool:
        first, last = sorted(self._place[frame.index] for frame in self._order[position - 1 : position + 1])
        return not any(self._is_cut(place) for place in range(last, first, -1))

    def _is_cut(self, place: int) -> bool:
        """Whether a shot begins at ``place``; looked for in many frames before it at once."""
        if place not in self._begins_shot:
            self._check()
            first = max(0, place - CUT_SEARCH)
            start = max(0, first - NEIGHBOURS - 1)
            marked = mark_cuts(with_pixels(self._video, self._source[start : place + NEIGHBOURS + 1]))
            for current, (_, cut) in enumerate(marked, start):
                if first <= current <= place:
                    self._begins_shot[current] = cut
            self._begins_shot.setdefault(place, False)  # a frame that cannot be decoded
        return self._begins_shot[place]
