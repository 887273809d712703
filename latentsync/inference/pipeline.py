"""The main path on one page: playing order, audio, faces, alignment, windows, generation, paste."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import groupby, tee
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from latentsync.constants import WINDOW_FRAMES
from latentsync.face.align import FaceAligner
from latentsync.face.tracks import FaceTracks, TargetFrame
from latentsync.inference.batching import AdaptiveBatch, ByVariant, GeneratedGroup, generate_groups
from latentsync.inference.compositing import Compositor, Row, lead_of
from latentsync.inference.excerpt_context import ExcerptContext
from latentsync.inference.faces import DETECTION_BATCH
from latentsync.inference.joins import JoinedFrame, frames_of
from latentsync.inference.kept_latents import KeptLatents
from latentsync.inference.occlusion import OcclusionStage
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.output_guard import GuardedGenerator, OutputGuard
from latentsync.inference.overview import Overview
from latentsync.inference.record import RunRecord, StageClock
from latentsync.inference.scene import OUTSIDE, Cast, Part, Role, RoleAudio, behind_others, merged, tagged
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.sync_gate import StretchGate, SyncJudge, second_try
from latentsync.inference.timeline import frame_spacing, playing_order
from latentsync.inference.visibility import VisibilityLimits
from latentsync.inference.windows import (
    AlignedFrame,
    FaceFrame,
    FrameGroup,
    PassedFrame,
    WindowPlan,
    group_frames,
    ramp_at_gaps,
)
from latentsync.media.threads import opencv_in_one_thread
from latentsync.stream import deal, parallel_map, prefetch
from latentsync.types import AudioWindows, Frame, VideoSource, WindowGenerator

if TYPE_CHECKING:
    from latentsync.features.live_features import AudioSource
    from latentsync.inference.latent_memory import FaceLatents

ALIGN_WORKERS = 2
OnStep = Callable[[int], None]  # called with the number of windows after each denoising step
MakeGenerator = Callable[[SyncOptions, OnStep, KeptLatents | None], WindowGenerator]
EmbedAudio = Callable[["np.ndarray | AudioSource", SyncOptions], AudioWindows]
# Of the frames that are ready to be generated, those that the result has; it waits where that is not known yet.
Gate = Callable[[Iterator[AlignedFrame]], Iterator[AlignedFrame]]
Judges = Mapping[int, Mapping[int, SyncJudge]]


class LipsyncPipeline:
    """Networks that are loaded once, for any number of videos, one at a time.

    ``make_generator(options, on_step, kept)`` gives the generator of one run; ``embed_audio(waveform, options)`` the
    audio conditioning; ``keep_mask`` (1, R, R) float32, 1 = keep; ``steady_reference``: see ``windows``.
    ``retries``: name of a precision -> what gives the generator in it, for windows with a fault
    (``output_guard.GuardedGenerator``); ``on_end`` is called when a run is over. ``in_flight``: batches that the
    generator works on at once (``batching.generate_groups``); one with ``compat``, whose draws depend on the order of
    the windows. ``filled_batches``: see ``batching.AdaptiveBatch``; not with ``compat``, whose last window is shorter.
    ``latents``: of the generator's faces.
    Tests and benchmarks put stubs in these places.
    """

    def __init__(
        self,
        make_generator: MakeGenerator,
        embed_audio: EmbedAudio,
        keep_mask: np.ndarray,
        *,
        num_frames: int = WINDOW_FRAMES,
        steady_reference: bool = False,
        retries: Mapping[str, MakeGenerator] = MappingProxyType({}),
        on_end: Callable[[], None] = lambda: None,
        in_flight: int = 1,
        filled_batches: bool = False,
        latents: FaceLatents | None = None,
    ) -> None:
        self.latents = latents
        self.keep_mask = keep_mask
        self.resolution = keep_mask.shape[-1]
        self._make_generator = make_generator
        self._embed_audio = embed_audio
        self.num_frames = num_frames
        self._steady_reference = steady_reference
        self._retries = retries
        self._on_end = on_end
        self._in_flight = in_flight
        self._filled_batches = filled_batches

    def with_generator(self, make: Callable[[MakeGenerator], MakeGenerator]) -> LipsyncPipeline:
        """The same networks with another generator around or in place of theirs."""
        other = copy(self)
        other._make_generator = make(self._make_generator)
        other._retries = {}
        return other

    def live(
        self,
        video: VideoSource,
        source: AudioSource,
        options: SyncOptions,
        tracks: FaceTracks,
        gate: Gate,
        record: RunRecord | None = None,
    ) -> Iterator[Frame]:
        """As ``sync`` with ``options.live``, for audio that may be still to come.

        With a ``gate`` that lets all frames pass of which at least half lies within the audio, they are those of
        ``sync`` with the whole audio. Each is given as soon as its window is generated, for
        which the audio of the window's last frame must be there.
        """
        audio = self._embed_audio(source, options)
        cast = Cast.of_one(np.empty(0, np.float32), options, SpeechPlan(), audio)
        yield from self.play(video, cast, options, tracks, record, gate=gate)

    def sync(
        self,
        video: VideoSource,
        waveform: np.ndarray,
        options: SyncOptions,
        tracks: FaceTracks,
        record: RunRecord | None = None,
        on_step: OnStep = lambda windows: None,
        context: ExcerptContext | None = None,
        kept: KeptLatents | None = None,
        speech: SpeechPlan | None = None,
        judge: SyncJudge | None = None,
        overview: Overview | None = None,
    ) -> Iterator[Frame]:
        """The frames of a dub with one audio: ``play`` for a cast of one role.

        There are as many as the audio is long, or those of ``options.excerpt``. ``waveform`` (n,) float32 in [-1, 1] at
        16 kHz. ``speech``: where the audio pauses and what is left alone, if it is known already; otherwise
        ``original`` takes the source to rest in every pause. ``judge``: needed for ``options.sync_gate``.
        """
        speech = speech or SpeechPlan.of_run(waveform, options, 1 / frame_spacing(video.info))
        record = record if record is not None else RunRecord()
        with record.clock.measure("audio"):
            audio = self._embed_audio(waveform, options)
        cast = Cast.of_one(waveform, options, speech, audio)
        judges = {} if judge is None else {0: {0: judge}}
        yield from self.play(video, cast, options, tracks, record, on_step, context, kept, judges, overview)

    def play(
        self,
        video: VideoSource,
        cast: Cast,
        options: SyncOptions,
        tracks: FaceTracks,
        record: RunRecord | None = None,
        on_step: OnStep = lambda windows: None,
        context: ExcerptContext | None = None,
        kept: KeptLatents | None = None,
        judges: Judges = MappingProxyType({}),
        overview: Overview | None = None,
        gate: Gate | None = None,
    ) -> Iterator[Frame]:
        """The frames of the result in order, each with its time in the result.

        ``cast``: who speaks when; ``options``: what concerns the run as a whole. ``tracks`` follows the faces of the
        roles in ``video``, in their order. ``record`` is filled while the frames come out. ``on_step(n)`` is called in
        a thread of the generator after each denoising step of n windows; what it raises ends the run. ``context``: that
        of ``options.excerpt``, if it is known already. ``kept``: where finished windows are looked up and put.
        ``judges``: number of a role -> number of a part -> what judges it, if ``options.sync_gate`` asks for that.
        ``overview`` collects what its picture shows. ``gate``: of a result whose end is not known yet. Memory does not
        depend on the length. Raises ``VideoError``, ``AudioError``, ``GenerationError`` and ``OutOfMemoryError``;
        closing the iterator stops all stages.
        """
        record = record if record is not None else RunRecord()
        clock, roles = record.clock, len(cast.roles)
        audios = [TimedAudio(RoleAudio(role, cast.duration, self._embed_audio), clock) for role in cast.roles]
        batch = self._batch(cast, options, record, on_step, kept)
        ahead = None if options.live is None else options.live.fit_ahead
        compositor = Compositor(self.keep_mask, options.paste, options.compat, clock, ahead)

        # The frames that wait between the stages are what takes memory, so only as many wait as keep every stage busy.
        # A stage that takes several frames at once needs as many in front of it, and as much room behind it; a quarter
        # of a window is in the hands of the threads that align and paste.
        waiting = max(2, options.batch * self.num_frames * 3 // 4)
        plan = self._window_plan(options, video)
        if options.compat is None:  # no release knows people
            tracks.prepare(video)
        if options.excerpt is None:
            shown = playing_order(video, cast.duration, options.length)
        else:
            context = context or ExcerptContext(video, cast, options, plan)
            shown = context.frames(tracks)
        frames = prefetch(clock.each("decode", shown), depth=DETECTION_BATCH - 1)
        groups: list[Iterator[FrameGroup]] = []
        for number, targets in enumerate(_followed(frames, tracks, roles)):
            aligned = self._faces(targets, cast.roles[number], video, options, tracks, clock)
            found = prefetch(aligned, depth=max(2, waiting // roles))
            found = found if gate is None else gate(found)
            groups.append(self._groups(found, cast, number, audios[number], plan, context))
        in_flight = 1 if options.compat is not None else self._in_flight
        made = generate_groups(merged(groups), batch, options.batch, clock, in_flight)
        joined = []
        for number, its in enumerate(deal(made, roles, lambda each: (each.group.role,)) if roles > 1 else [made]):
            judged = self._judged(its, cast.roles[number], judges.get(number), options, record, on_step)
            placed = record.windows_of(cast.roles[number].name, number).follow(judged, plan)
            frames_made = frames_of(placed, record.windows_refused, plan)
            joined.append(frames_made if context is None else _composed(frames_made, context))
        rows = _noted(zip(*joined, strict=True), record, None if context is None else context.shows, overview)
        try:
            with opencv_in_one_thread():
                for frame in prefetch(compositor.paste(prefetch(rows, depth=waiting), roles), depth=1):
                    if context is None or context.shows(frame):
                        if overview is not None:
                            overview.result(frame)
                        yield frame
        finally:
            record.batch_reductions = batch.reductions
            self._on_end()

    def _batch(
        self, cast: Cast, options: SyncOptions, record: RunRecord, on_step: OnStep, kept: KeptLatents | None
    ) -> AdaptiveBatch | ByVariant:
        """What generates windows, for each kind of settings that the cast has."""
        filled = self._filled_batches and options.compat is None
        batches = [
            AdaptiveBatch(self._generator(variant, record, on_step, kept), options.batch, filled)
            for variant in cast.variants
        ]
        return batches[0] if len(batches) == 1 else ByVariant(batches)

    def _faces(
        self,
        targets: Iterator[TargetFrame],
        role: Role,
        video: VideoSource,
        options: SyncOptions,
        tracks: FaceTracks,
        clock: StageClock,
    ) -> Iterator[AlignedFrame]:
        """The frames with the aligned faces that are to be dubbed, what of them may be painted, and how strongly."""
        limits = VisibilityLimits(options, video.info)
        remembered = self.latents is not None
        aligner = FaceAligner(self.resolution, options.compat, video.info.sample_aspect_ratio, remembered)
        seen = role.spoken(limits.apply(role.inside(targets)))
        aligned = OcclusionStage(options, video, clock).apply(_aligned(prefetch(seen, depth=1), aligner, clock))
        if options.compat is None:
            aligned = behind_others(aligned, tracks.faces_in)
        ramps = {**limits.ramps, OUTSIDE: max(options.ramp, role.longest_fade)}
        return ramp_at_gaps(role.with_fades(aligned, options.ramp), options.ramp, ramps)

    def _groups(
        self,
        frames: Iterator[AlignedFrame],
        cast: Cast,
        number: int,
        audio: AudioWindows,
        plan: WindowPlan,
        context: ExcerptContext | None,
    ) -> Iterator[FrameGroup]:
        """The windows of a role, which begin anew with each of its parts."""
        if context is None:
            return tagged(group_frames(frames, audio, plan, cast.roles[number].begins), cast, number)
        groups = group_frames(frames, audio, plan, partial(context.begins_run, number))
        return tagged(context.touched(groups), cast, number)

    def _judged(
        self,
        groups: Iterator[GeneratedGroup],
        role: Role,
        judges: Mapping[int, SyncJudge] | None,
        options: SyncOptions,
        record: RunRecord,
        on_step: OnStep,
    ) -> Iterator[GeneratedGroup]:
        """The groups of a role; what is out of sync is told of, or made again, part by part, if there are judges."""
        if not judges or options.sync_gate is SyncGate.OFF:
            return groups
        return self._gated(groups, role, judges, options, record, on_step)

    def _gated(
        self,
        groups: Iterator[GeneratedGroup],
        role: Role,
        judges: Mapping[int, SyncJudge],
        options: SyncOptions,
        record: RunRecord,
        on_step: OnStep,
    ) -> Iterator[GeneratedGroup]:
        for place, its in groupby(groups, key=lambda each: role.place(each.group.frames[0].frame.time)):
            if place is None or place not in judges:
                yield from its
                continue
            part = role.parts[place]
            own = replace(options, sampler=part.options.sampler, seed=part.options.seed)
            yield from self._gate(_on_part(judges[place], part), own, record, on_step).judged(its)

    def _gate(self, judge: SyncJudge, options: SyncOptions, record: RunRecord, on_step: OnStep) -> StretchGate:
        again = None
        filled = self._filled_batches and options.compat is None
        if options.sync_gate is SyncGate.REDO and options.excerpt is None:
            generator = self._make_generator(second_try(options), on_step, None)
            again = record.clock.measure_once("generate again")(AdaptiveBatch(generator, options.batch, filled))
        timed = record.clock.measure_once("judge")(judge)
        return StretchGate(timed, self.keep_mask, record.judged.append, again)

    def _window_plan(self, options: SyncOptions, video: VideoSource) -> WindowPlan:
        rate = 1 / frame_spacing(video.info)
        if options.live is not None:
            length = min(options.live.window, self.num_frames)
            plan = WindowPlan.for_run(None, rate, length, self._steady_reference, options.overlap)
            return replace(plan, at_once=True)
        return WindowPlan.for_run(options.compat, rate, self.num_frames, self._steady_reference, options.overlap)

    def _generator(
        self, options: SyncOptions, record: RunRecord, on_step: OnStep, kept: KeptLatents | None
    ) -> WindowGenerator:
        generator = self._make_generator(options, on_step, kept)
        if not options.check_output:
            return generator
        retries = {name: partial(make, options, on_step, kept) for name, make in self._retries.items()}
        on_retry = record.precision_changes.append
        return GuardedGenerator(generator, OutputGuard(self.keep_mask), record.note_refused, retries, on_retry)


def _on_part(judge: SyncJudge, part: Part) -> SyncJudge:
    """A judge on the clock of the result, of one that is on the clock of a part."""
    return lambda faces, start: judge(faces, start - part.start)


def _followed(frames: Iterator[Frame], tracks: FaceTracks, roles: int) -> list[Iterator[TargetFrame]]:
    """For each role, the frames with its face."""
    if roles == 1:
        return [tracks.follow(frames)]
    return [map(itemgetter(k), branch) for k, branch in enumerate(deal(tracks.follow_each(frames), roles))]


def _composed(frames: Iterator[JoinedFrame], context: ExcerptContext) -> Iterator[JoinedFrame]:
    """Those that an excerpt is composed of: the same ones for each role, whose windows reach differently far."""
    return filter(lambda member: context.composes(member.frame), frames)


def _noted(
    rows: Iterator[Row], record: RunRecord, shows: Callable[[Frame], bool] | None, overview: Overview | None
) -> Iterator[Row]:
    """The rows; what stands for each of them is noted down, and may become a part of the overview."""
    given, counted = tee(rows)
    noted = record.noting(map(lead_of, counted), shows=shows)
    if overview is not None:
        noted = overview.sources(noted, shows or (lambda frame: True))
    for row, _ in zip(given, noted, strict=True):
        yield row


def _aligned(targets: Iterator[TargetFrame], aligner: FaceAligner, clock: StageClock) -> Iterator[AlignedFrame]:
    """Targets with their aligned faces: matrices in frame order, crops on several threads."""

    def with_matrices() -> Iterator[tuple[TargetFrame, np.ndarray | None]]:
        known: dict[int, np.ndarray] = {}  # a frame that is shown again keeps its matrix
        for target in targets:
            if target.face is None:
                yield target, None
                continue
            index = target.frame.index
            if index not in known:
                known[index] = aligner.matrix(target.face.landmarks)
            yield target, known[index]

    def crop(job: tuple[TargetFrame, np.ndarray | None]) -> AlignedFrame:
        target, matrix = job
        if matrix is None or target.face is None:
            return PassedFrame(target.frame, target.shot, target.reason)
        with clock.measure("align"):
            face = aligner.crop(target.frame, matrix)
            return FaceFrame(target.frame, face, target.shot, target.face, confidence=target.confidence)

    return parallel_map(crop, with_matrices(), ALIGN_WORKERS)


class TimedAudio:
    """Audio conditioning whose computing time is counted as the stage 'audio'."""

    def __init__(self, audio: AudioWindows, clock: StageClock) -> None:
        self.duration = audio.duration
        self._audio, self._clock = audio, clock

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``."""
        with self._clock.measure("audio"):
            return self._audio.window(frame_time)
