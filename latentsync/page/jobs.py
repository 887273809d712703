"""Jobs of the page: one at a time in a thread of its own, by networks that stay in memory."""

from __future__ import annotations

import filecmp
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.inference.control import RunControl
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import KeptNetworks, Networks
from latentsync.inference.job.people import Person, find_people
from latentsync.inference.job.progress import Progress, ProgressMeter
from latentsync.inference.job.report import RunReport
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.presets import apply_preset
from latentsync.inference.timeline import LengthMode
from latentsync.inference.weights import WeightPaths
from latentsync.media.audio import read_audio
from latentsync.media.limits import MediaLimits
from latentsync.media.writer import EncodingOptions

TICK = 0.25  # s between two looks at a run
PREVIEW_SECONDS = 1.0
QUEUE_LENGTH = 16  # jobs that may wait; who comes later is told to come back
RANDOM_SEED = -1  # one is drawn
QUALITIES: Mapping[str, int | None] = {"as the source": None, "smaller file": 26, "draft": 34}  # name -> CRF of H.264
NAME_KEPT = 60  # characters of the source's name in that of the result


class BusyError(LatentSyncError):
    """As many jobs wait as may."""


@dataclass(frozen=True, slots=True)
class Example:
    """Files that come with the page. ``faces``: where the face is, so that no detector is needed."""

    name: str
    video: Path
    audio: Path
    faces: Path


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a visitor asks for. ``None`` for what the preset decides, ``RANDOM_SEED`` for one that is drawn; ``moment``
    (s) for a preview around it."""

    video: Path
    audio: Path
    checkpoint: str
    preset: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    length: str = LengthMode.PINGPONG.value
    quality: str = "as the source"
    face: str = "largest"
    moment: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that has not begun, because ``ahead`` others come first."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job. ``figures``: the account as JSON, also in ``figures_file``; ``start``: second of the whole result
    that the video begins with."""

    video: Path
    report: RunReport
    figures: dict[str, Any]
    figures_file: Path
    start: float


class JobQueue:
    """``weights`` by the names that visitors choose from, the first one by default; ``examples`` come with the page.

    ``queue_length`` jobs may wait. ``make_networks`` gives what keeps networks in memory; tests put stubs there.
    """

    def __init__(
        self,
        weights: Mapping[str, WeightPaths],
        limits: MediaLimits,
        examples: Sequence[Example] = (),
        make_networks: Callable[[], Networks] = KeptNetworks,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        self.weights, self.limits, self.examples = dict(weights), limits, tuple(examples)
        self._networks, self._eyes = make_networks(), make_networks()  # faces are looked for beside a running job
        self._looking = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="dub")
        self._queue_length, self._queueing = queue_length, threading.Lock()
        self._jobs: dict[RunControl, str] = {}  # in the order in which they came; with the visitor that each is for

    def warm_up(self) -> None:
        """Import the libraries of the networks in the thread of the jobs: the first one comes after it.

        What goes wrong goes wrong in that job again, which says so.
        """

        def work() -> None:
            with self._looking:  # two threads that import a library from two ends could meet in its middle
                import_module("latentsync.inference.loading")

        self._worker.submit(work)

    def people(self, video: Path, checkpoint: str) -> list[Person]:
        """Who is to be seen. Raises as ``find_people``."""
        with self._looking:
            return find_people(
                video, self._weights(checkpoint), self._detector(video), limits=self.limits, networks=self._eyes
            )

    def sound_seconds(self, audio: Path) -> float:
        """The length of a sound. Raises ``AudioError``."""
        self.limits.check_audio(audio)
        return len(read_audio(audio)) / AUDIO_RATE

    def perform(self, wish: JobRequest, folder: Path, visitor: str) -> Iterator[Progress | Waiting | Outcome]:
        """Do a job in ``folder``: how far it is now and then, and its ``Outcome`` at the end.

        Closing the iterator takes the job out of the queue or ends the work at the next step of the network. So does
        ``stop``, and the iterator raises ``StoppedError`` without waiting for it. Raises ``BusyError``, and as
        ``job.dub`` besides.
        """
        request = self._request(wish, folder)
        meter = ProgressMeter()
        control = RunControl(meter.update)
        with self._queueing:
            if len(self._jobs) > self._queue_length:
                raise BusyError(
                    f"{self._queue_length} jobs are waiting already; no more are taken.",
                    remedy="Come back in a few minutes.",
                )
            self._jobs[control] = visitor
            future = self._worker.submit(dub, request, control=control, networks=self._networks)
        try:
            while not future.done():
                control.check()
                ahead = list(self._jobs).index(control)
                yield Waiting(ahead) if ahead and not future.running() else meter.reading
                wait([future], TICK)
        finally:
            control.stop()
            future.cancel()
            self._jobs.pop(control)
        yield _outcome(request, future.result())

    def stop(self, visitor: str) -> None:
        """End what runs or waits for a visitor."""
        for control, owner in list(self._jobs.items()):
            if owner == visitor:
                control.stop()

    def close(self) -> None:
        """End all work."""
        for control in list(self._jobs):
            control.stop()
        self._worker.shutdown(cancel_futures=True)

    def _request(self, wish: JobRequest, folder: Path) -> DubRequest:
        if wish.quality not in QUALITIES:
            raise ConfigError(f"There is no quality '{wish.quality}'.", remedy=f"Use one of: {', '.join(QUALITIES)}.")
        weights, sampler = apply_preset(
            wish.preset, self._weights(wish.checkpoint), steps=wish.steps, guidance_scale=wish.guidance_scale
        )
        excerpt = None
        if wish.moment is not None:
            seconds = Fraction(self.sound_seconds(wish.audio)).limit_denominator(AUDIO_RATE)
            excerpt = Excerpt.around(wish.moment, PREVIEW_SECONDS, seconds)
        name = f"{wish.video.stem[:NAME_KEPT]}_{'dubbed' if excerpt is None else 'preview'}"
        return DubRequest(
            video=wish.video,
            audio=wish.audio,
            output=folder / f"{name}.mp4",
            options=SyncOptions(
                sampler=sampler,
                seed=secrets.randbelow(2**32) if wish.seed == RANDOM_SEED else wish.seed,
                length=LengthMode(wish.length),
                face=wish.face,
                excerpt=excerpt,
            ),
            encoding=EncodingOptions(crf=QUALITIES[wish.quality]),
            weights=weights,
            detector=self._detector(wish.video),
            limits=self.limits,
        )

    def _weights(self, checkpoint: str) -> WeightPaths:
        if checkpoint not in self.weights:
            raise ConfigError(
                f"There is no checkpoint '{checkpoint}'.", remedy=f"Use one of: {', '.join(self.weights)}."
            )
        return self.weights[checkpoint]

    def _detector(self, video: Path) -> str:
        for example in self.examples:
            if video.is_file() and filecmp.cmp(video, example.video, shallow=False):
                return str(example.faces)
        return "auto"


def _outcome(request: DubRequest, report: RunReport) -> Outcome:
    figures = json.loads(report.to_json())
    # Where the server keeps its files is its own business; and to Gradio a "path" is a file to be fetched.
    figures |= {key: Path(figures[key]).name for key in ("video", "audio", "output")}
    figures["encoded"].pop("path")
    for weights in figures["weights"].values():
        weights["file"] = Path(weights.pop("path")).name
    file = request.output.with_suffix(".json")
    write_text(file, json.dumps(figures, indent=2, ensure_ascii=False))
    excerpt = request.options.excerpt
    return Outcome(request.output, report, figures, file, 0.0 if excerpt is None else float(excerpt.start))
