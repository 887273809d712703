"""One dub as the user asks for it: files, options, and where the weights are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.writer import EncodingOptions
from latentsync.provenance.signature import Signer
from latentsync.scene.model import Scene

LONGEST_NAME = 200  # bytes of a result's name that a longer name can be made of; disks allow 255


@dataclass(frozen=True, slots=True)
class DubRequest:
    """``batch`` is a number or 'auto'; ``detector`` a name of ``face.backends`` or the path of a file of faces.

    ``label``: whether the result's metadata say that it is AI-modified; ``signer``: who signs that.
    ``commercial_only``: refuse weights that are not known to allow commercial use. ``limits``: what the files must keep
    to. ``compiled``: see ``latentsync.runtime.compilation``. ``drive``: what the mouth follows, if that is not what is
    heard. ``audio_track``: number of the audio track of ``audio``, from 0; None: the one that players take.
    ``av_offset``: seconds by which the audio begins later than it would. ``copy_audio``: see
    ``media.output_audio.AudioPart.copied``. ``whole_frames``: the audio of the result is as long as its frames, to the
    sample, so that results can be joined. ``fps``: of images, which have no rate of their own (25).
    ``deinterlace``: make frames of fields. ``resume``: go on where a run that was interrupted stopped (``job.resume``).
    ``contact_sheet``: where an overview picture goes (``inference.overview``). ``device``: several with commas share
    the windows. ``segments``: where finished windows are kept; None: beside the result. ``scene``: who speaks when,
    with which audio; ``audio`` then is only its first file.
    """

    video: Path
    audio: Path
    output: Path
    options: SyncOptions = field(default_factory=SyncOptions)
    encoding: EncodingOptions = field(default_factory=EncodingOptions)
    weights: WeightPaths = field(default_factory=WeightPaths.choose)
    unet_config: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    detector: str = "auto"
    batch: str = "auto"
    compiled: bool = False
    overwrite: bool = False
    report: Path | None = None
    limits: MediaLimits = GENEROUS
    label: bool = True
    signer: Signer | None = None
    commercial_only: bool = False
    drive: Path | None = None
    audio_track: int | None = None
    av_offset: Fraction = Fraction(0)
    copy_audio: bool = False
    whole_frames: bool = False
    fps: Fraction | None = None
    deinterlace: bool = False
    resume: bool = False
    segments: Path | None = None
    contact_sheet: Path | None = None
    scene: Scene | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The media files that are read."""
        return (self.video, *self.heard, *([] if self.drive is None else [self.drive]))

    @property
    def heard(self) -> tuple[Path, ...]:
        """The files whose audio the result has."""
        return (self.audio,) if self.scene is None else tuple(self.scene.files())

    @property
    def kept_folder(self) -> Path:
        """Where finished windows are kept (``job.resume``)."""
        return kept_folder(self.output) if self.segments is None else self.segments

    def named_batch(self) -> int | None:
        """Windows per batch, None for 'auto'. Raises ``ConfigError`` for anything else but a whole number from 1."""
        if self.batch == "auto":
            return None
        if not self.batch.isdecimal() or int(self.batch) < 1:
            raise ConfigError(f"'{self.batch}' is no batch size.", remedy="Give auto or a whole number from 1.")
        return int(self.batch)


def kept_folder(output: Path) -> Path:
    """Where finished windows of a result are kept."""
    name = output.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:40] + "." + blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return output.absolute().with_name(f".{name}.resume")
