"""Face crops of photographs that speak as training clips: what ``talker_crops`` makes of drawn talkers.

Every clip has a scene, a sentence and a voice of its own. People, not clips, are held out for validation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from latentsync.atomic import write_text
from latentsync.constants import MODEL_FPS
from latentsync.data.manifest import TRAIN, VALIDATION, Clip, is_held_out, write_manifest
from latentsync.data.photo_talkers.clip import make_photo_clip
from latentsync.data.photo_talkers.motion import FURTHEST_TURN
from latentsync.data.photo_talkers.portrait import Portrait, PortraitReader, Unusable, read_portraits
from latentsync.data.photo_talkers.voices import Voices
from latentsync.data.speech.collection import Speech
from latentsync.data.talker_crops import crop_clip, described, write_all, write_crop_video
from latentsync.data.talkers.clip import Spoken, frame_count
from latentsync.data.talkers.hard_cases import draw_case
from latentsync.errors import DataError

logger = logging.getLogger(__name__)

FRAME_PER_CROP = 1.8  # side of the frame over that of the crop: pixels of the face stay about as large
_QUALITY = (15, 27)  # crf of the videos, from hardly to visibly compressed
_HELD_OUT_SHARE = 0.08  # of the people: those that the codec does not see either
_RECORDED_SHARE = 0.75  # of the clips, where there are recordings
_FIRST_SEED = 20_000_000  # far from those of drawn talkers
_PLAN = "photos.json"  # which settings and photographs the folder is for
_MANIFEST = "clips.jsonl"  # written last
_VERSION = 3  # of what the clips look like: change it when they change


@dataclass(frozen=True, slots=True)
class PhotoCrops:
    """How many clips of what kind; the shares are of the training clips, see ``recipe.TalkerData``."""

    train_clips: int
    validation_clips: int
    seconds: float
    resolution: int  # R
    seed: int = 0
    covered_share: float = 0.0
    turned_share: float = 0.0


def make_photo_crops(
    crops: PhotoCrops, photos: Path, folder: Path, reader: PortraitReader, workers: int, speech: Speech | None = None
) -> Path:
    """Write clips of the people on the photographs in ``photos`` into ``folder``, unless they are there already, and
    return their manifest; ``photos.json`` names the photographs that could not be used.

    ``speech``: recordings of which most clips say a stretch, those of its validation side the validation clips; the
    others, and all without it, have sentences and voices of drawn talkers.

    A folder that was left half-finished is finished; clips of other settings or photographs are removed first. Two
    runs with equal settings and photographs give equal clips, however many ``workers`` there are. Raises ``DataError``
    where there are no usable photographs for both sides, ``WeightsMissingError`` where the face mesh is needed and not
    there.
    """
    read = list(read_portraits(photos, reader))
    portraits = [one for one in read if isinstance(one, Portrait)]
    unusable = {one.path.name: one.reason for one in read if isinstance(one, Unusable)}
    manifest, plan = folder / _MANIFEST, folder / _PLAN
    speech = speech or Speech((), ())
    wanted = _describe(crops, portraits, unusable, speech)
    begun = plan.is_file() and plan.read_text(encoding="utf-8") == wanted
    if begun and manifest.is_file():
        return manifest
    train, held_out = _split(portraits)
    if not train or (crops.validation_clips and not held_out):
        raise DataError(
            f"{photos} has {len(portraits)} usable photographs, too few to hold some people out.",
            remedy=f"About 40 are enough. What was wrong with others: {sorted(set(unusable.values()))}",
        )
    logger.info("%d photographs, %d of them cannot be used", len(read), len(unusable))
    folder.mkdir(parents=True, exist_ok=True)
    if not begun:
        for old in (manifest, *folder.glob("photo_*.mp4")):
            old.unlink(missing_ok=True)
        write_text(plan, wanted)
    jobs = _jobs(crops, train, Voices(speech.train), folder, crops.train_clips, TRAIN)
    jobs += _jobs(crops, held_out, Voices(speech.validation), folder, crops.validation_clips, VALIDATION)
    write_manifest(write_all(_write_clip, jobs, workers), manifest)
    return manifest


def _describe(crops: PhotoCrops, portraits: Sequence[Portrait], unusable: dict[str, str], speech: Speech) -> str:
    people = sha256(" ".join(sorted(one.content for one in portraits)).encode()).hexdigest()
    settings = described(crops) | {"version": _VERSION, "people": people, "usable": len(portraits)}
    settings["unusable"] = unusable
    settings["voices"] = Voices((*speech.train, *speech.validation)).names
    return json.dumps(settings, sort_keys=True, indent=1)


def _split(portraits: Sequence[Portrait]) -> tuple[list[Portrait], list[Portrait]]:
    """People to train on, and people held out. The content of a photograph decides, so another folder with the same
    photographs holds out the same."""
    ordered = sorted(portraits, key=lambda one: one.content)
    held_out = [one for one in ordered if is_held_out(one.content, _HELD_OUT_SHARE)]
    if not held_out:
        held_out = ordered[:1] if len(ordered) > 1 else []
    names = {one.content for one in held_out}
    return [one for one in ordered if one.content not in names], held_out


def _jobs(
    crops: PhotoCrops, people: Sequence[Portrait], voices: Voices, folder: Path, count: int, split: str
) -> list[tuple[Path, Portrait, int, PhotoCrops, str, Spoken | None]]:
    """One for each clip: everybody once before anybody twice."""
    jobs = []
    for number in range(count):
        path = folder / f"photo_{split}_{number:06d}.mp4"
        seed = _FIRST_SEED + 2 * (crops.seed + number) + (split == VALIDATION)
        rng = np.random.default_rng([seed, 77])
        spoken = None
        if len(voices) and rng.random() < _RECORDED_SHARE:
            spoken = voices.say(frame_count(crops.seconds, MODEL_FPS), MODEL_FPS, rng)
        jobs.append((path, people[number % len(people)], seed, crops, split, spoken))
    return jobs


def _write_clip(
    path: Path, portrait: Portrait, seed: int, crops: PhotoCrops, split: str, spoken: Spoken | None
) -> Clip:
    options = None
    if split == TRAIN:
        options = draw_case(seed, crops.seconds, crops.covered_share, crops.turned_share, FURTHEST_TURN)
    if not path.is_file():
        size = round(FRAME_PER_CROP * crops.resolution / 2) * 2
        seeds = 3 * seed, 3 * seed + 1, 3 * seed + 2
        clip = make_photo_clip(portrait, *seeds, seconds=crops.seconds, size=size, options=options, spoken=spoken)
        crf = int(np.random.default_rng([seed, 74]).integers(_QUALITY[0], _QUALITY[1] + 1))
        write_crop_video(path, clip, crops.resolution, crf)
    frames = frame_count(crops.seconds, MODEL_FPS)
    return crop_clip(path, crops.resolution, frames, split, f"photograph {portrait.content}", options)
