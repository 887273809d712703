"""Which clips there are: a manifest says of every clip what the samplers need, so that no file is opened to find out.

A manifest is a JSON-lines file, one clip a line: ``path`` (relative to the manifest, or absolute), ``content``,
``frames``, ``fps``, ``width``, ``height``, ``sound_seconds``, and optionally ``split``, ``speaker``, ``source`` and
``covered``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.data.batches import ClipFault
from latentsync.errors import DataError

TRAIN, VALIDATION = "train", "val"  # values of ``split``
MANIFEST_SUFFIX = ".jsonl"

_BLOCK = 1 << 16  # bytes at the start, middle and end of a file that go into its content hash
_COLUMNS = {"audio_seconds": "sound_seconds"}  # fields that have another name in files
_SEGMENT_SUFFIX = re.compile(r"(_shot_?\d+|_\d{3,})+$")  # what cutting a video into shots and segments adds to its name


@dataclass(frozen=True, slots=True)
class Clip:
    """A video file with audio. ``source`` is the recording that it was cut from: the unit of the validation split.

    ``covered``: stretches of frames, (first, one behind the last), in which something comes before the mouth.
    """

    path: Path
    content: str  # hexadecimal content hash
    frames: int
    fps: Fraction
    width: int
    height: int
    audio_seconds: float  # ``sound_seconds`` in files
    split: str = ""
    speaker: str = ""
    source: str = ""
    covered: tuple[tuple[int, int], ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return float(self.frames / self.fps)

    def shows_mouth(self, start: int, count: int) -> bool:
        """Whether nothing comes before the mouth in the ``count`` frames from ``start`` on."""
        return not any(first < start + count and start < stop for first, stop in self.covered)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Usable clips in a fixed order, and the files that are not, with the reason."""

    clips: tuple[Clip, ...]
    faults: tuple[ClipFault, ...] = ()


def content_hash(path: Path) -> str:
    """128-bit hash of a file's size and of three blocks of it: cheap, and different for all but contrived files."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as stream:
        for start in sorted({0, max(0, size // 2 - _BLOCK // 2), max(0, size - _BLOCK)}):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def is_held_out(content: str, share: float) -> bool:
    """Whether the file with that content hash is for validation: so for every data set that is made of it."""
    return int(content[:8], 16) < share * 2**32


def source_name(path: Path) -> str:
    """The recording a clip was cut from, judged by its name: folder and stem without shot and segment numbers."""
    return f"{path.parent.name}/{_SEGMENT_SUFFIX.sub('', path.stem)}"


def read_manifest(path: Path) -> Manifest:
    """The clips of a manifest file; those whose file is gone are faults. Raises ``DataError`` for a malformed line."""
    clips, faults = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            clip = clip_from_row(json.loads(line), path.parent)
        except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
            raise DataError(
                f"Line {number} of the manifest {path} does not describe a clip: {error!r}.",
                remedy="Make the manifest again, or mend the line; its keys are listed in docs/train_syncnet.md.",
            ) from error
        if clip.path.is_file():
            clips.append(clip)
        else:
            faults.append(ClipFault(str(clip.path), "missing: the file does not exist", clip.content))
    return Manifest(tuple(clips), tuple(faults))


def write_manifest(clips: Iterable[Clip], path: Path) -> None:
    """Write ``clips`` in one step; paths below the manifest's folder become relative, so the folder can be moved."""
    lines = [json.dumps(_to_row(clip, path.parent), ensure_ascii=False) + "\n" for clip in clips]
    write_text(path, "".join(lines))


def split_by_source(clips: Sequence[Clip], validation_share: float) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Training and validation clips; all clips of one source, and all copies of one content, are on the same side.

    A ``split`` that the manifest states is kept. The other sources are ranked by a hash of their name and the first
    ``validation_share`` of them, at least one, are for validation. Raises ``DataError`` if one side stays empty.
    """
    stated = {clip.source: clip.split for clip in clips if clip.split}
    free = sorted({clip.source for clip in clips} - set(stated), key=_rank)
    n_validation = max(1, round(validation_share * len(free))) if free and VALIDATION not in stated.values() else 0
    sides = stated | {name: VALIDATION if k < n_validation else TRAIN for k, name in enumerate(free)}
    held_out = {clip.content for clip in clips if sides[clip.source] == VALIDATION}
    train = [clip for clip in clips if sides[clip.source] == TRAIN and clip.content not in held_out]
    validation = [clip for clip in clips if sides[clip.source] == VALIDATION]
    if not train or not validation:
        raise DataError(
            f"{len(clips)} clips of {len(sides)} source(s) cannot be split into training and validation.",
            remedy="Give at least two recordings, or name validation clips of their own (data.val_fileslist).",
        )
    return tuple(replace(clip, split=TRAIN) for clip in train), tuple(replace(c, split=VALIDATION) for c in validation)


def usable_clips(manifest: Manifest, min_frames: int, fps: Fraction) -> Manifest:
    """Move clips that no sampler can use to the faults: too short, of another frame rate, second copies.

    Raises ``DataError`` with a table of the reasons if nothing is left.
    """
    clips: list[Clip] = []
    faults = list(manifest.faults)
    seen: dict[str, Path] = {}
    for clip in manifest.clips:
        reason = _unusable(clip, min_frames, fps)
        if reason is None and clip.content in seen:
            reason = f"duplicate: the same content as {seen[clip.content]}"
        if reason is None:
            clips.append(clip)
            seen[clip.content] = clip.path
        else:
            faults.append(ClipFault(str(clip.path), reason, clip.content))
    if not clips:
        raise DataError(
            f"None of {len(faults)} clips can be used for training.\n{fault_table(faults)}",
            remedy=f"Clips need sound, {float(fps):g} frames/s and at least {min_frames} frames; "
            "`latentsync preprocess` makes such clips from raw videos.",
        )
    return Manifest(tuple(clips), tuple(faults))


def fault_table(faults: Sequence[ClipFault], examples: int = 3) -> str:
    """One line per kind of reason, most frequent first: count, share and a few of the files."""
    kinds = Counter(_kind(fault.reason) for fault in faults)
    lines = []
    for kind, count in kinds.most_common():
        files = [f"{fault.path} ({fault.reason})" for fault in faults if _kind(fault.reason) == kind][:examples]
        lines.append(f"  {count:6d}  {kind}: " + "; ".join(files) + ("; ..." if count > examples else ""))
    return "\n".join(lines)


def _kind(reason: str) -> str:
    """Reasons read "kind: details"."""
    return reason.partition(":")[0]


def _unusable(clip: Clip, min_frames: int, fps: Fraction) -> str | None:
    if clip.fps != fps:
        return f"wrong frame rate: {float(clip.fps):.6g} frames/s where {float(fps):g} are needed"
    if clip.frames < min_frames:
        return f"too short: {clip.frames} frames where {min_frames} are needed"
    if clip.audio_seconds * fps < min_frames:
        return f"sound too short: {clip.audio_seconds:.2f} s where {float(min_frames / fps):.2f} s are needed"
    return None


def _rank(source: str) -> bytes:
    return hashlib.blake2b(source.encode(), digest_size=8).digest()


def _to_row(clip: Clip, folder: Path) -> dict[str, Any]:
    row = {_COLUMNS.get(key, key): value for key, value in asdict(clip).items() if value not in ("", ())}
    path, folder = clip.path.resolve(), folder.resolve()
    row["path"] = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    row["fps"] = str(clip.fps)
    return row


def clip_from_row(row: Mapping[str, Any], folder: Path) -> Clip:
    """The clip of one line of a manifest that lies in ``folder``.

    Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``ZeroDivisionError`` for a row that describes none.
    """
    path = folder / row["path"]
    values = {**row, "path": path, "fps": Fraction(row["fps"]), "source": row.get("source") or source_name(path)}
    values["covered"] = tuple((int(first), int(stop)) for first, stop in row.get("covered", ()))
    for field, column in _COLUMNS.items():
        values[field] = values.pop(column)
    clip = Clip(**values)
    if not all(isinstance(n, int) and n >= 0 for n in (clip.frames, clip.width, clip.height)):
        raise ValueError("frames, width and height have to be whole numbers")
    if not (math.isfinite(clip.audio_seconds) and clip.audio_seconds >= 0):
        raise ValueError("sound_seconds has to be a length in seconds")
    if not (clip.fps > 0 and clip.content and clip.split in ("", TRAIN, VALIDATION)):
        raise ValueError("a frame rate that is not positive, no content, or an unknown split")
    return clip
