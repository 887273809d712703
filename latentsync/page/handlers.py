"""What happens when something on the page is touched: from values of components to a job, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils

from latentsync.errors import StoppedError
from latentsync.face.selection import LARGEST, SPEAKING
from latentsync.inference.job.people import Person
from latentsync.inference.options import BUILTIN_PRESET, DEFAULT_PRESET
from latentsync.page import wording
from latentsync.page.blocks import said
from latentsync.page.fair_queue import RepeatedError
from latentsync.page.faults import FaultLog
from latentsync.page.jobs import JobQueue
from latentsync.page.kept_jobs import JobGoneError, JobResult
from latentsync.page.request import DUB_FIELDS, PREVIEW_FIELDS, FieldError, JobRequest, chosen, uploaded_file
from latentsync.page.scene_part import visitor
from latentsync.page.scene_values import scene_to_text
from latentsync.page.script import BEAT_SECONDS
from latentsync.page.visitors import VisitorFolders

LARGEST_FACE = ("The largest face", LARGEST)
WHOEVER_SPEAKS = ("Whoever speaks, in turn", SPEAKING)


class Handlers:
    """One for all visitors: what belongs to a visitor is in the arguments.

    Values come as they were sent, but for files, which ``PageBlocks`` has checked. What is asked for by programs raises
    its errors, for ``PageBlocks`` to put in words; what is shown says them where they belong.
    """

    def __init__(self, jobs: JobQueue, folders: VisitorFolders, faults: FaultLog) -> None:
        self._jobs, self._folders, self.faults = jobs, folders, faults

    def find_people(self, video: Any, checkpoint: Any, face: Any, request: gr.Request) -> tuple[Any, ...]:
        """Thumbnails of the people in a video, and what can be chosen from: (line, gallery, list, people). ``face`` is
        who is chosen now, and stays so if it is one of them."""
        if video is None:
            return wording.NO_VIDEO_YET, *_nobody()
        file = uploaded_file("video", video)
        try:
            people = self._jobs.find_people(file, self._checkpoint(checkpoint), visitor(request))
        except StoppedError:  # another video was brought, and what it shows comes in place of this
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            return wording.not_taken(self.faults.sentence(error, file)), *_nobody()
        names = [(f"Person {n}, from {p.time:.1f} s", p.choice) for n, p in enumerate(people, 1)]
        images = [(p.thumbnail, f"Person {n}") for n, p in enumerate(people, 1)]
        line = wording.people_found(len(people))
        return line, gr.Gallery(images, visible=bool(people)), _list_of(names, face), people

    def choose_person(self, people: list[Person], event: gr.SelectData) -> str:
        """The thumbnail that was clicked, as a choice."""
        number = event.index
        if not isinstance(number, int) or not 0 <= number < len(people):
            raise FieldError("face", "this face is not known here any more.", remedy="Upload the video again.")
        return people[number].choice

    def measure_audio(self, audio: Any, request: gr.Request) -> tuple[Any, ...]:
        """Let the slider for the moment to try reach to the end of the audio: (line, slider)."""
        if audio is None:
            return wording.AUDIO_HELP, gr.skip()
        file = uploaded_file("audio", audio)
        try:
            seconds = float(self._jobs.measure_audio(file, visitor(request)))
        except StoppedError:
            return gr.skip(), gr.skip()
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            return wording.not_taken(self.faults.sentence(error, file)), gr.skip()
        return wording.AUDIO_HELP, gr.Slider(maximum=max(round(seconds, 1), 0.1), value=round(seconds / 2, 1))

    def take_audio(self, video: Any) -> str | None:
        """A video as the file whose audio is taken."""
        return None if video is None else str(uploaded_file("audio", video))

    def describe_models(self, checkpoint: Any) -> str:
        """What a checkpoint is, in words."""
        name = self._checkpoint(checkpoint)
        return wording.models(name, self._jobs.weights[name].are_builtin)

    def suit_preset(self, checkpoint: Any) -> str:
        """The preset that a checkpoint is made for."""
        return BUILTIN_PRESET if self._jobs.weights[self._checkpoint(checkpoint)].are_builtin else DEFAULT_PRESET

    def stop(self, request: gr.Request) -> None:
        """End the visitor's work. The stream of its progress says so last: another answer here could be overtaken."""
        if request.session_hash:
            self._jobs.stop(request.session_hash)

    def show_dub(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Dub a whole video, for the eyes of a visitor."""
        yield from self._show(request, dict(zip(DUB_FIELDS, values, strict=True)))

    def show_preview(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Dub one second, for the eyes of a visitor."""
        yield from self._show(request, dict(zip(PREVIEW_FIELDS, values, strict=True)))

    def dub(
        self,
        request: gr.Request,
        video: Any,
        audio: Any,
        checkpoint: Any,
        preset: Any,
        steps: Any,
        guidance_scale: Any,
        seed: Any,
        length: Any,
        quality: Any,
        face: Any,
        mask: Any,
        silence: Any,
        skip: Any,
        sync_gate: Any,
        occlusion: Any,
        mask_file: Any = None,
        scene: Any = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Dub a whole video. Gives the result, an account in words (at first: how far it is), and one in figures."""
        values = (
            *(video, audio, checkpoint, preset, steps, guidance_scale, seed, length, quality, face),
            *(mask, silence, skip, sync_gate, occlusion, mask_file, scene),
        )
        yield from self._tell(request, dict(zip(DUB_FIELDS, values, strict=True)))

    def preview(
        self,
        request: gr.Request,
        video: Any,
        audio: Any,
        moment: Any,
        checkpoint: Any,
        preset: Any,
        steps: Any,
        guidance_scale: Any,
        seed: Any,
        length: Any,
        quality: Any,
        face: Any,
        mask: Any,
        silence: Any,
        skip: Any,
        sync_gate: Any,
        occlusion: Any,
        mask_file: Any = None,
        scene: Any = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Dub one second around a moment (s) of the result; the rest as for the whole video."""
        values = (
            *(video, audio, moment, checkpoint, preset, steps, guidance_scale, seed, length, quality, face),
            *(mask, silence, skip, sync_gate, occlusion, mask_file, scene),
        )
        yield from self._tell(request, dict(zip(PREVIEW_FIELDS, values, strict=True)))

    def come_back(self, name: Any, remembered: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Show the job of a page that is opened again, with what was chosen for it.

        ``remembered``: the browser knows the name and the address does not, which may be meant to begin anew; then the
        job is shown only if its visitor has yet to see what comes of it.
        """
        nothing = tuple(gr.skip() for _ in range(_SHOWN))
        unchanged = tuple(gr.skip() for _ in DUB_FIELDS)
        try:
            kept = self._jobs.kept.find(str(name or ""), visitor(request))
        except JobGoneError as error:
            if name and not remembered:
                yield *_unfinished(wording.status(self.faults.sentence(error), kind="idle", job=""), False), *unchanged
            else:
                yield *nothing, *unchanged
            return
        if remembered and not kept.awaits_its_visitor:
            yield *nothing, *unchanged
            return
        wanted = kept.job.request
        yield *_unfinished(wording.status(wording.FOUND_AGAIN, job=name)), *_values(wanted)
        for shown in self._follow(name, request, wanted):
            yield *shown, *unchanged

    def _tell(self, request: gr.Request, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        job = _job_of(values, self._jobs)
        try:
            with closing(self._jobs.perform(job, self._folders, visitor(request), job.kind)) as reports:
                for report in reports:
                    if isinstance(report, JobResult):
                        yield str(report.video), wording.report(report.report, report.start), report.figures
                    else:
                        yield gr.skip(), wording.line(report), gr.skip()
        except Exception as error:  # a program gets a sentence too
            raise said(self.faults.sentence(error, *job.files)) from error

    def _show(self, request: gr.Request, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        try:
            job = _job_of(values, self._jobs)
            # One page, one job: two would write their progress to the same place.
            name = self._jobs.kept.keep(self._jobs.begin(job, self._folders, visitor(request)))
        except RepeatedError as error:  # the first click goes on, and so does what is said of it
            gr.Warning(self.faults.sentence(error), title="Not now")
            yield tuple(gr.skip() for _ in range(_SHOWN))
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            yield self._failed(error)
        else:
            yield from self._follow(name, request, job)

    def _follow(self, name: str, request: gr.Request, job: JobRequest) -> Iterator[tuple[Any, ...]]:
        """How far a job is, and its result. Who loses the connection leaves it, and it goes on."""
        try:
            with closing(self._jobs.kept.follow(name, visitor(request))) as reports:
                for report in reports:
                    if isinstance(report, JobResult):
                        yield _finished(report, name, job)
                    else:
                        beat = int(time.monotonic() // BEAT_SECONDS)
                        yield _unfinished(wording.progress(report, name, beat))
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            yield self._failed(error, *job.files)

    def _failed(self, error: Exception, *files: Path) -> tuple[Any, ...]:
        kind = "idle" if isinstance(error, StoppedError) else "failed"
        return _unfinished(wording.status(self.faults.sentence(error, *files), kind=kind, job=""), running=False)

    def _checkpoint(self, value: Any) -> str:
        return chosen("checkpoint", value, self._jobs.weights) or next(iter(self._jobs.weights))


def _nobody() -> tuple[gr.Gallery, gr.Dropdown, list[Person]]:
    return gr.Gallery([], visible=False), _list_of([]), []


def _list_of(names: list[tuple[str, str]], chosen: Any = LARGEST) -> gr.Dropdown:
    choices = [LARGEST_FACE, *([WHOEVER_SPEAKS] if len(names) > 1 else []), *names]
    return gr.Dropdown(choices=choices, value=chosen if chosen in dict(choices).values() else LARGEST)


def _job_of(values: Mapping[str, Any], jobs: JobQueue) -> JobRequest:
    return JobRequest.from_values(values, jobs.weights, Path(processing_utils.get_upload_folder()))


_SHOWN = 9  # outputs of what is shown, in the order of ``_unfinished``


def _unfinished(status: str, running: bool = True) -> tuple[Any, ...]:
    """Result, words, figures, status, button that stops, the two downloads, source, overview."""
    nothing = gr.skip()
    return nothing, nothing, nothing, status, gr.Button(interactive=running), nothing, nothing, nothing, nothing


def _finished(result: JobResult, name: str, job: JobRequest) -> tuple[Any, ...]:
    return (
        str(result.video),
        wording.report(result.report, result.start),
        result.figures,
        wording.status(wording.DONE, kind="done", start=result.start, job=name),
        gr.Button(interactive=False),
        gr.DownloadButton(value=str(result.video)),
        gr.DownloadButton(value=str(result.figures_file)),
        _if_there(job.video),
        _if_there(result.overview),
    )


def _values(job: JobRequest) -> tuple[Any, ...]:
    """What was chosen for a job, in the order of ``DUB_FIELDS``, as the fields of the page show it."""
    values = {field: getattr(job, field) for field in DUB_FIELDS}
    values |= {"video": _if_there(job.video), "audio": None if job.audio is None else _if_there(job.audio)}
    values |= {"scene": None if job.scene is None else scene_to_text(job.scene)}
    values |= {"mask_file": None if job.mask_file is None else _if_there(job.mask_file)}
    values |= {"steps": job.steps or 0, "guidance_scale": job.guidance_scale or 0}
    return tuple(gr.skip() if value is None else value for value in values.values())


def _if_there(file: Path) -> str | None:
    """A file that was uploaded, unless it has been removed: what came of it may be younger."""
    return str(file) if file.is_file() else None
