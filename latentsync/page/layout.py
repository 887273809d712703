"""The page from top to bottom: files, people, settings, one second, the whole, the comparison."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from latentsync.inference.options import DEFAULT_SEED, PRESETS
from latentsync.inference.timeline import LengthMode
from latentsync.page import wording
from latentsync.page.blocks import PageBlocks
from latentsync.page.choices import what_is_shown
from latentsync.page.faults import FaultLog
from latentsync.page.handlers import LARGEST_FACE, Handlers
from latentsync.page.jobs import PREVIEW_SECONDS, JobQueue
from latentsync.page.request import (
    DUB_FIELDS,
    LABELS,
    MOST_GUIDANCE,
    MOST_STEPS,
    PREVIEW_FIELDS,
    QUALITIES,
    RANDOM_SEED,
)
from latentsync.page.scene_part import ScenePart
from latentsync.page.script import FIND_JOB, FORGET_FAILURE, PLAY_BOTH
from latentsync.page.visitors import CLEANING_INTERVAL, VisitorFolders

EVENTS_WAITING = 64  # that Gradio holds before it looks at them; jobs wait in the queue of ``JobQueue`` instead

EVENTS_KEPT = 100  # that Gradio remembers for statistics, which nobody sees


def build_page(jobs: JobQueue, folders: VisitorFolders, keep_seconds: int, preset: str | None = None) -> PageBlocks:
    """The page over ``jobs``, not yet served. Files are kept for ``keep_seconds``."""
    return Page(jobs, folders, keep_seconds, preset).blocks


class Page:
    """The components, and which handler each of them calls."""

    def __init__(self, jobs: JobQueue, folders: VisitorFolders, keep_seconds: int, preset: str | None) -> None:
        self._jobs = jobs
        faults = FaultLog()
        self._handlers = Handlers(jobs, folders, faults)
        self._first_checkpoint = next(iter(jobs.weights))
        self._preset = preset or self._handlers.suit_preset(self._first_checkpoint)
        self.blocks = PageBlocks(
            faults, title="LatentSync", analytics_enabled=False, delete_cache=(CLEANING_INTERVAL, keep_seconds)
        )
        with self.blocks:
            self._head(keep_seconds)
            with gr.Row():
                with gr.Column(min_width=320):
                    self._files()
                with gr.Column(min_width=320):
                    self._people()
                    self.scene = ScenePart(self._jobs, self._handlers.faults)
                    self._settings()
                    self._actions()
            self._results()
            self._connect()
        self.blocks.queue(max_size=EVENTS_WAITING, default_concurrency_limit=4)
        self.blocks._queue.ANALYTICS_MAX_EVENTS = EVENTS_KEPT  # all are counted again after each

    def _head(self, keep_seconds: int) -> None:
        gr.Markdown("# LatentSync\nGive a video another sound: the mouth follows it, the rest stays.", elem_id="title")
        self.models = gr.Markdown(
            self._handlers.describe_models(self._first_checkpoint),
            elem_classes="help",
            elem_id="models",
            latex_delimiters=[],
        )
        gr.Markdown(
            f"{self._jobs.limits.describe()} Files stay on this server for {wording.duration(keep_seconds)} at most. "
            "Use it on people who agreed to it, and say that a video was changed.",
            elem_classes="help",
        )

    def _files(self) -> None:
        self.video = gr.Video(label=f"1. {LABELS['video']}", sources=["upload", "webcam"], elem_id="video")
        gr.Markdown(wording.VIDEO_HELP, elem_classes="help")
        self.audio = gr.Audio(
            label=f"2. {LABELS['audio']}",
            sources=["upload", "microphone"],
            type="filepath",
            editable=False,
            buttons=[],
            elem_id="audio",
        )
        self.audio_line = gr.Markdown(
            wording.AUDIO_HELP, elem_classes="help", elem_id="audio-line", latex_delimiters=[]
        )
        self.audio_source = gr.UploadButton(
            "Take the sound of a video", file_types=["video"], size="sm", elem_id="audio-source"
        )
        if self._jobs.examples:
            gr.Examples(
                [[str(example.video), str(example.audio)] for example in self._jobs.examples],
                [self.video, self.audio],
                example_labels=[example.name for example in self._jobs.examples],
                label="Or take what comes with the page",
                elem_id="examples",
                api_visibility="private",
            )

    def _people(self) -> None:
        self.people = gr.State([])  # what each thumbnail stands for
        self.gallery = gr.Gallery(
            label="People in the video",
            columns=4,
            fit_columns=False,
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            visible=False,
            elem_id="people",
        )
        self.people_line = gr.Markdown(
            wording.NO_VIDEO_YET, elem_classes="help", elem_id="people-line", latex_delimiters=[]
        )
        self.face = gr.Dropdown(
            [LARGEST_FACE],
            value=LARGEST_FACE[1],
            label=f"3. {LABELS['face']}",
            info="Click a face, or choose here; X,Y@SECONDS names a point in the picture.",
            allow_custom_value=True,
            elem_id="face",
        )

    def _settings(self) -> None:
        self.preset = gr.Dropdown(
            [(wording.preset(name), name) for name in PRESETS],
            value=self._preset,
            label=LABELS["preset"],
            info="How much work goes into each frame; more takes longer.",
            elem_id="preset",
        )
        self.length = gr.Dropdown(
            [(wording.LENGTHS[mode.value], mode.value) for mode in LengthMode],
            value=LengthMode.PINGPONG.value,
            label=LABELS["length"],
            info="A longer video ends with the sound, except with the last two.",
            elem_id="length",
        )
        self.choices = what_is_shown()
        with gr.Accordion("More settings", open=False, elem_id="more"):
            self.checkpoint = gr.Dropdown(
                list(self._jobs.weights),
                value=self._first_checkpoint,
                label=LABELS["checkpoint"],
                info="Another choice is loaded with the next job, in place of the last.",
                elem_id="checkpoint",
            )
            with gr.Row():
                self.steps = gr.Number(
                    0,
                    label=LABELS["steps"],
                    info="More take longer; 0: as the preset says.",
                    minimum=0,
                    maximum=MOST_STEPS,
                    precision=0,
                    elem_id="steps",
                )
                self.guidance = gr.Number(
                    0,
                    label=LABELS["guidance_scale"],
                    info="1 to 3; 0: as the preset says.",
                    minimum=0,
                    maximum=MOST_GUIDANCE,
                    step=0.1,
                    elem_id="guidance",
                )
            with gr.Row():
                self.seed = gr.Number(
                    DEFAULT_SEED,
                    label=LABELS["seed"],
                    info=f"Changes the result; {RANDOM_SEED} draws one.",
                    precision=0,
                    minimum=RANDOM_SEED,
                    elem_id="seed",
                )
                self.quality = gr.Dropdown(
                    list(QUALITIES),
                    value=next(iter(QUALITIES)),
                    label=LABELS["quality"],
                    info="Smaller files lose detail everywhere.",
                    elem_id="quality",
                )

    def _actions(self) -> None:
        self.moment = gr.Slider(
            0,
            10,
            value=0,
            step=0.1,
            label=LABELS["moment"],
            info=f"Second of the result around which {PREVIEW_SECONDS:g} s is dubbed first.",
            elem_id="moment",
        )
        with gr.Row(elem_classes="actions"):
            self.try_it = gr.Button("Try one second", min_width=120, elem_id="try")
            self.run = gr.Button("Dub the video", variant="primary", min_width=120, elem_id="run")
            self.stop = gr.Button("Stop", variant="stop", interactive=False, min_width=120, elem_id="stop")
        self.status = gr.HTML(wording.status(wording.IDLE, kind="idle"), elem_id="status")

    def _results(self) -> None:
        with gr.Column(elem_id="results"):
            with gr.Row():
                player: dict[str, Any] = {"interactive": False, "buttons": [], "height": 400, "min_width": 300}
                self.source = gr.Video(label="Source", elem_id="source", **player)
                self.result = gr.Video(label="Result", elem_id="result", **player)
            with gr.Row(elem_classes="actions"):
                self.play = gr.Button("Play both", elem_id="play")
                self.get_video = gr.DownloadButton("Download the video", elem_id="get-video")
                self.get_figures = gr.DownloadButton("Download the report", elem_id="get-report")
            gr.Markdown(
                "Both play from the start of what was dubbed, with the sound of the result. The report is a JSON file.",
                elem_classes="help",
            )
            self.words = gr.Markdown(label="Report", elem_id="report", latex_delimiters=[])
            with gr.Accordion("Overview, one row a second", open=False, elem_id="overview-part"):
                self.overview = gr.Image(
                    label="Source, result, and what was painted",
                    type="filepath",
                    interactive=False,
                    buttons=[],
                    elem_id="overview",
                )
            with gr.Accordion("All figures", open=False):
                self.figures = gr.JSON(label="Figures")

    def _connect(self) -> None:
        # Values reach the handlers as they were sent: these say of each field what is wrong with it.
        handlers = self._handlers
        private: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
        quiet: dict[str, Any] = {"show_progress": "hidden", **private}
        shared: dict[str, Any] = {
            "concurrency_id": "jobs",
            "concurrency_limit": None,
        }  # what is long has a queue of its own
        found = self.video.change(
            handlers.find_people,
            [self.video, self.checkpoint, self.face],
            [self.people_line, self.gallery, self.face, self.people],
            show_progress_on=self.people_line,
            **shared,
            **private,
        )
        self.scene.connect(found, self.people, self.video, self.audio, self.checkpoint, self.moment, **shared, **quiet)
        self.audio.change(handlers.measure_audio, self.audio, [self.audio_line, self.moment], **shared, **quiet)
        gr.on([self.video.change, self.audio.change], None, self.status, self.status, js=FORGET_FAILURE, **private)
        self.audio_source.upload(handlers.take_audio, self.audio_source, self.audio, **quiet)
        self.gallery.select(handlers.choose_person, self.people, self.face, **quiet)
        self.checkpoint.change(handlers.describe_models, self.checkpoint, self.models, **private)
        self.checkpoint.input(handlers.suit_preset, self.checkpoint, self.preset, **private)
        self.play.click(None, js=PLAY_BOTH, **private)
        inputs: dict[str, Component] = {
            "video": self.video,
            "audio": self.audio,
            "moment": self.moment,
            "checkpoint": self.checkpoint,
            "preset": self.preset,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "seed": self.seed,
            "length": self.length,
            "quality": self.quality,
            "face": self.face,
            **self.choices,
            "scene": self.scene.text,
        }
        self.blocks.fields = {component: name for name, component in inputs.items()} | {self.audio_source: "audio"}
        whole, second = [inputs[name] for name in DUB_FIELDS], [inputs[name] for name in PREVIEW_FIELDS]
        results = [self.result, self.words, self.figures]
        shown = [*results, self.status, self.stop, self.get_video, self.get_figures, self.source, self.overview]
        visible: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": self.status, **shared, **private}
        self.try_it.click(handlers.show_preview, second, shown, **visible)
        self.run.click(handlers.show_dub, whole, shown, **visible)
        named = [gr.Textbox(visible=False), gr.Checkbox(visible=False)]  # whose values come from the browser
        self.blocks.load(handlers.come_back, named, [*shown, *whole], js=FIND_JOB, **visible)
        programs = gr.Button(visible=False)  # what programs call has no other trigger
        programs.click(handlers.preview, second, results, api_name="preview", preprocess=False, **shared)
        programs.click(handlers.dub, whole, results, api_name="dub", preprocess=False, **shared)
        self.stop.click(handlers.stop, queue=False, **quiet)
