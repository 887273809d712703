"""Jobs of the page: one at a time in a thread of its own, by networks that stay in memory."""

from __future__ import annotations

import filecmp
import json
import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from latentsync.atomic import link_or_copy
from latentsync.constants import AUDIO_RATE
from latentsync.errors import VideoError
from latentsync.face.mask import check_picture
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.selection import LARGEST
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.job.dub import dub
from latentsync.inference.job.folder import JobFolder, JobState, State, stamp
from latentsync.inference.job.networks import KeptNetworks, Networks
from latentsync.inference.job.people import Person, VideoPeople, find_everybody, find_people
from latentsync.inference.job.progress import ProgressMeter, RunControl
from latentsync.inference.job.report import RunReport
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncGate, SyncOptions, apply_preset
from latentsync.inference.stretches import SilenceMode
from latentsync.inference.timeline import LengthMode, frame_spacing
from latentsync.inference.weights import WeightPaths
from latentsync.media.audio import audio_blocks
from latentsync.media.limits import MediaLimits
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions
from latentsync.page.fair_queue import FairQueue, Ticket, Visitor
from latentsync.page.kept_jobs import GRACE_SECONDS, TICK, Job, JobResult, KeptJobs, Report
from latentsync.page.names import all_without_folders, shown_name
from latentsync.page.request import QUALITIES, RANDOM_SEED, JobRequest, stretches
from latentsync.page.visitors import VisitorFolders
from latentsync.page.wording import note

PREVIEW_SECONDS = 1.0
QUEUE_LENGTH = 16  # jobs that may wait; who comes later is told to come back
LOOKS_WAITING = 8  # files that may wait to be looked into
LOOK_SECONDS = 60.0  # that looking into a file may take
SURVEY_SECONDS = 900.0  # that a look at all frames of a video may take
OVERVIEW = "_overview.png"  # end of the name of an overview picture
ANOTHER = Visitor("somebody who is no visitor")
NAME_KEPT = 60  # characters of the source's name in that of the result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """Files that come with the page. ``faces``: where the face is, so that no detector is needed."""

    name: str
    video: Path
    audio: Path
    faces: Path


class JobQueue:
    """``weights`` by the names that visitors choose from, the first one by default; ``examples`` come with the page.

    ``queue_length`` jobs may wait, of one visitor half of them. ``device`` as in ``DubRequest``. ``make_networks``
    gives what keeps networks in memory; tests put stubs there. ``kept`` has the jobs of the page, which go on for
    ``grace_seconds`` when their visitors have lost the connection.
    """

    def __init__(
        self,
        weights: Mapping[str, WeightPaths],
        limits: MediaLimits,
        examples: Sequence[Example] = (),
        make_networks: Callable[[], Networks] = KeptNetworks,
        queue_length: int = QUEUE_LENGTH,
        grace_seconds: float = GRACE_SECONDS,
        device: str = "auto",
    ) -> None:
        self.weights, self.limits, self.examples = dict(weights), limits, tuple(examples)
        self.device, self._make_networks = device, make_networks
        self.networks = make_networks()
        self._detectors = make_networks()  # faces are looked for beside a running job
        self._surveyors = make_networks()  # and everybody in a video beside that
        self._importing = threading.Lock()
        self.kept = KeptJobs(grace_seconds)
        self._dubs = FairQueue("dub", queue_length + 1, max(1, queue_length // 2))
        self._looks = {
            kind: FairQueue(kind, LOOKS_WAITING + 1, max(1, LOOKS_WAITING // 2))
            for kind in ("people", "audio", "survey")
        }

    def __len__(self) -> int:
        """Jobs that wait or run."""
        return len(self._dubs)

    def warm_up(self) -> None:
        """Import the libraries of the networks in the thread of the jobs: the first one comes after it.

        What goes wrong goes wrong in that job again, which says so.
        """

        def work() -> None:
            with self._importing:  # two threads that import a library from two ends could meet in its middle
                import_module("latentsync.inference.loading")

        self._dubs.run_first(work)

    def renew_networks(self) -> Networks:
        """Others in place of those that are loaded: nobody knows what state they are in."""
        self.networks = self._make_networks()
        return self.networks

    def lend(self, control: RunControl, work: Callable[[], object]) -> Ticket:
        """Have somebody else's work done in the thread of the jobs, by ``networks``, when its turn comes among those of
        the visitors; a piece at a time. ``take_back`` ends it."""
        return self._dubs.enter(ANOTHER, "work", control, work, bounded=False)

    def take_back(self, ticket: Ticket) -> None:
        """End what was lent: it does not begin, or ends at its next look at its ``control``."""
        self._dubs.leave(ticket)

    def find_people(self, video: Path, checkpoint: str, visitor: Visitor) -> list[Person]:
        """Who is to be seen. Another call for the same session ends this one with ``StoppedError``.

        Raises ``BusyError``, ``VideoError`` if it takes too long, and as ``job.people.find_people``.
        """

        def work(control: RunControl) -> list[Person]:
            with self._importing:
                control.check()
                return find_people(
                    video,
                    self.weights[checkpoint],
                    self._detector(video),
                    limits=self._limits(control),
                    networks=self._detectors,
                )

        return self._look("people", visitor, video, work)

    def survey(
        self, video: Path, checkpoint: str, named: Sequence[str], visitor: Visitor
    ) -> Generator[float, None, VideoPeople]:
        """Everybody in a video, by all of its frames; ``named``: choices whose people are wanted. Gives the share that
        is done now and then. Ends and raises as ``find_people``."""
        done = [0.0]

        def work(control: RunControl) -> VideoPeople:
            def on_frame(number: int, frames: int) -> None:
                control.check()
                done[0] = number / max(1, frames)

            weights, detector, limits = self.weights[checkpoint], self._detector(video), self._limits(control)
            with self._importing:  # only what is imported before the first frame
                import_module("latentsync.inference.faces")
            return find_everybody(
                video, weights, detector, limits=limits, networks=self._surveyors, named=named, on_frame=on_frame
            )

        looking = self._looking("survey", visitor, video, work, SURVEY_SECONDS)
        while True:
            try:
                next(looking)
            except StopIteration as end:
                return end.value
            yield done[0]

    def video_times(self, video: Path, visitor: Visitor) -> tuple[Fraction, Fraction]:
        """How long a video lasts, s, and its frames a second; as a result has them. Raises as ``find_people``."""

        def work(control: RunControl) -> tuple[Fraction, Fraction]:
            info = VideoFile(video, limits=self._limits(control)).info
            return info.duration, 1 / frame_spacing(info)

        return self._look("people", visitor, video, work)

    def measure_audio(self, audio: Path, visitor: Visitor, instead: bool = True) -> Fraction:
        """The length of the audio of a file, s; ``instead`` of another that the session wanted to know. Raises
        ``BusyError``, ``StoppedError`` and ``AudioError``."""

        return self._look("audio", visitor, audio, lambda control: self._audio_seconds(audio, control), instead)

    def begin(self, request: JobRequest, folders: VisitorFolders, visitor: Visitor, kind: str = "job") -> Job:
        """Have a job done in a folder of ``folders``, as soon as its turn comes. A session has one job of a ``kind``.

        Raises ``BusyError``. Nothing long is done before the job's turn, and no folder stays but that of a result.
        """
        meter = ProgressMeter()
        control = RunControl(meter.update)

        def work() -> JobResult:
            control.check()
            place = JobFolder(folders.new_job(visitor.session))
            try:
                with place.hold():
                    return self._perform(request, place, control)
            except BaseException:
                folders.discard(place.path)
                raise

        return Job(request, self._dubs, self._dubs.enter(visitor, kind, control, work), meter, folders)

    def perform(
        self, request: JobRequest, folders: VisitorFolders, visitor: Visitor, kind: str = "job"
    ) -> Generator[Report, None, None]:
        """``begin`` a job and report on it; it ends with the iterator. Raises as ``begin`` and ``Job.reports``."""
        job = self.begin(request, folders, visitor, kind)
        try:
            yield from job.reports()
        finally:
            job.end()

    def stop(self, session: str) -> None:
        """End what runs or waits for a session."""
        self.kept.stop(session)
        self._dubs.stop(session)

    def close(self) -> None:
        """End all work."""
        for queue in (self._dubs, *self._looks.values()):
            queue.close()

    def _look(
        self, kind: str, visitor: Visitor, file: Path, work: Callable[[RunControl], T], instead: bool = True
    ) -> T:
        looking = self._looking(kind, visitor, file, work, LOOK_SECONDS, instead)
        while True:
            try:
                next(looking)
            except StopIteration as end:
                return end.value

    def _looking(
        self,
        kind: str,
        visitor: Visitor,
        file: Path,
        work: Callable[[RunControl], T],
        seconds: float,
        instead: bool = True,
    ) -> Generator[None, None, T]:
        """What ``work`` gives, if that takes no more than ``seconds``; gives None now and then until it is there."""
        queue, control = self._looks[kind], RunControl()
        if visitor.session and instead:
            queue.stop(visitor.session)  # another file was brought: nobody waits for what the last one shows
        unique = kind if instead else f"{kind} {secrets.token_hex(4)}"
        ticket = queue.enter(visitor, unique, control, lambda: work(control))
        began = None
        try:
            while not ticket.future.done():
                control.check()
                wait([ticket.future], TICK)
                if began is None and ticket.future.running():
                    began = time.monotonic()
                if began is not None and time.monotonic() - began > seconds:
                    raise VideoError(f"{file} takes too long to look into.", remedy="It can be dubbed all the same.")
                yield
            return ticket.future.result()
        finally:
            queue.leave(ticket)

    def _audio_seconds(self, audio: Path, control: RunControl) -> Fraction:
        limits = self._limits(control)
        limits.check_audio(audio)
        samples = sum(len(block) for block in audio_blocks(audio, limits=limits))
        return Fraction(samples, AUDIO_RATE)

    def _limits(self, control: RunControl) -> MediaLimits:
        """Those of the page, for work that ends with ``control`` wherever it reads a file."""
        return replace(self.limits, on_packet=control.check)

    def _perform(self, request: JobRequest, place: JobFolder, control: RunControl) -> JobResult:
        """Do a job in its folder, whose layout is that of every job (``job.folder``)."""
        dub_request = self._dub_request(request, place, control)
        place.write(begun := JobState(State.RUNNING, attempts=1))
        start = time.monotonic()
        report = dub(dub_request, control=control, networks=self.networks)
        result = _result(dub_request, report, place)
        seconds, made = time.monotonic() - start, stamp(result.video)
        place.write(replace(begun, state=State.DONE, result=made, seconds=seconds, ended=time.time()))
        return result

    def _dub_request(self, request: JobRequest, place: JobFolder, control: RunControl) -> DubRequest:
        weights, sampler = apply_preset(
            request.preset,
            self.weights[request.checkpoint],
            steps=request.steps,
            guidance_scale=request.guidance_scale,
        )
        excerpt = None
        audio = request.audio or request.sounds[0]
        if request.moment is not None:
            seconds = (
                VideoFile(request.video, limits=self._limits(control)).info.duration
                if request.is_as_long_as_video
                else self._audio_seconds(audio, control)
            )
            excerpt = Excerpt.around(request.moment, PREVIEW_SECONDS, seconds)
        if request.mask_file is not None:
            check_picture(request.mask_file)
        name = f"{shown_name(request.video.stem)[:NAME_KEPT]}_{'dubbed' if excerpt is None else 'preview'}"
        return DubRequest(
            video=request.video,
            audio=audio,
            output=place.path / f"{name}.mp4",
            options=SyncOptions(
                sampler=sampler,
                seed=secrets.randbelow(2**32) if request.seed == RANDOM_SEED else request.seed,
                length=LengthMode.CUT if request.is_as_long_as_video else LengthMode(request.length),
                face=LARGEST if request.scene is not None else request.face,
                excerpt=excerpt,
                paste=PasteSettings(mask=request.mask if request.mask_file is None else str(request.mask_file)),
                visibility=VisibilitySettings(occlusion=request.occlusion),
                silence=SilenceMode(request.silence),
                skip=stretches(request.skip),
                sync_gate=SyncGate(request.sync_gate),
            ),
            encoding=EncodingOptions(crf=QUALITIES[request.quality], for_browsers=True),
            weights=weights,
            device=self.device,
            detector=self._detector(request.video),
            limits=self._limits(control),
            segments=place.segments,
            contact_sheet=place.path / f"{name}{OVERVIEW}",
            scene=request.scene,
            deinterlace=True,  # browsers show fields as combs
        )

    def _detector(self, video: Path) -> str:
        for example in self.examples:
            if video.is_file() and filecmp.cmp(video, example.video, shallow=False):
                return str(example.faces)
        return "auto"


def _result(request: DubRequest, report: RunReport, place: JobFolder) -> JobResult:
    figures = json.loads(report.to_json())
    # Where the server keeps its files is its own business; and to Gradio a "path" is a file to be fetched.
    figures |= {key: shown_name(figures[key]) for key in ("video", "output")}
    figures["audio"] = ", ".join(map(shown_name, request.heard))
    figures["encoded"].pop("path")
    for weights in figures["weights"].values():
        weights["file"] = shown_name(weights.pop("path"))
    files = (request.video, *request.heard, request.output)
    figures["notes"] = [text for text in (note(text, *files) for text in figures["notes"]) if text]
    figures = all_without_folders(figures, *files, request.options.paste.mask)
    file = request.output.with_suffix(".json")  # the name of a download
    place.keep(place.report_file, json.dumps(figures, indent=2, ensure_ascii=False))
    link_or_copy(place.report_file, file)
    excerpt = request.options.excerpt
    start = 0.0 if excerpt is None else float(excerpt.start)
    overview = request.output.with_name(request.output.stem + OVERVIEW)
    return JobResult(request.output, report, figures, file, start, overview)
