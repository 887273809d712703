"""A validation video: checked once, then dubbed again and again by the networks that are being trained.

It is dubbed in the same way as by ``job.dub``: same tracks, same pipeline, same writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from latentsync.constants import AUDIO_RATE
from latentsync.errors import NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.inference.faces import FaceFinder
from latentsync.inference.job.speech import read_waveform
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import StageClock
from latentsync.inference.timeline import playing_order
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, check_encoder, write_video
from latentsync.types import Frame


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the face is in one source frame: ``matrix`` (2, 3) frame px to canvas px, ``box`` (4,) x0, y0, x1, y1."""

    matrix: np.ndarray
    box: np.ndarray


Watch = Callable[[Frame, Placement | None], None]  # gets a frame, with its time in the result, and its face


class ValidationVideo:
    """``waveform`` (n,) float32 at 16 kHz. Make one with ``open_validation_video``."""

    def __init__(
        self, video: VideoFile, audio: Path, waveform: np.ndarray, finder: FaceFinder, resolution: int
    ) -> None:
        self.waveform = waveform
        self.fps = video.info.fps
        self._video = video
        self._audio = audio
        self._options = SyncOptions()
        self._tracks = finder.tracks(video.info, self._options)
        self._faces = self._find_faces(FaceAligner(resolution))

    def source(self) -> Iterator[tuple[Frame, Placement | None]]:
        """The source frames in the order of the result, each with its face."""
        for frame in self._shown():
            yield frame, self._faces.get(frame.index)

    def dub(self, pipeline: LipsyncPipeline, options: SyncOptions, output: Path, watch: Watch) -> None:
        """Dub into the file ``output``, over an older one; ``watch`` gets every frame before it is encoded.

        Raises as ``LipsyncPipeline.sync`` and ``media.writer.write_video`` do.
        """
        frames = self._watched(pipeline.sync(self._video, self.waveform, options, self._tracks), watch)
        write_video(output, frames, self._video.info, audio=self._audio, overwrite=True)

    def _watched(self, frames: Iterator[Frame], watch: Watch) -> Iterator[Frame]:
        for frame in frames:
            watch(frame, self._faces.get(frame.index))
            yield frame

    def _shown(self) -> Iterator[Frame]:
        return playing_order(self._video, Fraction(len(self.waveform), AUDIO_RATE), self._options.length)

    def _find_faces(self, aligner: FaceAligner) -> dict[int, Placement]:
        """By source frame. Raises ``NoFaceError`` if there is none in any frame that is shown."""
        faces = {
            target.frame.index: Placement(aligner.matrix(target.face.landmarks), target.face.box)
            for target in self._tracks.follow(self._shown())
            if target.face is not None
        }
        if not faces:
            raise NoFaceError(
                f"{self._video.info.path}: no usable face in any frame.",
                remedy="Choose a clip with a visible face, another detector, or give its faces in a file.",
            )
        self._tracks.save()
        return faces


def open_validation_video(
    video: Path, audio: Path, detector: str, auxiliary: Path, device: torch.device, resolution: int
) -> ValidationVideo:
    """Check that ``video`` can be dubbed with ``audio``, and find the faces of all frames.

    ``detector``: a name of ``face.backends`` or a file of faces; ``auxiliary``: the folder of detector weights;
    ``resolution``: R of the networks to come. Raises ``VideoError``, ``AudioError``, ``NoFaceError``, ``EncoderError``,
    ``ConfigError`` and the ``WeightsError`` family.
    """
    source = VideoFile(video)
    waveform = read_waveform(audio)
    check_encoder(EncodingOptions(), source.info, ".mp4")
    return ValidationVideo(source, audio, waveform, FaceFinder(detector, auxiliary, device, StageClock()), resolution)
