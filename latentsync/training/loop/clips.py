"""The clips of a run, training and validation apart, with a report of what cannot be used, and what is computed of them
before the first step."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from accelerate import Accelerator
from tqdm import tqdm

from latentsync.atomic import write_text
from latentsync.constants import MODEL_FPS
from latentsync.data.batches import ClipFault
from latentsync.data.clip_reader import load_decord
from latentsync.data.manifest import Clip, Manifest, fault_table, read_manifest, split_by_source, usable_clips
from latentsync.data.mixture import Mixture, Part, SampleSource
from latentsync.data.scan import load_clips
from latentsync.data.talker_crops import TalkerCrops, make_talker_crops
from latentsync.errors import ConfigError, DataError
from latentsync.recipe import ClipShare, TalkerData
from latentsync.stream import parallel_map

logger = logging.getLogger(__name__)

LoadedT = TypeVar("LoadedT")
_LOADERS = 2  # threads that decode; each holds a clip, and one more waits: 600 MB for clips of 10 s at 512 px


class ClipSource(Protocol):
    """The ``data`` section of a training file, as far as it tells where clips come from."""

    train_output_dir: str
    train_fileslist: str | None
    train_data_dir: str | None
    val_fileslist: str | None
    val_data_dir: str | None
    validation_share: float
    resolution: int
    video_fps: int
    talkers: TalkerData | None
    clips_share: float | None
    more_clips: dict[str, ClipShare]


@dataclass(frozen=True, slots=True)
class ClipPart:
    """The clips of one place, and its share of the samples."""

    name: str
    share: float
    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]


@dataclass(frozen=True, slots=True)
class RunClips:
    """Clips of both sides, no source on both; ``faults`` are the files that cannot be used. ``parts`` say which of them
    are from where, if they are from several places; none = from one."""

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    faults: tuple[ClipFault, ...]
    parts: tuple[ClipPart, ...] = ()

    def samples(
        self,
        side: Literal["train", "validation"],
        make: Callable[[Sequence[Clip]], SampleSource],
        seed: int,
        *,
        share: float | None = None,
        more: Mapping[str, Part] | None = None,
    ) -> SampleSource:
        """What ``make`` gives for the clips of a side; a mixture if they have parts or there is ``more`` to mix in,
        beside which clips without parts have ``share`` (none = 1)."""
        if not self.parts and not more:
            return make(getattr(self, side))
        parts = self.parts or (ClipPart("clips", 1.0 if share is None else share, self.train, self.validation),)
        return Mixture({p.name: Part(make(getattr(p, side)), p.share) for p in parts} | dict(more or {}), seed)

    def with_free_mouths(self) -> RunClips:
        """Without the clips in which something comes before the mouth, which are named among the faults."""

        def free(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
            return tuple(clip for clip in clips if not clip.covered)

        covered = tuple(
            ClipFault(str(clip.path), "covered mouth: something comes before it", clip.content)
            for clip in (*self.train, *self.validation)
            if clip.covered
        )
        parts = tuple(ClipPart(p.name, p.share, free(p.train), free(p.validation)) for p in self.parts)
        return RunClips(free(self.train), free(self.validation), (*self.faults, *covered), parts)

    def summary(self) -> str:
        """What there is, for people."""
        lines = [_count("training", self.train), _count("validation", self.validation)]
        lines += [_count(f"  {part.name} (share {part.share:g})", part.train) for part in self.parts]
        if self.faults:
            lines += [f"{len(self.faults)} files cannot be used:", fault_table(self.faults)]
        return "\n".join(lines)

    def write_report(self, path: Path) -> None:
        """The same as JSON, every file named."""
        report = {
            "training": _figures(self.train),
            "validation": _figures(self.validation),
            "unusable": [{"path": f.path, "reason": f.reason, "clip_id": f.clip_id} for f in self.faults],
        }
        write_text(path, json.dumps(report, indent=1, ensure_ascii=False))


def find_clips(data: ClipSource, min_frames: int, cache: Path) -> RunClips:
    """Training and validation clips of a configuration; ``cache`` is a folder for what opening the files gave.
    Clips shorter than ``min_frames`` are left out.

    Raises ``ConfigError`` if no place of clips is named, ``DataError`` if there is no usable clip on either side,
    ``PackageMissingError`` where nothing can read their frames.
    """
    load_decord()
    clips = _find_main(data, min_frames, cache)
    places = {name: place for name, place in sorted(data.more_clips.items()) if place.files}
    if not places:
        return clips
    share = 1.0 if data.clips_share is None else data.clips_share
    parts, faults = [ClipPart("clips", share, clips.train, clips.validation)], list(clips.faults)
    for name, place in places.items():
        found = _usable(load_clips(place.files, cache / f"{name}_clips.json"), data, min_frames)
        parts.append(ClipPart(name, place.share, *split_by_source(found.clips, data.validation_share)))
        faults += found.faults
    train = tuple(chain.from_iterable(part.train for part in parts))
    validation = tuple(chain.from_iterable(part.validation for part in parts))
    return RunClips(train, validation, tuple(faults), tuple(parts))


def _find_main(data: ClipSource, min_frames: int, cache: Path) -> RunClips:
    """The clips of all keys but ``more_clips``."""
    train = _train_files(data, min_frames, cache)
    validation = _validation_files(data, min_frames, cache)
    if validation is None:
        return RunClips(*split_by_source(train.clips, data.validation_share), train.faults)
    held_out = {clip.content for clip in validation.clips}
    copies = [
        ClipFault(str(clip.path), "duplicate: also a validation clip", clip.content)
        for clip in train.clips
        if clip.content in held_out
    ]
    apart = tuple(clip for clip in train.clips if clip.content not in held_out)
    left = _usable(Manifest(apart, (*train.faults, *copies)), data, min_frames)
    return RunClips(left.clips, validation.clips, (*left.faults, *validation.faults))


def find_talkers(talkers: TalkerData, resolution: int, min_frames: int, output_dir: str) -> RunClips:
    """Synthetic clips only, drawn into ``output_dir`` if they are not there; their mouths are seen. Raises as above."""
    load_decord()
    drawn = usable_clips(read_manifest(draw_talkers(talkers, resolution, output_dir)), min_frames, MODEL_FPS)
    return RunClips(*split_by_source(drawn.clips, 0), drawn.faults).with_free_mouths()


def draw_talkers(talkers: TalkerData, resolution: int, output_dir: str | Path) -> Path:
    """The manifest of the synthetic clips that a configuration asks for; they are made if they are not there."""
    crops = TalkerCrops(
        talkers.train_clips, talkers.validation_clips, talkers.seconds, resolution, talkers.seed,
        talkers.covered_share or 0.0, talkers.turned_share or 0.0,
    )  # fmt: skip
    folder = Path(output_dir) / clips_folder("talker_clips", talkers)
    return make_talker_crops(crops, folder, workers=os.cpu_count() or 1)


def clips_folder(name: str, talkers: TalkerData) -> str:
    """The name of the folder of clips with the shares of ``talkers``: another one where they are not 0. Trainings with
    and without them may go on side by side, and a folder of other settings would be written anew."""
    return f"{name}_hard" if talkers.covered_share or talkers.turned_share else name


def find_validation_clips(data: ClipSource, min_frames: int, cache: Path) -> RunClips:
    """The same validation clips, without looking at training clips where validation clips are named."""
    validation = _validation_files(data, min_frames, cache)
    if validation is None:
        return find_clips(data, min_frames, cache)
    return RunClips((), validation.clips, validation.faults)


def fill_cache(
    clips: RunClips,
    load: Callable[[Clip], LoadedT | None],
    encode: Callable[[Clip, LoadedT], object],
    what: str,
    accelerator: Accelerator,
) -> None:
    """``encode`` what ``load`` gives for this process's share of the clips, but where that is None.

    Threads load the next clips while one is encoded: a GPU would otherwise wait for every clip to be decoded. What
    fails is reported when a sample asks for it.
    """

    def attempt(clip: Clip) -> LoadedT | DataError | None:
        try:
            return load(clip)
        except DataError as error:
            return error

    both = (*clips.train, *clips.validation)
    own = both[accelerator.process_index :: accelerator.num_processes]
    loaded = parallel_map(attempt, own, workers=_LOADERS)
    bar = tqdm(zip(own, loaded, strict=True), total=len(own), desc=what, unit="clip",
               disable=not accelerator.is_main_process)  # fmt: skip
    for clip, found in bar:
        try:
            if isinstance(found, DataError):
                raise found
            if found is not None:
                encode(clip, found)
        except DataError as error:
            logger.warning("%s: %s", clip.path, error.message)


def _train_files(data: ClipSource, min_frames: int, cache: Path) -> Manifest:
    source: str | Path | None = data.train_fileslist or data.train_data_dir
    if not source and data.talkers is not None:
        source = draw_talkers(data.talkers, data.resolution, data.train_output_dir)
    if not source:
        raise ConfigError(
            "The configuration names no training clips.",
            remedy="Set data.train_data_dir to a folder of clips, or data.train_fileslist to a list or manifest.",
        )
    return _usable(load_clips(source, cache / "train_clips.json"), data, min_frames)


def _validation_files(data: ClipSource, min_frames: int, cache: Path) -> Manifest | None:
    source = data.val_fileslist or data.val_data_dir
    return None if not source else _usable(load_clips(source, cache / "val_clips.json"), data, min_frames)


def _usable(manifest: Manifest, data: ClipSource, min_frames: int) -> Manifest:
    return usable_clips(manifest, min_frames, Fraction(data.video_fps))


def _figures(clips: Sequence[Clip]) -> dict[str, float]:
    def count(name: str) -> int:
        return len({getattr(clip, name) for clip in clips} - {""})

    return {
        "clips": len(clips),
        "hours": round(sum(clip.seconds for clip in clips) / 3600, 4),
        "sources": count("source"),
        "speakers": count("speaker"),
    }


def _count(side: str, clips: Sequence[Clip]) -> str:
    figures = _figures(clips)
    return f"{side}: {figures['clips']} clips, {figures['hours']:.2f} h, {figures['sources']} recordings"
