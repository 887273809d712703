"""The main path on one page: order, listen, follow the face, align, window, generate, paste."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

import numpy as np

from latentsync.constants import WINDOW_FRAMES
from latentsync.face.align import FaceAligner
from latentsync.face.tracks import FaceTracks, TargetFrame
from latentsync.inference.batching import AdaptiveBatch, GuardedGenerator, OutputGuard, generate_groups
from latentsync.inference.clock import StageClock
from latentsync.inference.compositing import Compositor, frames_of
from latentsync.inference.control import OnPass
from latentsync.inference.excerpt import shown_frames
from latentsync.inference.faces import DETECTION_BATCH
from latentsync.inference.job.report import RunRecord
from latentsync.inference.options import SyncOptions
from latentsync.inference.windows import AlignedFrame, WindowPlan, group_frames, ramp_at_gaps
from latentsync.stream import parallel_map, prefetch
from latentsync.types import AudioWindows, Frame, VideoSource, Window, WindowGenerator

ALIGN_WORKERS = 2
MakeGenerator = Callable[[SyncOptions, OnPass], WindowGenerator]


class LipsyncPipeline:
    """Networks that are loaded once and any number of videos. One video at a time: ``sync`` is for a single consumer.

    ``make_generator(options, on_step)`` gives the network of one run; ``listen(waveform, options)`` the conditioning of
    a sound; ``keep_mask`` (1, R, R) float32, 1 = keep; ``steady_reference``: see ``windows``.
    ``retry(options, on_step)`` gives the network in full precision, for windows that came out broken. Tests and
    benchmarks put stubs in these places.
    """

    def __init__(
        self,
        make_generator: MakeGenerator,
        listen: Callable[[np.ndarray, SyncOptions], AudioWindows],
        keep_mask: np.ndarray,
        *,
        num_frames: int = WINDOW_FRAMES,
        steady_reference: bool = False,
        retry: MakeGenerator | None = None,
    ) -> None:
        self.keep_mask = keep_mask
        self.resolution = keep_mask.shape[-1]
        self._make_generator = make_generator
        self._listen = listen
        self._num_frames = num_frames
        self._steady_reference = steady_reference
        self._retry = retry

    def sync(
        self,
        video: VideoSource,
        waveform: np.ndarray,
        options: SyncOptions,
        tracks: FaceTracks,
        record: RunRecord | None = None,
        on_step: OnPass = lambda windows: None,
    ) -> Iterator[Frame]:
        """The frames of the result, in order, each with its time in the result; as many as the sound is long, or those
        of ``options.excerpt``.

        ``waveform`` (n,) float32 in [-1, 1] at 16 kHz. ``tracks`` knows or finds the faces of ``video``. ``record`` is
        filled while the frames come out. ``on_step(n)`` is called in the network's thread after each step of n windows;
        what it raises ends the run. Memory does not depend on the length. Raises ``VideoError``, ``AudioError``,
        ``GenerationError`` and ``OutOfMemoryError``; closing the iterator stops all stages.
        """
        record = record if record is not None else RunRecord()
        clock = record.clock
        with clock.measure("audio"):
            audio = TimedAudio(self._listen(waveform, options), clock)
        batch = AdaptiveBatch(self._network(options, record, on_step), options.batch)
        aligner = FaceAligner(self.resolution, options.geometry)
        compositor = Compositor(self.keep_mask, options.geometry, clock)

        def matrices(targets: Iterator[TargetFrame]) -> Iterator[tuple[TargetFrame, np.ndarray | None]]:
            known: dict[int, np.ndarray] = {}  # a frame that is shown again keeps its matrix
            for target in targets:  # in frame order: the published geometries remember the frames before
                index = target.frame.index
                if target.face is not None and index not in known:
                    known[index] = aligner.matrix(target.face.landmarks)
                yield target, None if target.face is None else known[index]

        def align(job: tuple[TargetFrame, np.ndarray | None]) -> AlignedFrame:
            target, matrix = job
            if matrix is None:
                return AlignedFrame(target.frame, None, target.shot, target.reason)
            with clock.measure("align"):
                return AlignedFrame(target.frame, aligner.crop(target.frame, matrix), target.shot)

        def generate(windows: list[Window]) -> list[np.ndarray]:
            with clock.measure("generate"):
                return batch(windows)

        # Frames wait between the stages as few as keep them all busy: they are what the memory goes to. Before and
        # behind a stage that works on several at once, its neighbours must find work or room meanwhile; a quarter of a
        # window is in the hands of the workers that align and paste.
        waiting = max(2, options.batch * self._num_frames * 3 // 4)
        shown = shown_frames(video, audio.duration, options.length, options.excerpt)
        frames = prefetch(clock.each("decode", shown), depth=DETECTION_BATCH - 1)
        targets = prefetch(tracks.follow(frames), depth=1)
        aligned = ramp_at_gaps(parallel_map(align, matrices(targets), ALIGN_WORKERS), options.ramp)
        groups = group_frames(prefetch(aligned, depth=waiting), audio, self._plan(options, video))
        generated = frames_of(generate_groups(groups, generate, options.batch))
        try:
            yield from prefetch(compositor.paste(prefetch(record.noting(generated), depth=waiting)), depth=1)
        finally:
            record.batch_reductions = batch.reductions

    def _plan(self, options: SyncOptions, video: VideoSource) -> WindowPlan:
        if options.published:
            return WindowPlan.published(self._num_frames)
        return WindowPlan.for_rate(video.info.fps, self._num_frames, self._steady_reference)

    def _network(self, options: SyncOptions, record: RunRecord, on_step: OnPass) -> WindowGenerator:
        network = self._make_generator(options, on_step)
        if not options.check_output:
            return network
        retry = None if self._retry is None else partial(self._retry, options, on_step)
        return GuardedGenerator(network, OutputGuard(self.keep_mask), retry, on_retry=record.note_retry)


class TimedAudio:
    """Audio conditioning whose computing time is counted."""

    def __init__(self, audio: AudioWindows, clock: StageClock) -> None:
        self.duration = audio.duration
        self._audio, self._clock = audio, clock

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``."""
        with self._clock.measure("audio"):
            return self._audio.window(frame_time)
