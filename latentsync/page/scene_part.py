"""The part of the page for several people: its components, and what happens when something in it is touched."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from gradio import processing_utils
from gradio.components import Component

from latentsync.errors import StoppedError
from latentsync.inference.job.people import Person, VideoPeople
from latentsync.page import wording
from latentsync.page.fair_queue import Visitor
from latentsync.page.faults import FaultLog
from latentsync.page.jobs import JobQueue
from latentsync.page.names import shown_name
from latentsync.page.request import LABELS, chosen, uploaded_file
from latentsync.page.scene_script import EDITOR
from latentsync.page.scene_values import (
    SeenPerson,
    SeenVideo,
    brought_files,
    edited_scene,
    opened_scene,
    scene_from_text,
    scene_to_text,
    scene_to_yaml,
)
from latentsync.page.scene_view import account, editor
from latentsync.page.visitors import visitor_of
from latentsync.scene.model import Scene

MOST_PEOPLE = 12  # that have a row: those who are seen for longest
_TITLE = "Several people, or several sounds"


class ScenePart:
    """The components. ``text`` is what a job is given: the scene as ``scene_values`` has it, empty without one."""

    def __init__(self, jobs: JobQueue, faults: FaultLog) -> None:
        self._handlers = SceneHandlers(jobs, faults)
        self.seen = gr.State(None)  # a ``SeenVideo``
        self.text = gr.Textbox("", visible=False, label=LABELS["scene"])
        with gr.Accordion(_TITLE, open=False, visible=False, elem_id="scene-part") as self.part:
            self.line = gr.Markdown("", elem_classes="help", elem_id="scene-line", latex_delimiters=[])
            self.editor = gr.HTML("", js_on_load=EDITOR, elem_id="scene")
            self.account = gr.HTML("", elem_classes="account", elem_id="scene-account")

    def connect(
        self,
        found: Any,
        people: Component,
        video: Component,
        audio: gr.Audio,
        checkpoint: Component,
        moment: Component,
        **quiet: Any,
    ) -> None:
        """``found``: the event after which ``people`` are those of ``video``."""
        handlers, shown = self._handlers, [self.editor, self.account]
        show: dict[str, Any] = {"fn": handlers.show, "inputs": [self.seen, self.text, audio, video], "outputs": shown}
        begun = found.then(
            handlers.begin,
            [video, people, self.seen],
            [self.seen, self.text, self.line, self.part],
            **quiet,
        )
        surveyed = begun.then(**show, **quiet).then(
            handlers.survey, [video, checkpoint, self.seen], [self.seen, self.line], **quiet
        )
        surveyed.then(**show, **quiet)
        audio.change(handlers.say, [self.seen, self.text, audio, video], self.account, **quiet)
        self.editor.apply(
            handlers.edit,
            [self.seen, self.text, audio, video],
            [self.text, self.editor, self.account, moment],
            trigger_mode="multiple",
            **quiet,
        )


class SceneHandlers:
    """As ``handlers.Handlers``: one for all visitors, and values come as they were sent."""

    def __init__(self, jobs: JobQueue, faults: FaultLog) -> None:
        self._jobs, self._faults = jobs, faults

    def begin(
        self, video: Any, people: Sequence[Person], seen: SeenVideo | None, request: gr.Request
    ) -> tuple[Any, ...]:
        """Show the people of a video that was brought; the scene of another one is forgotten: (seen, text, line, part).

        ``seen``: of the video before; without one the page has been opened again, maybe with a scene.
        """
        text = gr.skip() if seen is None else ""
        if video is None or not people:
            return None, text, "", gr.Accordion(visible=False)
        try:
            seconds, fps = self._jobs.video_times(uploaded_file("video", video), visitor(request))
        except StoppedError:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            return None, text, wording.not_taken(self._faults.sentence(error)), gr.Accordion(visible=False)
        rows = [SeenPerson(each.choice, f"Person {n}", _data_url(each.thumbnail)) for n, each in enumerate(people, 1)]
        now = SeenVideo(seconds, fps, tuple(rows))
        return now, text, "", gr.Accordion(visible=True, open=len(people) > 1)

    def survey(
        self, video: Any, checkpoint: Any, seen: SeenVideo | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Find out when each person is seen: (seen, line). Whoever is alone needs no time line."""
        if seen is None or video is None or len(seen.people) < 2:
            yield gr.skip(), gr.skip()
            return
        file = uploaded_file("video", video)
        name = chosen("checkpoint", checkpoint, self._jobs.weights) or next(iter(self._jobs.weights))
        looking = self._jobs.survey(file, name, [each.face for each in seen.people], visitor(request))
        try:
            said = -1
            while True:
                share = next(looking)
                if round(100 * share) != said:
                    said = round(100 * share)
                    yield gr.skip(), wording.LOOKING_WHEN.format(share)
        except StopIteration as end:
            yield with_stretches(seen, end.value), wording.SEEN_WHEN
        except StoppedError:  # another video was brought
            yield gr.skip(), gr.skip()
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            yield gr.skip(), wording.NOT_SEEN_WHEN.format(self._faults.sentence(error, file))

    def show(self, seen: SeenVideo | None, text: Any, audio: Any, video: Any) -> tuple[Any, ...]:
        """The editor, and what the scene comes to."""
        if seen is None:
            return "", ""
        scene = _scene(text)
        return editor(scene, seen), self._account(scene, seen, audio, video)

    def say(self, seen: SeenVideo | None, text: Any, audio: Any, video: Any) -> Any:
        """What the scene comes to with other audio of the whole."""
        return gr.skip() if seen is None else self._account(_scene(text), seen, audio, video)

    def edit(
        self,
        seen: SeenVideo | None,
        text: Any,
        audio: Any,
        video: Any,
        event: gr.EventData,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """Take what the editor shows as the scene: (text, editor, account, moment). What cannot be is said, and put
        back. What the browser has moved itself is not shown anew."""
        message = event._data if isinstance(event._data, dict) else {}
        if seen is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        before, fault, measured = _scene(text), "", []

        def measure(path: Path) -> Fraction:
            file = uploaded_file("scene", path, _uploads())
            measured.append(file)
            return self._jobs.measure_audio(file, visitor(request), instead=False)

        try:
            scene = edited_scene(message, seen, measure)
            if "open" in message:
                file = uploaded_file("scene", message["open"], _uploads())
                scene = opened_scene(file, seen.fps, _known(before, audio))
            result = scene_to_text(scene)
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            scene, fault, result = before, self._faults.sentence(error, *measured), gr.skip()
        anew = not message.get("quiet") or fault
        shown = editor(scene, seen) if anew else gr.skip()
        return result, shown, self._account(scene, seen, audio, video, fault), _moment(message, before, scene, seen)

    def _account(self, scene: Scene, seen: SeenVideo, audio: Any, video: Any, fault: str = "") -> str:
        whole = None if audio is None else uploaded_file("audio", audio)
        name = "" if video is None else shown_name(uploaded_file("video", video))
        text = scene_to_yaml(scene, name) if scene.segments else ""
        return account(scene, seen, whole, text, fault)


def visitor(request: gr.Request) -> Visitor:
    """Who sends a request."""
    scope = request.request.scope if request.request is not None else {}
    return Visitor(visitor_of(scope), request.session_hash or "")


def with_stretches(seen: SeenVideo, found: VideoPeople) -> SeenVideo:
    """The people of a first look with what the look at all frames has found, and those that the first has missed.

    Two of the first who are one person are one.
    """
    rows: list[SeenPerson] = []
    places: list[int] = []
    for person in seen.people:
        place = found.named.get(person.face)
        if place is None:
            rows.append(person)
        elif place not in places:
            places.append(place)
            rows.append(replace(person, stretches=tuple(found.members[place].stretches)))
    longest = sorted(range(len(found.members)), key=lambda place: found.members[place].seconds, reverse=True)
    for place in [each for each in longest if each not in places][: max(0, MOST_PEOPLE - len(rows))]:
        member = found.members[place]
        assert member.clearest is not None  # it has been seen
        image = _data_url(member.clearest.image)
        rows.append(SeenPerson(member.choice, f"Person {len(rows) + 1}", image, tuple(member.stretches)))
    return replace(seen, people=tuple(rows))


def _data_url(pixels: np.ndarray) -> str:
    """An image (h, w, 3) uint8 RGB as a data URL."""
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _scene(text: Any) -> Scene:
    return scene_from_text(text) if isinstance(text, str) and text else Scene((), ())


def _uploads() -> Path:
    return Path(processing_utils.get_upload_folder())


def _known(scene: Scene, audio: Any) -> dict[str, Path]:
    """Name -> an audio file that was brought to this page."""
    return brought_files([*scene.files(), *([] if audio is None else [uploaded_file("audio", audio)])], _uploads())


def _moment(message: dict[str, Any], before: Scene, scene: Scene, seen: SeenVideo) -> Any:
    """The slider for the second that is tried: where the time line was touched, or in the middle of what is new."""
    most = max(round(float(seen.seconds), 1), 0.1)
    touched = message.get("moment")
    if isinstance(touched, (int, float)) and not isinstance(touched, bool) and 0 <= touched <= most:
        return gr.Slider(maximum=most, value=round(touched, 1))
    new = next((each for each in scene.segments if each not in before.segments), None)
    if new is None:
        return gr.skip()
    return gr.Slider(maximum=most, value=round(float(new.start + new.end_in(seen.seconds)) / 2, 1))
