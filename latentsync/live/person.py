"""A prepared person: a video that was analysed once, so that a live stream has nothing left to do but generate.

A folder ``NAME.lsp``, which appears whole or not at all:

- the video, a copy, so that the folder can go to another machine;
- ``faces.safetensors``: whose face is where in every frame; and the latents of the aligned faces, masked and as
  references, under the keys of their pixels;
- ``card.json``: whose latents these are, and of which video.

Latents are found by what a face looks like. Where another machine aligns a face to other last bits, it is encoded
again, which takes time and changes nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.atomic import atomic_folder
from latentsync.checkpoint.files import sha256_file
from latentsync.errors import ConfigError, NoFaceError, OutputError, WeightsMismatchError
from latentsync.face.align import image_key
from latentsync.face.tracks import FaceTracks, KnownFrame
from latentsync.inference.latent_memory import FaceLatents
from latentsync.inference.options import LiveSettings, SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.scene import Cast
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.timeline import LengthMode
from latentsync.media.video import VideoFile
from latentsync.types import FaceObservation, VideoSource, Window

SUFFIX = ".lsp"
VERSION = 1
_CARD, _FACES = "card.json", "faces.safetensors"
_NO_MASK = b""  # of the latents of references


@dataclass(frozen=True, slots=True)
class PersonCard:
    """``video``: name of the file in the folder, and its ``sha256``; ``frames`` of it; ``fps`` as a fraction.
    ``latents``: signature of the codec, on faces of ``resolution`` pixels under the mask with this key. ``reasons``:
    why frames have no face, by number."""

    video: str
    sha256: str
    frames: int
    fps: str
    latents: str
    resolution: int
    mask: str
    reasons: tuple[str, ...]
    version: int = VERSION


@dataclass(frozen=True)
class Person:
    """``video`` with what was found in its frames, by number; ``masked`` and ``references``: latents (C, h, w) by the
    keys of the faces. ``card`` None: not kept in a folder."""

    video: VideoSource
    known: Mapping[int, KnownFrame]
    masked: Mapping[bytes, Tensor] = field(default_factory=dict)
    references: Mapping[bytes, Tensor] = field(default_factory=dict)
    card: PersonCard | None = None

    def tracks(self) -> FaceTracks:
        """Of one stream."""
        return FaceTracks.of_known(self.known)

    def give_latents(self, pipeline: LipsyncPipeline) -> None:
        """Let ``pipeline`` know the latents. Raises ``WeightsMismatchError`` for one of another codec, side of the
        faces or mask. In another precision the faces are encoded again."""
        latents = pipeline.latents
        if latents is None or self.card is None:
            return
        theirs = latents.signature(), pipeline.resolution, image_key(pipeline.keep_mask).hex()
        if theirs != (self.card.latents, self.card.resolution, self.card.mask):
            raise WeightsMismatchError(
                f"The person of {self.card.video} was prepared with the latents of another model: codec "
                f"{self.card.latents} at {self.card.resolution} px, here it is {theirs[0]} at {theirs[1]} px.",
                remedy="Prepare the video again with `latentsync live prepare`, or name the weights of then.",
            )
        mask = image_key(pipeline.keep_mask)
        for found, under in ((self.masked, mask), (self.references, _NO_MASK)):
            usable = {key: each.to(latents.device) for key, each in found.items() if each.dtype == latents.dtype}
            latents.memory.add(usable, under)


class _GiveBack:
    """A ``WindowGenerator`` that gives the faces back."""

    def __init__(self, keep_mask: np.ndarray) -> None:
        self.resolution = keep_mask.shape[-1]

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """See ``types.WindowGenerator``."""
        return np.stack([window.faces for window in windows])


class _EncodeOnly(_GiveBack):
    """The same, and it finds the latents of the faces and keeps them."""

    def __init__(self, latents: FaceLatents, keep_mask: np.ndarray) -> None:
        super().__init__(keep_mask)
        self.masked: dict[bytes, Tensor] = {}
        self.references: dict[bytes, Tensor] = {}
        self._latents, self._mask = latents, image_key(keep_mask)

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """See ``types.WindowGenerator``."""
        self._latents.encode(windows)
        for window in windows:
            references = window.face_keys if window.reference is None else (window.reference_key,)
            self.masked |= self._latents.memory.kept(window.face_keys, self._mask)
            self.references |= self._latents.memory.kept(references, _NO_MASK)
        return super().__call__(windows)


class _NoAudio:
    def __init__(self, duration: Fraction) -> None:
        self.duration = duration

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``."""
        return np.zeros((1, 1), np.float32)


def analyse(video: VideoSource, tracks: FaceTracks, pipeline: LipsyncPipeline, options: SyncOptions) -> Person:
    """Look at all of ``video``; the face is that of ``options.face``. Raises ``NoFaceError`` if no frame has one."""
    once = replace(options, length=LengthMode.CUT, live=options.live or LiveSettings(), check_output=False, batch=1)
    encoder = None if pipeline.latents is None else _EncodeOnly(pipeline.latents, pipeline.keep_mask)
    generator = encoder or _GiveBack(pipeline.keep_mask)
    encoding = pipeline.with_generator(lambda make: lambda chosen, on_step, kept: generator)
    cast = Cast.of_one(np.empty(0, np.float32), once, SpeechPlan(), _NoAudio(video.info.duration + 1))
    for _ in encoding.play(video, cast, once, tracks):
        pass
    known = tracks.known()
    if all(each.face is None for each in known.values()):
        raise NoFaceError(
            f"No frame of {video.info.path} shows a face.",
            remedy="Take a video in which the person is seen from ahead.",
        )
    return Person(
        video, known, {} if encoder is None else encoder.masked, {} if encoder is None else encoder.references
    )


def save_person(person: Person, source: Path, target: Path, pipeline: LipsyncPipeline) -> Person:
    """Write what ``analyse`` found in the file ``source`` to the folder ``target``, which must not be there. Raises
    ``ConfigError`` and ``OutputError``."""
    if target.suffix != SUFFIX:
        raise ConfigError(f"{target} is no name for a prepared person.", remedy=f"Let it end in {SUFFIX}.")
    if target.exists():
        raise OutputError(f"{target} is there already.", remedy="Remove it, or choose another name.")
    reasons = tuple(dict.fromkeys(each.reason for each in person.known.values()))
    card = PersonCard(
        video=f"video{source.suffix}",
        sha256=sha256_file(source),
        frames=len(person.known),
        fps=str(person.video.info.fps),
        latents="" if pipeline.latents is None else pipeline.latents.signature(),
        resolution=pipeline.resolution,
        mask=image_key(pipeline.keep_mask).hex(),
        reasons=reasons,
    )
    try:
        with atomic_folder(target) as folder:
            shutil.copyfile(source, folder / card.video)
            save_file(_tensors_of(person, reasons), folder / _FACES, metadata={"format": "pt"})
            (folder / _CARD).write_text(json.dumps(asdict(card), indent=1), encoding="utf-8")
            (folder / _FACES).chmod((folder / _CARD).stat().st_mode)  # the library makes it private
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error}.", remedy="Choose another folder.") from error
    return replace(person, card=card)


def load_person(folder: Path) -> Person:
    """What ``save_person`` wrote. Raises ``ConfigError`` for a folder that is none, or whose video was changed."""
    try:
        card = PersonCard(**json.loads((folder / _CARD).read_text(encoding="utf-8")))
        card = replace(card, reasons=tuple(card.reasons))  # JSON knows lists only
        if card.version != VERSION:
            raise ValueError(f"version {card.version}")
        tensors = load_file(folder / _FACES)
        known = _known_of(tensors, card.reasons)
        masked, references = (_latents_of(tensors, name) for name in ("masked", "reference"))
    except (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"{folder} is no prepared person: {error}.",
            remedy="Make one with `latentsync live prepare VIDEO NAME.lsp`.",
        ) from error
    video = folder / Path(card.video).name
    if not video.is_file() or sha256_file(video) != card.sha256:
        raise ConfigError(
            f"{video} is not the video that was analysed.", remedy="Prepare it again with `latentsync live prepare`."
        )
    return Person(VideoFile(video), known, masked, references, card)


def _tensors_of(person: Person, reasons: tuple[str, ...]) -> dict[str, Tensor]:
    faces = [face for each in person.known.values() for face in each.faces]
    chosen = [each.face for each in person.known.values() if each.face is not None]
    rows = {id(face): row for row, face in enumerate(faces)}
    for face in chosen:
        if id(face) not in rows:  # a person's face where the tracks' own was bridged
            rows[id(face)] = len(faces)
            faces.append(face)
    listed = {id(face) for each in person.known.values() for face in each.faces}
    arrays = {
        "frames": np.array(list(person.known), np.int64),
        "chosen": np.array([-1 if e.face is None else rows[id(e.face)] for e in person.known.values()], np.int64),
        "shot": np.array([each.shot for each in person.known.values()], np.int64),
        "reason": np.array([reasons.index(each.reason) for each in person.known.values()], np.int64),
        "frame": np.array([face.frame_index for face in faces], np.int64),
        "listed": np.array([id(face) in listed for face in faces], np.uint8),
        "track": np.array([face.track_id for face in faces], np.int64),
        "score": np.array([face.score for face in faces], np.float64),
        "box": np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(-1, 68, 2),
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, latents in (("masked", person.masked), ("reference", person.references)):
        if latents:
            keys = np.frombuffer(b"".join(latents), np.uint8).reshape(len(latents), -1)
            tensors[f"{name}.keys"] = torch.from_numpy(keys.copy())
            tensors[f"{name}.latents"] = torch.stack(list(latents.values())).cpu().contiguous()
    return tensors


def _known_of(tensors: Mapping[str, Tensor], reasons: tuple[str, ...]) -> dict[int, KnownFrame]:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if "." not in name}
    columns = (arrays[name] for name in ("frame", "track", "box", "landmarks", "score"))
    faces = [
        FaceObservation(int(frame), int(track), box, landmarks, float(score))
        for frame, track, box, landmarks, score in zip(*columns, strict=True)
    ]
    of_frame: dict[int, list[FaceObservation]] = {}
    for face, listed in zip(faces, arrays["listed"], strict=True):
        if listed:
            of_frame.setdefault(face.frame_index, []).append(face)
    rows = zip(*(arrays[name].tolist() for name in ("frames", "chosen", "shot", "reason")), strict=True)
    return {
        index: KnownFrame(
            None if chosen < 0 else faces[chosen], shot, reasons[reason], tuple(of_frame.get(index, ()))
        )
        for index, chosen, shot, reason in rows
    }


def _latents_of(tensors: Mapping[str, Tensor], name: str) -> dict[bytes, Tensor]:
    if f"{name}.keys" not in tensors:
        return {}
    keys = tensors[f"{name}.keys"].numpy()
    return {key.tobytes(): each for key, each in zip(keys, tensors[f"{name}.latents"], strict=True)}
