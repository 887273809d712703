"""The program as a library: networks that are loaded once, and dubs from Python (docs/library.md).

    import latentsync

    pipeline = latentsync.load()
    pipeline.dub("in.mp4", "speech.wav", "out.mp4")

Everything that the command line can do is a ``DubRequest``; ``Pipeline.request`` makes one and ``Pipeline.run`` takes
one. Frames instead of files come out of ``Pipeline.frames``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.checkpoint import AdapterChoice
from latentsync.inference.job.dub import OnNote, dub
from latentsync.inference.job.networks import KeptNetworks, NetworkChoice
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.report import RunReport
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions, apply_preset
from latentsync.inference.weights import WeightPaths, model_settings
from latentsync.runtime.device import choose_devices
from latentsync.types import Frame, VideoSource

if TYPE_CHECKING:
    import numpy as np

    from latentsync.diffusion.settings import SamplerSettings
    from latentsync.inference.weights import ModelSettings

PathLike = str | os.PathLike[str]


def load(
    weights: PathLike | None = None,
    *,
    checkpoint: PathLike | None = None,
    unet_config: PathLike | None = None,
    adapter: PathLike | AdapterChoice | None = None,
    preset: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    detector: str = "auto",
    compiled: bool = False,
) -> Pipeline:
    """Load the networks.

    ``weights``: the folder of all weights; None: the usual one (``places.WEIGHTS``), or the built-in models if nothing
    is there. ``checkpoint``: other weights for the U-Net; ``unet_config``: its YAML file, where the weights do not say
    what they are. ``adapter``: a file of `latentsync adapt`, also with a strength as 'person.safetensors:0.7'.
    ``preset``, ``steps`` and ``guidance_scale``: see ``inference.options.apply_preset``. ``device``:
    'auto', a torch device, or several with commas. ``precision``: 'auto', 'fp32', 'fp16' or 'bf16'. ``detector``: a
    name of ``face.backends``. Raises ``ConfigError``, ``DeviceError``, ``OutOfMemoryError`` and the ``WeightsError``
    family.
    """
    from latentsync.inference.precision import common_precision  # here: it imports torch, which takes seconds

    paths, sampler = apply_preset(
        preset,
        WeightPaths.choose(_path(weights), _path(checkpoint), _adapter(adapter)),
        steps=steps,
        guidance_scale=guidance_scale,
    )
    paths.check()
    config = _path(unet_config)
    devices = choose_devices(device)
    settings = model_settings(paths.unet, config)
    dtype = common_precision(precision, devices, paths.unet, settings.resolution)
    choice = NetworkChoice(paths, settings, devices, dtype, compiled)
    pipeline = Pipeline(choice, sampler, config, device, precision, detector)
    pipeline.networks.pipeline(choice)
    return pipeline


@dataclass(frozen=True)
class Pipeline:
    """Networks in memory, for any number of dubs, one at a time. Made by ``load``."""

    choice: NetworkChoice
    sampler: SamplerSettings
    unet_config: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    detector: str = "auto"
    networks: KeptNetworks = field(default_factory=KeptNetworks, repr=False)

    @property
    def settings(self) -> ModelSettings:
        """Face side in pixels, frames per window, and what the user should know of these weights."""
        return self.choice.settings

    def options(self) -> SyncOptions:
        """The default options of a dub with the sampler of this pipeline; ``dataclasses.replace`` changes others."""
        return SyncOptions(sampler=self.sampler)

    def request(
        self,
        video: PathLike,
        audio: PathLike,
        output: PathLike,
        *,
        options: SyncOptions | None = None,
        faces: PathLike | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> DubRequest:
        """What ``dub`` does with these arguments, to be changed by ``dataclasses.replace`` and given to ``run``."""
        return DubRequest(
            Path(video),
            Path(audio),
            Path(output),
            options or self.options(),
            weights=self.choice.weights,
            unet_config=self.unet_config,
            device=self.device,
            precision=self.precision,
            detector=self.detector if faces is None else str(Path(faces)),
            compiled=self.choice.compiled,
            overwrite=overwrite,
            resume=resume,
        )

    def dub(
        self,
        video: PathLike,
        audio: PathLike,
        output: PathLike,
        *,
        options: SyncOptions | None = None,
        faces: PathLike | None = None,
        overwrite: bool = False,
        resume: bool = False,
        control: RunControl | None = None,
        on_note: OnNote = lambda text: None,
    ) -> RunReport:
        """Dub ``video`` with ``audio`` into the file ``output``, which appears when it is whole.

        ``faces``: a file of faces in place of the detector. ``overwrite``: replace ``output``; ``resume``: keep
        finished windows, and go on where an interrupted run stopped. ``control`` is told of the progress and may stop
        the run, also from another thread; ``on_note`` gets texts for the user. Raises the named errors of
        ``latentsync.errors``; then nothing is written but what ``resume`` keeps.
        """
        request = self.request(
            video, audio, output, options=options, faces=faces, overwrite=overwrite, resume=resume
        )
        return self.run(request, control=control, on_note=on_note)

    def run(
        self, request: DubRequest, *, control: RunControl | None = None, on_note: OnNote = lambda text: None
    ) -> RunReport:
        """Dub as ``request`` says. One for other weights or another device loads those in place of these."""
        return dub(request, control=control, on_note=on_note, networks=self.networks)

    def frames(
        self,
        video: PathLike | VideoSource,
        audio: PathLike | np.ndarray,
        *,
        options: SyncOptions | None = None,
        faces: PathLike | None = None,
    ) -> Iterator[Frame]:
        """The frames of the result in order, each with its time in seconds, and nothing is written.

        ``video`` is a file, or any source of frames; ``audio`` a file, or (n,) float32 in [-1, 1] at 16 kHz. Memory
        does not depend on the length; closing the iterator stops the work. Raises as ``dub``.
        """
        from latentsync.inference.faces import FaceFinder
        from latentsync.inference.record import RunRecord
        from latentsync.media.audio import read_audio
        from latentsync.media.video import VideoFile

        chosen, record = options or self.options(), RunRecord()
        source: VideoSource = VideoFile(Path(video)) if isinstance(video, str | os.PathLike) else video
        waveform = read_audio(Path(audio)) if isinstance(audio, str | os.PathLike) else audio
        finder = FaceFinder(
            self.detector if faces is None else str(Path(faces)),
            self.choice.weights.auxiliary,
            self.choice.devices[0],
            record.clock,
            self.networks.detector,
            source.info.sample_aspect_ratio,
        )
        tracks = finder.tracks(source.info, chosen)
        yield from self.networks.pipeline(self.choice).sync(source, waveform, chosen, tracks, record)


def _adapter(adapter: PathLike | AdapterChoice | None) -> AdapterChoice | None:
    if adapter is None or isinstance(adapter, AdapterChoice):
        return adapter
    return AdapterChoice.parse(os.fspath(adapter))


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
