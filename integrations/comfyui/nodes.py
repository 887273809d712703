"""The nodes *LatentSync Load*, *LatentSync Dub* and *LatentSync People*, for ComfyUI's V3 interface.

Videos come and go as files: no frame passes through ComfyUI. Inputs of *Dub* have the names of ComfyUI's own node for
sync.so, so a workflow for that one is changed by putting this one in its place. The package ``latentsync`` must be
installed in ComfyUI's Python; nothing is installed or fetched at run time.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import ComfyExtension, InputImpl, io

from latentsync.errors import LatentSyncError, NoFaceError, StoppedError
from latentsync.inference.job.people import Person, find_people
from latentsync.inference.job.progress import RunControl
from latentsync.inference.options import DEFAULT_SEED, PRESETS
from latentsync.inference.timeline import SYNC_MODES
from latentsync.library import Pipeline, load
from latentsync.media.probe import probe_video

CATEGORY = "video/LatentSync"
AUTO, COORDINATES, LARGEST = "auto-detect", "coordinates", "default"
USUAL = "as the weights need"  # the preset that is theirs
MOST = 2**31 - 1

LatentSyncModel = io.Custom("LATENTSYNC_MODEL")


class LatentSyncLoad(io.ComfyNode):
    """Loads the networks once for all dubs of a workflow."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentSyncLoad",
            display_name="LatentSync Load",
            category=CATEGORY,
            description="Loads the networks: the published weights where they are, else the small built-in ones.",
            inputs=[
                io.String.Input("weights", default="", optional=True, tooltip="Their folder; empty: the usual one"),
                io.Combo.Input("preset", options=[USUAL, *PRESETS], default=USUAL, optional=True),
                io.String.Input("device", default="auto", optional=True, tooltip="auto, cpu, cuda, cuda:1, mps"),
            ],
            outputs=[LatentSyncModel.Output("model", display_name="model")],
        )

    @classmethod
    def execute(cls, weights: str = "", preset: str = USUAL, device: str = "auto") -> io.NodeOutput:
        with said_plainly():
            return io.NodeOutput(load(weights or None, preset=None if preset == USUAL else preset, device=device))


class LatentSyncDub(io.ComfyNode):
    """Makes the mouth in a video follow other audio."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentSyncDub",
            display_name="LatentSync Dub",
            category=CATEGORY,
            description="Makes the mouth in the video follow the audio; everything else stays as it is.",
            inputs=[
                io.Video.Input("video", tooltip="The person who is to speak"),
                io.Audio.Input("audio", tooltip="What is to be spoken"),
                LatentSyncModel.Input("model"),
                io.Int.Input("seed", default=DEFAULT_SEED, min=0, max=MOST, control_after_generate=True),
                io.Combo.Input(
                    "sync_mode",
                    options=list(SYNC_MODES),
                    default="bounce",
                    tooltip="Where audio and video differ in length: bounce and loop repeat the video, cut_off ends "
                    "with the video, silence fills up the audio, remap plays the video at another speed",
                ),
                io.Combo.Input(
                    "speaker_selection",
                    options=[LARGEST, AUTO, COORDINATES],
                    default=LARGEST,
                    optional=True,
                    tooltip="default and auto-detect: the largest face. coordinates: the face at a point of a frame",
                ),
                io.Int.Input("speaker_frame", default=0, min=0, max=MOST, optional=True, tooltip="Frame, from 0"),
                io.Int.Input("speaker_x", default=0, min=0, max=MOST, optional=True, tooltip="Pixels from the left"),
                io.Int.Input("speaker_y", default=0, min=0, max=MOST, optional=True, tooltip="Pixels from the top"),
            ],
            outputs=[io.Video.Output("video", display_name="video")],
        )

    @classmethod
    def execute(
        cls,
        video: Any,
        audio: dict[str, Any],
        model: Pipeline,
        seed: int,
        sync_mode: str,
        speaker_selection: str = LARGEST,
        speaker_frame: int = 0,
        speaker_x: int = 0,
        speaker_y: int = 0,
    ) -> io.NodeOutput:
        output = new_file(".mp4")
        with said_plainly(), video_file(video) as source, audio_file(audio) as speech:
            face = "largest"
            if speaker_selection == COORDINATES:
                face = f"{speaker_x},{speaker_y}@{float(speaker_frame / probe_video(source).fps):.4f}"
            options = replace(model.options(), seed=seed, length=SYNC_MODES[sync_mode], face=face)
            model.dub(source, speech, output, options=options, overwrite=True, control=linked_control())
        return io.NodeOutput(InputImpl.VideoFromFile(str(output)))


class LatentSyncPeople(io.ComfyNode):
    """Finds the people in a video, so that one of them can be chosen."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentSyncPeople",
            display_name="LatentSync People",
            category=CATEGORY,
            description="Images of the people in a video, from left to right, and where one of them is: connect "
            "speaker_frame, speaker_x and speaker_y with Dub, and choose coordinates there.",
            inputs=[
                io.Video.Input("video"),
                LatentSyncModel.Input("model"),
                io.Int.Input("person", default=0, min=0, max=99, tooltip="Which one, from 0"),
            ],
            outputs=[
                io.Image.Output("images", display_name="images"),
                io.Int.Output("speaker_frame", display_name="speaker_frame"),
                io.Int.Output("speaker_x", display_name="speaker_x"),
                io.Int.Output("speaker_y", display_name="speaker_y"),
            ],
        )

    @classmethod
    def execute(cls, video: Any, model: Pipeline, person: int) -> io.NodeOutput:
        with said_plainly(), video_file(video) as source:
            people = find_people(source, model.choice.weights, model.detector, model.device, networks=model.networks)
            if person >= len(people):
                raise NoFaceError(
                    f"The video shows {len(people)} people, and no number {person}.", remedy="They are counted from 0."
                )
            frame, x, y = place_of(people[person], float(probe_video(source).fps))
        images = np.stack([each.thumbnail for each in people]).astype(np.float32) / 255
        return io.NodeOutput(torch.from_numpy(images), frame, x, y)


class LatentSyncExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LatentSyncLoad, LatentSyncDub, LatentSyncPeople]


async def comfy_entrypoint() -> LatentSyncExtension:
    """Called by ComfyUI when it loads this folder."""
    return LatentSyncExtension()


def place_of(person: Person, fps: float) -> tuple[int, int, int]:
    """The number of the frame, and the pixel in it, where a person is."""
    point, _, seconds = person.choice.partition("@")
    x, y = point.split(",")
    return round(float(seconds) * fps), round(float(x)), round(float(y))


def new_file(suffix: str) -> Path:
    """The name of a new file in ComfyUI's folder for what need not stay."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"latentsync_{uuid4().hex}{suffix}"


@contextmanager
def video_file(video: Any) -> Iterator[Path]:
    """The file of a VIDEO; one that has none is written for as long as the block lasts."""
    source = video.get_stream_source()
    if isinstance(source, str):
        yield Path(source)
        return
    path = new_file(".mp4")
    try:
        path.write_bytes(source.getbuffer())
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def audio_file(audio: dict[str, Any]) -> Iterator[Path]:
    """A WAV file of an AUDIO: ``waveform`` (1, channels, n) in [-1, 1], and ``sample_rate``."""
    samples = (audio["waveform"][0].clamp(-1, 1) * 32767).round().to(torch.int16).T.contiguous().cpu().numpy()
    path = new_file(".wav")
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(int(audio["sample_rate"]))
            file.writeframes(samples.astype("<i2").tobytes())
        yield path
    finally:
        path.unlink(missing_ok=True)


def linked_control() -> RunControl:
    """A run that shows its progress in ComfyUI, and ends when the user stops the workflow there."""
    bar: list[Any] = []

    def update(stage: str, done: int, total: int) -> None:
        if not bar or bar[0].total != total:
            bar[:] = [comfy.utils.ProgressBar(total)]
        bar[0].update_absolute(done, total)
        if comfy.model_management.processing_interrupted():
            control.stop()

    control = RunControl(update)
    return control


@contextmanager
def said_plainly() -> Iterator[None]:
    """Errors as ComfyUI shows them: one that the user can mend is a sentence with its remedy, and a stop is a stop."""
    try:
        yield
    except StoppedError as error:
        raise comfy.model_management.InterruptProcessingException from error
    except LatentSyncError as error:
        raise RuntimeError(str(error)) from error
