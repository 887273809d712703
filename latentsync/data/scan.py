"""Making a manifest from files: every one is opened once, and what was found out is kept beside the run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentsync.atomic import write_text
from latentsync.data.batches import ClipFault
from latentsync.data.manifest import (
    MANIFEST_SUFFIX,
    Clip,
    Manifest,
    clip_from_row,
    content_hash,
    read_manifest,
)
from latentsync.errors import DataError, LatentSyncError
from latentsync.media.probe import probe_video
from latentsync.stream import parallel_map

Row = dict[str, Any]  # columns of a manifest, or the reason why a file is no clip

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
SCAN_THREADS = 8  # opening files is mostly waiting


def load_clips(source: str | Path, cache: Path | None = None) -> Manifest:
    """All clips that ``source`` names: a manifest (.jsonl), a list with one path a line, or a folder with its
    sub-folders.

    ``cache`` is a file that remembers what opening the files of a list or a folder gave; a file is opened again only
    if its size or its time of change differ. Raises ``DataError`` if ``source`` does not exist or names no file.
    """
    source = Path(source)
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    elif not source.is_file():
        raise DataError(f"There are no clips at {source}.", remedy="Name a manifest, a list of files or a folder.")
    elif source.suffix == MANIFEST_SUFFIX:
        return read_manifest(source)
    else:
        lines = source.read_text(encoding="utf-8").splitlines()
        paths = [source.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise DataError(f"{source} holds no video files.", remedy=f"Looked for {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return scan_clips(paths, cache)


def scan_clips(paths: Iterable[Path], cache: Path | None = None) -> Manifest:
    """Open every file that ``cache`` does not know and say what it holds, in the order given."""
    known = _read_cache(cache)
    clips: list[Clip] = []
    faults: list[ClipFault] = []
    rows: dict[str, Row] = {}
    for path, row in parallel_map(lambda p: (p, known.get(_identity(p)) or _examine(p)), paths, workers=SCAN_THREADS):
        rows[_identity(path)] = row
        if "reason" in row:
            faults.append(ClipFault(str(path), row["reason"]))
        else:
            clips.append(clip_from_row({**row, "path": path}, Path()))
    if cache is not None and rows.keys() - known.keys():
        write_text(cache, json.dumps(known | rows))
    return Manifest(tuple(clips), tuple(faults))


def _examine(path: Path) -> Row:
    """The columns of a clip, or the reason why it is none."""
    try:
        info = probe_video(path)
    except LatentSyncError as error:
        return {"reason": f"cannot be opened: {error.message}"}
    if not info.audio:
        return {"reason": "no sound: the file has no sound track"}
    if info.variable_frame_rate:
        return {"reason": f"wrong frame rate: it varies, on average {float(info.fps):.6g} frames/s"}
    seconds = info.audio[0].duration
    return {
        "content": content_hash(path),
        "frames": info.n_frames,
        "fps": str(info.fps),
        "width": info.width,
        "height": info.height,
        "sound_seconds": float(seconds if seconds is not None else info.duration),
    }


def _identity(path: Path) -> str:
    """Path, size and time of change; a missing file has its path only."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return str(path)
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def _read_cache(cache: Path | None) -> dict[str, Row]:
    if cache is None or not cache.is_file():
        return {}
    try:
        return json.loads(cache.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{cache} is damaged: {error}.", remedy="Remove it; it only remembers what can be found out again."
        ) from error
