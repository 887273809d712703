"""The main path on one page: playing order, audio, faces, alignment, windows, generation, paste."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np

from latentsync.constants import AUDIO_RATE, WINDOW_FRAMES
from latentsync.face.align import FaceAligner
from latentsync.face.tracks import FaceTracks, TargetFrame
from latentsync.inference.batching import AdaptiveBatch, generate_groups
from latentsync.inference.compositing import Compositor
from latentsync.inference.excerpt_context import ExcerptContext
from latentsync.inference.faces import DETECTION_BATCH
from latentsync.inference.joins import frames_of
from latentsync.inference.kept_latents import KeptLatents
from latentsync.inference.occlusion import OcclusionStage
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.output_guard import GuardedGenerator, OutputGuard
from latentsync.inference.overview import Overview
from latentsync.inference.record import RunRecord, StageClock
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.sync_gate import StretchGate, SyncJudge, second_try
from latentsync.inference.timeline import LengthMode, frame_spacing, playing_order
from latentsync.inference.visibility import VisibilityLimits
from latentsync.inference.windows import (
    AlignedFrame,
    FaceFrame,
    PassedFrame,
    WindowPlan,
    group_frames,
    ramp_at_gaps,
)
from latentsync.stream import parallel_map, prefetch
from latentsync.types import AudioWindows, Frame, VideoSource, WindowGenerator

ALIGN_WORKERS = 2
AFTER_AUDIO = "the audio is over"
SECOND_OF_SILENCE = np.zeros(AUDIO_RATE, np.float32)
OnStep = Callable[[int], None]  # called with the number of windows after each denoising step
MakeGenerator = Callable[[SyncOptions, OnStep, KeptLatents | None], WindowGenerator]
EmbedAudio = Callable[[np.ndarray, SyncOptions], AudioWindows]


class LipsyncPipeline:
    """Networks that are loaded once, for any number of videos, one at a time.

    ``make_generator(options, on_step, kept)`` gives the generator of one run; ``embed_audio(waveform, options)`` the
    audio conditioning; ``keep_mask`` (1, R, R) float32, 1 = keep; ``steady_reference``: see ``windows``.
    ``retries``: name of a precision -> what gives the generator in it, for windows with a fault
    (``output_guard.GuardedGenerator``); ``on_end`` is called when a run is over. ``in_flight``: batches that the
    generator works on at once (``batching.generate_groups``); one with ``compat``, whose draws depend on the order of
    the windows. ``filled_batches``: see ``batching.AdaptiveBatch``; not with ``compat``, whose last window is shorter.
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
    ) -> None:
        self.keep_mask = keep_mask
        self.resolution = keep_mask.shape[-1]
        self._make_generator = make_generator
        self._embed_audio = embed_audio
        self._num_frames = num_frames
        self._steady_reference = steady_reference
        self._retries = retries
        self._on_end = on_end
        self._in_flight = in_flight
        self._filled_batches = filled_batches

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
        """The frames of the result in order, each with its time in the result.

        There are as many as the audio is long, or those of ``options.excerpt``. ``waveform`` (n,) float32 in [-1, 1] at
        16 kHz. ``tracks`` knows or finds the faces of ``video``. ``record`` is filled while the frames come out.
        ``on_step(n)`` is called in a thread of the generator after each denoising step of n windows; what it raises
        ends the run. ``context``: that of ``options.excerpt``, if it is known already. ``kept``: where finished windows
        are looked up and put. ``speech``: where the audio pauses and what is left alone, if it is known already;
        otherwise ``original`` takes the source to rest in every pause. ``judge``: needed for ``options.sync_gate``.
        ``overview`` collects what its picture shows. Memory does not depend on the length. Raises ``VideoError``,
        ``AudioError``, ``GenerationError`` and ``OutOfMemoryError``; closing the iterator stops all stages.
        """
        record = record if record is not None else RunRecord()
        clock = record.clock
        with clock.measure("audio"):
            speech = speech or SpeechPlan.of_run(waveform, options, 1 / frame_spacing(video.info))
            embedded = self._embed_audio(waveform, options)
            audio = TimedAudio(speech.eased(embedded, lambda: self._embed_audio(SECOND_OF_SILENCE, options)), clock)
        filled = self._filled_batches and options.compat is None
        batch = AdaptiveBatch(self._generator(options, record, on_step, kept), options.batch, filled)
        compositor = Compositor(self.keep_mask, options.paste, options.compat, clock)

        # The frames that wait between the stages are what takes memory, so only as many wait as keep every stage busy.
        # A stage that takes several frames at once needs as many in front of it, and as much room behind it; a quarter
        # of a window is in the hands of the threads that align and paste.
        waiting = max(2, options.batch * self._num_frames * 3 // 4)
        plan = self._window_plan(options, video)
        if options.excerpt is None:
            shown = playing_order(video, audio.duration, options.length)
        else:
            context = context or ExcerptContext(video, audio.duration, options, plan, speech=speech)
            shown = context.frames(tracks)
        frames = prefetch(clock.each("decode", shown), depth=DETECTION_BATCH - 1)
        targets = _without_tail(tracks.follow(frames), audio.duration, options.length)
        waiting_frames = prefetch(self._faces(targets, video, options, speech, clock), depth=waiting)
        if context is None:
            groups = group_frames(waiting_frames, audio, plan)
        else:
            groups = context.touched(group_frames(waiting_frames, audio, plan, context.begins_run))
        in_flight = 1 if options.compat is not None else self._in_flight
        made = generate_groups(groups, batch, options.batch, clock, in_flight)
        if judge is not None and options.sync_gate is not SyncGate.OFF:
            made = self._gate(judge, options, record, on_step, filled).judged(made)
        generated = frames_of(record.windows.follow(made, plan), record.windows_refused, plan)
        noted = record.noting(generated, shows=None if context is None else context.shows)
        if overview is not None:
            noted = overview.sources(noted, lambda frame: True if context is None else context.shows(frame))
        try:
            for frame in prefetch(compositor.paste(prefetch(noted, depth=waiting)), depth=1):
                if context is None or context.shows(frame):
                    if overview is not None:
                        overview.result(frame)
                    yield frame
        finally:
            record.batch_reductions = batch.reductions
            self._on_end()

    def _faces(
        self,
        targets: Iterator[TargetFrame],
        video: VideoSource,
        options: SyncOptions,
        speech: SpeechPlan,
        clock: StageClock,
    ) -> Iterator[AlignedFrame]:
        """The frames with the aligned faces that are to be dubbed, what of them may be painted, and how strongly."""
        limits = VisibilityLimits(options, video.info)
        aligner = FaceAligner(self.resolution, options.compat, video.info.sample_aspect_ratio)
        aligned = _aligned(prefetch(speech.applied(limits.apply(targets)), depth=1), aligner, clock)
        return ramp_at_gaps(OcclusionStage(options, video, clock).apply(aligned), options.ramp, limits.ramps)

    def _gate(
        self, judge: SyncJudge, options: SyncOptions, record: RunRecord, on_step: OnStep, filled: bool
    ) -> StretchGate:
        again = None
        if options.sync_gate is SyncGate.REDO and options.excerpt is None:
            generator = self._make_generator(second_try(options), on_step, None)
            again = record.clock.measure_once("generate again")(AdaptiveBatch(generator, options.batch, filled))
        timed = record.clock.measure_once("judge")(judge)
        return StretchGate(timed, self.keep_mask, record.judged.append, again)

    def _window_plan(self, options: SyncOptions, video: VideoSource) -> WindowPlan:
        rate = 1 / frame_spacing(video.info)
        return WindowPlan.for_run(options.compat, rate, self._num_frames, self._steady_reference, options.overlap)

    def _generator(
        self, options: SyncOptions, record: RunRecord, on_step: OnStep, kept: KeptLatents | None
    ) -> WindowGenerator:
        generator = self._make_generator(options, on_step, kept)
        if not options.check_output:
            return generator
        retries = {name: partial(make, options, on_step, kept) for name, make in self._retries.items()}
        on_retry = record.precision_changes.append
        return GuardedGenerator(generator, OutputGuard(self.keep_mask), record.note_refused, retries, on_retry)


def _without_tail(targets: Iterator[TargetFrame], duration: Fraction, mode: LengthMode) -> Iterator[TargetFrame]:
    """The targets; after the audio, where the video goes on without it, there is no face to change."""
    for target in targets:
        if mode is LengthMode.PAD_SILENCE and target.frame.time >= duration:
            target = replace(target, face=None, reason=AFTER_AUDIO)
        yield target


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
