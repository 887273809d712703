"""What happens when something on the page is touched: from values of components to a job, and back."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from latentsync.errors import ConfigError, LatentSyncError, StoppedError
from latentsync.inference.presets import BUILTIN_PRESET, DEFAULT_PRESET
from latentsync.page import wording
from latentsync.page.jobs import JobQueue, JobRequest, Outcome
from latentsync.page.visitors import VisitorFolders

LARGEST = ("The largest face", "largest")
log = logging.getLogger(__name__)


class Handlers:
    """One for all visitors: what belongs to a visitor is in the arguments."""

    def __init__(self, studio: JobQueue, folders: VisitorFolders) -> None:
        self._studio, self._folders = studio, folders

    def look(self, video: str | None, checkpoint: str):
        """Thumbnails of the people in a video, and what can be chosen from: (line, gallery, list, values)."""
        if video is None:
            return wording.NO_VIDEO_YET, *_nobody()
        with _in_words(Path(video)) as words:
            people = self._studio.people(Path(video), checkpoint)
            names = [(f"Person {n}, from {p.time:.1f} s", p.choice) for n, p in enumerate(people, 1)]
            pictures = [(p.thumbnail, f"Person {n}") for n, p in enumerate(people, 1)]
            line, values = wording.people_found(len(people)), [value for _, value in names]
            return line, gr.Gallery(pictures, visible=bool(people)), _list_of(names), values
        return wording.not_taken(words.line), *_nobody()

    def pick(self, people: list[str], event: gr.SelectData) -> str:
        """The thumbnail that was clicked, as a choice."""
        return people[event.index]

    def listen(self, audio: str | None):
        """Let the slider for the moment to try reach to the end of the sound: (line, slider)."""
        if audio is None:
            return wording.SOUND_HELP, gr.skip()
        with _in_words(Path(audio)) as words:
            seconds = self._studio.sound_seconds(Path(audio))
            slider = gr.Slider(maximum=max(round(seconds, 1), 0.1), value=round(seconds / 2, 1))
            return wording.SOUND_HELP, slider
        return wording.not_taken(words.line), gr.skip()

    def describe_models(self, checkpoint: str) -> str:
        """What a checkpoint is, in words."""
        return wording.models(checkpoint, self._studio.weights[checkpoint].are_builtin)

    def suit_preset(self, checkpoint: str) -> str:
        """The preset that a checkpoint is made for."""
        return BUILTIN_PRESET if self._studio.weights[checkpoint].are_builtin else DEFAULT_PRESET

    def stop(self, request: gr.Request) -> None:
        """End the visitor's work. The stream of its progress says so last: another answer here could be overtaken."""
        if request.session_hash:
            self._studio.stop(request.session_hash)

    def show_dub(self, request: gr.Request, *values) -> Iterator[tuple[Any, ...]]:
        """Dub a whole video, for the eyes of a visitor."""
        video, audio, *choices = values
        yield from self._show(request, video, audio, None, choices)

    def show_preview(self, request: gr.Request, *values) -> Iterator[tuple[Any, ...]]:
        """Dub one second, for the eyes of a visitor."""
        video, audio, moment, *choices = values
        yield from self._show(request, video, audio, moment, choices)

    def dub(
        self,
        video: str | None,
        audio: str | None,
        checkpoint: str,
        preset: str,
        steps: float,
        guidance_scale: float,
        seed: float,
        length: str,
        quality: str,
        face: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Dub a whole video. Gives the result, an account in words (at first: how far it is), and one in figures."""
        choices = [checkpoint, preset, steps, guidance_scale, seed, length, quality, face]
        yield from self._tell(request, video, audio, None, choices)

    def preview(
        self,
        video: str | None,
        audio: str | None,
        moment: float,
        checkpoint: str,
        preset: str,
        steps: float,
        guidance_scale: float,
        seed: float,
        length: str,
        quality: str,
        face: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Dub one second around a moment (s) of the result; the rest as for the whole video."""
        choices = [checkpoint, preset, steps, guidance_scale, seed, length, quality, face]
        yield from self._tell(request, video, audio, moment, choices)

    def _tell(self, *job) -> Iterator[tuple[Any, ...]]:
        with _in_words(*_paths(job)) as words, closing(self._perform(*job)) as reports:
            for report in reports:
                if isinstance(report, Outcome):
                    yield str(report.video), wording.report(report.report, report.start), report.figures
                else:
                    yield gr.skip(), wording.line(report), gr.skip()
            return
        raise words.error

    def _show(self, *job) -> Iterator[tuple[Any, ...]]:
        with _in_words(*_paths(job)) as words, closing(self._perform(*job)) as reports:
            for report in reports:
                yield _finished(report) if isinstance(report, Outcome) else _unfinished(wording.progress(report))
            return
        yield _unfinished(wording.status(words.line, kind=words.kind), running=False)

    def _perform(self, request: gr.Request, video: str | None, audio: str | None, moment: float | None, choices):
        if video is None or audio is None:
            raise ConfigError("A video and a sound are needed.", remedy="Upload both, or take the example.")
        checkpoint, preset, steps, guidance_scale, seed, length, quality, face = choices
        wish = JobRequest(
            video=Path(video),
            audio=Path(audio),
            checkpoint=checkpoint,
            preset=preset,
            steps=int(steps) or None,
            guidance_scale=guidance_scale or None,
            seed=int(seed),
            length=length,
            quality=quality,
            face=face,
            moment=moment,
        )
        visitor = request.session_hash or ""
        return self._studio.perform(wish, self._folders.new_job(visitor), visitor)


class _Words:
    """What went wrong, as a ``line`` for the page and as an ``error`` for programs that call it."""

    line = ""
    kind = "failed"  # of ``wording.status``

    @property
    def error(self) -> gr.Error:
        """Gradio may show the message as HTML: names of files must not be read as tags."""
        return gr.Error(html.escape(self.line, quote=False), print_exception=False)


@contextmanager
def _in_words(*paths: Path) -> Iterator[_Words]:
    """Turn what a visitor can mend into a sentence, and a bug of ours into another one and an entry in the log.

    The block is left in both cases; what comes after it says what has to be said.
    """
    words = _Words()
    try:
        yield words
    except StoppedError as error:
        words.line, words.kind = error.message, "idle"
    except LatentSyncError as error:
        words.line = wording.sentence(error, *paths)
    except Exception:  # noqa: BLE001  the page lives on, and says so
        log.exception("a fault of the program")
        words.line = wording.FAULT


def _paths(job: tuple[Any, ...]) -> list[Path]:
    """The visitor's files in the arguments of ``Handlers._perform``."""
    return [Path(value) for value in job[1:3] if value is not None]


def _nobody() -> tuple[gr.Gallery, gr.Dropdown, list[str]]:
    return gr.Gallery([], visible=False), _list_of([]), []


def _list_of(names: list[tuple[str, str]]) -> gr.Dropdown:
    return gr.Dropdown(choices=[LARGEST, *names], value=LARGEST[1])


def _unfinished(status: str, running: bool = True) -> tuple[Any, ...]:
    """In the order of the outputs: result, words, figures, status, button that stops, the two downloads."""
    nothing = gr.skip()
    return nothing, nothing, nothing, status, gr.Button(interactive=running), nothing, nothing


def _finished(outcome: Outcome) -> tuple[Any, ...]:
    return (
        str(outcome.video),
        wording.report(outcome.report, outcome.start),
        outcome.figures,
        wording.status(wording.DONE, kind="done", start=outcome.start),
        gr.Button(interactive=False),
        gr.DownloadButton(value=str(outcome.video)),
        gr.DownloadButton(value=str(outcome.figures_file)),
    )
