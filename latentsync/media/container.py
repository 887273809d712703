"""Opening files with FFmpeg, and saying in words why one cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from latentsync.errors import AudioError, LatentSyncError, VideoError

IMAGE_SUFFIXES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
_HEAD_BYTES = 512  # enough to know a pointer file or a web page by
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # as a path, of which one slash is left


def file_url(path: Path) -> str:
    """An address that FFmpeg takes literally, whatever characters the name has."""
    return f"file:{path.absolute()}"


@contextmanager
def open_input(
    path: Path, error: type[VideoError] | type[AudioError], options: dict[str, str] | None = None
) -> Iterator[InputContainer]:
    """Open a media file for reading, with FFmpeg's ``options``; raises ``error`` with the cause if that fails."""
    refuse_unreadable(path, error)
    # FFmpeg reads % in the name of a picture as a pattern for numbers, so pictures come through a file object.
    source = path.open("rb") if path.suffix.lower() in IMAGE_SUFFIXES else file_url(path)
    try:
        try:
            container = av.open(source, options=options)
        except (av.FFmpegError, ValueError) as cause:
            raise _explain(path, error, cause) from cause
        with container:
            yield container
    finally:
        if not isinstance(source, str):
            source.close()


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder; not if the system refuses to say, which opening it as a file then explains."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def refuse_unreadable(path: Path, error: type[LatentSyncError]) -> None:
    """Raise ``error`` unless ``path`` is a file with at least one byte that may be read."""
    try:
        if not path.exists():
            if _ADDRESS.match(str(path)):
                raise error(
                    f"{path} is an address, and nothing is fetched here.", remedy="Download the file and name that."
                )
            raise error(f"There is no file {path}.", remedy="Check the spelling of the path.")
        if path.is_dir():
            raise error(f"{path} is a folder, not a media file.", remedy="Name a file in it.")
        if not path.is_file():  # it could be read once only, and opening it may wait for ever
            raise error(f"{path} is a pipe or a device, not a file.", remedy="Save what comes out of it to a file.")
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}.", remedy="Check its permissions.") from cause
    if empty:
        raise error(f"{path} is empty (0 bytes).", remedy="Download or copy the file again.")


def _explain(path: Path, error: type[LatentSyncError], cause: Exception) -> LatentSyncError:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return error(f"{path} is a Git-LFS pointer, not the file itself.", remedy="Fetch the file with 'git lfs pull'.")
    if text.startswith((b"<!doctype html", b"<html")):
        return error(f"{path} is a web page, not a media file.", remedy="Download the file itself.")
    if head[4:8] == b"ftyp" and b"moov" not in _complete_boxes(path):
        return error(
            f"{path} is cut short: its index is missing (moov atom not found).",
            remedy="The recording or download did not finish: get the file again.",
        )
    reason = getattr(cause, "strerror", None) or str(cause)
    return error(f"{path} is no media file that FFmpeg can read: {reason}.", remedy="Check that it plays in a player.")


def _complete_boxes(path: Path) -> list[bytes]:
    """Types of the boxes at the top level of an MP4 file that are there to their last byte."""
    types, position, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            if size == 1:  # 64-bit size follows
                size = int.from_bytes(file.read(8), "big")
            elif size == 0:  # up to the end of the file
                size = end - position
            position += size
            if size < 8 or position > end:
                break
            types.append(kind)
            file.seek(position)
    return types
