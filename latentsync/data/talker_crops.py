"""Face crops of synthetic talkers as training clips: what the data pipeline would make of a video of them.

The crops are cut by the true landmarks, so no detector takes part. Every clip has a person, a scene and a sentence of
its own; validation clips share none of them with training clips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from latentsync.atomic import write_text
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.data.manifest import TRAIN, VALIDATION, Clip, content_hash, write_manifest
from latentsync.data.talkers.clip import SpokenClip, TalkerOptions, make_talker
from latentsync.data.talkers.files import write_wav
from latentsync.data.talkers.hard_cases import covered_frames, draw_case
from latentsync.data.talkers.identity import make_identity
from latentsync.data.talkers.speech import compose, mouth_at, tracks
from latentsync.errors import DataError
from latentsync.face.align import FaceAligner
from latentsync.levels import to_image
from latentsync.media.threads import single_threaded
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, Frame, VideoInfo

FRAME_PER_CROP = 2.0  # side of the drawn frame over that of the crop: the face fills about half of it
CRF = 16  # near-transparent for crops this small
_SPEAKER = "identity "  # before the identity seed, in a clip's ``speaker``
_KEPT = 5000  # clips whose mouth stays in memory: 1.4 kB each at 60 frames
_PLAN = "talkers.json"  # written last: which settings the folder is complete for
_HELD_OUT = 1_000_000  # added to the seeds of validation clips


@dataclass(frozen=True, slots=True)
class TalkerCrops:
    """How many clips of what kind; the shares are of the training clips, see ``recipe.TalkerData``."""

    train_clips: int
    validation_clips: int
    seconds: float
    resolution: int  # R
    seed: int
    covered_share: float = 0.0
    turned_share: float = 0.0


def make_talker_crops(crops: TalkerCrops, folder: Path, workers: int) -> Path:
    """Write the clips into ``folder``, unless they are there already, and return their manifest.

    A folder that was left half-finished is finished; one of other settings is written anew. Two runs with equal
    settings give equal clips, however many cores and ``workers`` there are.
    """
    manifest, plan = folder / "clips.jsonl", folder / _PLAN
    wanted = json.dumps(described(crops) | {"version": 1}, sort_keys=True)
    if plan.is_file() and plan.read_text(encoding="utf-8") == wanted and manifest.is_file():
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    plan.unlink(missing_ok=True)
    seeds = [*range(crops.train_clips), *range(_HELD_OUT, _HELD_OUT + crops.validation_clips)]
    jobs = [(folder / f"talker_{seed:07d}.mp4", crops.seed + seed, crops) for seed in seeds]
    clips = write_all(_write_clip, jobs, workers)
    write_manifest(clips, manifest)
    write_text(plan, wanted)
    return manifest


def described(crops: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, but for shares of 0: a folder from before there were any stays what it is."""
    return {name: value for name, value in asdict(crops).items() if value or not name.endswith("_share")}


def write_all(write: Callable[..., Clip], jobs: list[tuple], workers: int) -> list[Clip]:
    """``write`` called with each of ``jobs``, in ``workers`` processes; what it returns, in their order."""
    with single_threaded():  # before the processes are forked: one that is must not change OpenCV's threads any more
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                return list(pool.map(write, *zip(*jobs, strict=True), chunksize=1))
        return [write(*job) for job in jobs]


@lru_cache(maxsize=_KEPT)
def true_mouth(clip: Clip) -> np.ndarray:
    """The mouth in every frame of a clip that ``make_talker_crops`` wrote, from its seeds: (N, 6) float32 in [0, 1], in
    the order of ``talkers.geometry.Articulation``. Raises ``DataError`` for any other clip."""
    number = clip.speaker.removeprefix(_SPEAKER)
    if not clip.speaker.startswith(_SPEAKER) or not number.isdigit():
        raise DataError(f"{clip.path} shows no synthetic talker.", remedy="Only of those the true mouth is known.")
    identity, duration = int(number), clip.frames / float(clip.fps)
    sentence, voice = identity + 1, make_identity(identity).voice
    speech = tracks(compose(sentence, voice, duration), sentence, voice, duration)
    mouth = mouth_at(speech.mouth, np.arange(clip.frames) / float(clip.fps))
    return np.stack(astuple(mouth), axis=-1).astype(np.float32)


def _write_clip(path: Path, seed: int, crops: TalkerCrops) -> Clip:
    held_out = seed - crops.seed >= _HELD_OUT
    size = round(FRAME_PER_CROP * crops.resolution)
    options = None if held_out else draw_case(seed, crops.seconds, crops.covered_share, crops.turned_share)
    talker = make_talker(3 * seed, 3 * seed + 1, 3 * seed + 2, seconds=crops.seconds, size=size, options=options)
    write_crop_video(path, talker, crops.resolution, CRF)
    split, speaker = VALIDATION if held_out else TRAIN, f"{_SPEAKER}{talker.identity_seed}"
    return crop_clip(path, crops.resolution, talker.n_frames, split, speaker, options)


def write_crop_video(path: Path, talker: SpokenClip, side: int, crf: int) -> None:
    """Write the aligned face of a talker, ``side`` pixels, with its audio."""
    info = VideoInfo(Path(path.stem), side, side, MODEL_FPS, talker.n_frames, talker.n_frames / MODEL_FPS)
    with TemporaryDirectory(prefix="talker_") as scratch:
        audio = Path(scratch) / "audio.wav"
        write_wav(audio, talker.waveform)
        write_video(
            path,
            _crops(talker, side),
            info,
            EncodingOptions(codec="h264", crf=crf, preset="veryfast", repeatable=True),
            audio,
            overwrite=True,
        )


def crop_clip(
    path: Path, side: int, frames: int, split: str, speaker: str, options: TalkerOptions | None = None
) -> Clip:
    """A file that ``write_crop_video`` wrote as a training clip, of a talker with those ``options``."""
    return Clip(
        path=path,
        content=content_hash(path),
        frames=frames,
        fps=MODEL_FPS,
        width=side,
        height=side,
        audio_seconds=int(frames / MODEL_FPS * AUDIO_RATE) / AUDIO_RATE,
        split=split,
        speaker=speaker,
        source=path.stem,
        covered=() if options is None else covered_frames(options, frames, MODEL_FPS),
    )


def _crops(talker: SpokenClip, side: int) -> Iterator[Frame]:
    aligner = FaceAligner(side)
    for index, (pixels, landmarks) in enumerate(zip(talker.frames(), talker.landmarks, strict=True)):
        face = aligner.align(ArrayFrame.of(pixels), landmarks).pixels
        yield ArrayFrame(index, Fraction(index) / MODEL_FPS, to_image(face))
