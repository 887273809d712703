"""The page from top to bottom: files, people, settings, one second, the whole, the comparison."""

from __future__ import annotations

import gradio as gr

from latentsync.inference.presets import DEFAULT_SEED, PRESETS
from latentsync.inference.timeline import LengthMode
from latentsync.page import wording
from latentsync.page.handlers import LARGEST, Handlers
from latentsync.page.jobs import PREVIEW_SECONDS, QUALITIES, QUEUE_LENGTH, RANDOM_SEED, JobQueue
from latentsync.page.theme import FORGET_FAILURE, PLAY_BOTH
from latentsync.page.visitors import CLEANING_INTERVAL, VisitorFolders


def build_page(studio: JobQueue, folders: VisitorFolders, keep_seconds: int, preset: str | None = None) -> gr.Blocks:
    """The page over ``studio``, not yet served. Files are kept for ``keep_seconds``."""
    return Page(studio, folders, keep_seconds, preset).blocks


class Page:
    """The components, and which handler each of them calls."""

    def __init__(self, studio: JobQueue, folders: VisitorFolders, keep_seconds: int, preset: str | None) -> None:
        self._studio = studio
        self._handlers = Handlers(studio, folders)
        self._first_checkpoint = next(iter(studio.weights))
        self._preset = preset or self._handlers.suit_preset(self._first_checkpoint)
        self.blocks = gr.Blocks(
            title="LatentSync", analytics_enabled=False, delete_cache=(CLEANING_INTERVAL, keep_seconds)
        )
        with self.blocks:
            self._head(keep_seconds)
            with gr.Row():
                with gr.Column(min_width=320):
                    self._files()
                with gr.Column(min_width=320):
                    self._people()
                    self._settings()
                    self._actions()
            self._results()
            self._connect()
        self.blocks.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=4)

    def _head(self, keep_seconds: int) -> None:
        gr.Markdown("# LatentSync\nGive a video another sound: the mouth follows it, the rest stays.", elem_id="title")
        self.models = gr.Markdown(
            self._handlers.describe_models(self._first_checkpoint), elem_classes="help", elem_id="models"
        )
        gr.Markdown(
            f"{self._studio.limits.describe()} Files stay on this server for {wording.duration(keep_seconds)} at most. "
            "Use it on people who agreed to it, and say that a video was changed.",
            elem_classes="help",
        )

    def _files(self) -> None:
        self.video = gr.Video(label="1. Video", sources=["upload", "webcam"], elem_id="video")
        gr.Markdown(wording.VIDEO_HELP, elem_classes="help")
        self.audio = gr.Audio(
            label="2. Sound",
            sources=["upload", "microphone"],
            type="filepath",
            editable=False,
            buttons=[],
            elem_id="audio",
        )
        self.sound_line = gr.Markdown(wording.SOUND_HELP, elem_classes="help", elem_id="sound-line")
        self.film = gr.UploadButton("Take the sound of a film", file_types=["video"], size="sm", elem_id="film")
        if self._studio.examples:
            gr.Examples(
                [[str(example.video), str(example.audio)] for example in self._studio.examples],
                [self.video, self.audio],
                example_labels=[example.name for example in self._studio.examples],
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
        self.people_line = gr.Markdown(wording.NO_VIDEO_YET, elem_classes="help", elem_id="people-line")
        self.face = gr.Dropdown(
            [LARGEST],
            value=LARGEST[1],
            label="3. Who speaks",
            info="Click a face, or choose here; X,Y@SECONDS names a point in the picture.",
            allow_custom_value=True,
            elem_id="face",
        )

    def _settings(self) -> None:
        self.preset = gr.Dropdown(
            [(wording.preset(name), name) for name in PRESETS],
            value=self._preset,
            label="Preset",
            info="How much work goes into each frame; more takes longer.",
            elem_id="preset",
        )
        self.length = gr.Dropdown(
            [(wording.LENGTHS[mode.value], mode.value) for mode in LengthMode],
            value=LengthMode.PINGPONG.value,
            label="If the video is shorter or longer than the sound",
            info="A longer video ends with the sound, except with the last two.",
            elem_id="length",
        )
        with gr.Accordion("More settings", open=False, elem_id="more"):
            self.checkpoint = gr.Dropdown(
                list(self._studio.weights),
                value=self._first_checkpoint,
                label="Models",
                info="Another choice is loaded with the next job, in place of the last.",
                elem_id="checkpoint",
            )
            with gr.Row():
                self.steps = gr.Number(
                    0,
                    label="Steps",
                    info="More take longer; 0: as the preset says.",
                    minimum=0,
                    maximum=200,
                    precision=0,
                    elem_id="steps",
                )
                self.guidance = gr.Number(
                    0,
                    label="Guidance (hold of the sound)",
                    info="1 to 3; 0: as the preset says.",
                    minimum=0,
                    maximum=10,
                    step=0.1,
                    elem_id="guidance",
                )
            with gr.Row():
                self.seed = gr.Number(
                    DEFAULT_SEED,
                    label="Seed",
                    info=f"Changes the result; {RANDOM_SEED} draws one.",
                    precision=0,
                    minimum=RANDOM_SEED,
                    elem_id="seed",
                )
                self.quality = gr.Dropdown(
                    list(QUALITIES),
                    value=next(iter(QUALITIES)),
                    label="Quality of the file",
                    info="Smaller files lose detail everywhere.",
                    elem_id="quality",
                )

    def _actions(self) -> None:
        self.moment = gr.Slider(
            0,
            10,
            value=0,
            step=0.1,
            label="Moment to try",
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
                player = {"interactive": False, "buttons": [], "height": 400, "min_width": 300}
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
            self.words = gr.Markdown(label="Report", elem_id="report")
            with gr.Accordion("All figures", open=False):
                self.figures = gr.JSON(label="Figures")

    def _connect(self) -> None:
        handlers, private = self._handlers, {"api_visibility": "private"}
        self.video.change(
            handlers.look,
            [self.video, self.checkpoint],
            [self.people_line, self.gallery, self.face, self.people],
            show_progress_on=self.people_line,
            concurrency_id="eyes",
            **private,
        )
        heard = [self.sound_line, self.moment]
        self.audio.change(handlers.listen, self.audio, heard, show_progress="hidden", **private)
        brought = [self.video.change, self.audio.change]
        gr.on(brought, None, self.status, self.status, js=FORGET_FAILURE, **private)
        self.film.upload(lambda film: film, self.film, self.audio, show_progress="hidden", **private)
        self.gallery.select(handlers.pick, self.people, self.face, show_progress="hidden", **private)
        self.checkpoint.change(handlers.describe_models, self.checkpoint, self.models, **private)
        self.checkpoint.change(handlers.suit_preset, self.checkpoint, self.preset, **private)
        self.play.click(None, js=PLAY_BOTH, **private)
        choices = [self.checkpoint, self.preset, self.steps, self.guidance, self.seed, self.length, self.quality]
        whole = [self.video, self.audio, *choices, self.face]
        second = [self.video, self.audio, self.moment, *choices, self.face]
        results = [self.result, self.words, self.figures]
        shared = {"concurrency_id": "network", "concurrency_limit": None}  # the studio has a queue of its own
        visible = {
            "outputs": [*results, self.status, self.stop, self.get_video, self.get_figures],
            "show_progress": "minimal",
            "show_progress_on": self.status,
        }
        self.try_it.click(handlers.show_preview, second, **visible, **shared, **private)
        self.run.click(handlers.show_dub, whole, **visible, **shared, **private)
        self.result.change(lambda video: video, self.video, self.source, show_progress="hidden", **private)
        programs = gr.Button(visible=False)  # what programs call has no other trigger
        programs.click(handlers.preview, second, results, api_name="preview", **shared)
        programs.click(handlers.dub, whole, results, api_name="dub", **shared)
        self.stop.click(handlers.stop, show_progress="hidden", queue=False, **private)
