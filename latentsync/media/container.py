"""Opening files with FFmpeg, and saying in words why one cannot be opened.

FFmpeg finds out by content what a file is, whatever its name says, and some formats are lists of other files: HLS and
DASH playlists, concat scripts, SDP session descriptions, numbered image sequences, subtitle indexes. Read as media, a
stranger's file of such a kind would show the files of this machine or of its network. So every file is opened with a
list of formats whose data lie in the file itself, and nested files can be opened by no protocol at all but ``file``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import Container, InputContainer
from av.format import Flags
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from latentsync.errors import AudioError, LatentSyncError, NoVideoStreamError, VideoError
from latentsync.media.boxes import has_index, refuse_large_index

PROTOCOLS = "file"

_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
_IMAGES = (
    "png_pipe jpeg_pipe bmp_pipe tiff_pipe webp_pipe ppm_pipe pgm_pipe pbm_pipe pam_pipe pgmyuv_pipe gif gif_pipe apng "
    "exr_pipe dpx_pipe j2k_pipe jpegls_pipe jpegxl_pipe jpegxl_anim qoi_pipe hdr_pipe pfm_pipe pcx_pipe sgi_pipe "
    "sunrast_pipe xwd_pipe psd_pipe"
)
_VIDEO = (
    f"{_MP4} {_MATROSKA} avi flv live_flv asf asf_o mpegts mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1 obu ivf "
    "mjpeg dv dirac vc1 cavsvideo mxf gxf nut rm wtv nsv yuv4mpegpipe"
)
_AUDIO = (
    "wav w64 aiff caf au mp3 aac loas flac ogg ac3 eac3 dts dtshd truehd mlp amr amrnb amrwb ape wv tta tak mpc "
    "mpc8 shn dsf iff voc gsm nistsphere ircam sox oma qoa xwma spdif"
)
READABLE = ",".join(f"{_VIDEO} {_AUDIO} {_IMAGES}".split())

# What strangers may send: common containers with an index, and no images or GIF, which unpack to any size.
COMMON_VIDEO = f"{_MP4},{_MATROSKA},avi"
COMMON_AUDIO = f"{COMMON_VIDEO},wav,w64,aiff,mp3,aac,flac,ogg"
IMAGE_SUFFIXES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
NO_VIDEO_REMEDY = "Name a video, a picture or a folder of pictures."
MOST_PIXELS = 2**26  # of a frame, where nobody says otherwise: twice 8K
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_HEAD_BYTES = 512  # enough to know a pointer file or a web page by
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # as a path, of which one slash is left


def file_url(path: Path) -> str:
    """An address that FFmpeg takes literally, whatever characters the name has."""
    return f"file:{path.absolute()}"


@contextmanager
def open_input(
    path: Path,
    error: type[VideoError] | type[AudioError],
    formats: str = READABLE,
    most_pixels: int = MOST_PIXELS,
) -> Iterator[InputContainer]:
    """Open a media file for reading, if it is of one of the ``formats`` (FFmpeg's names).

    No other file and no address is opened on its account, and no frame of more than ``most_pixels`` is decoded to find
    out what it holds. Raises ``error`` with the cause if the file cannot be read.
    """
    refuse_unreadable(path, error)
    refuse_large_index(path, error)
    options = {
        "format_whitelist": formats,
        "protocol_whitelist": PROTOCOLS,
        "max_pixels": str(with_padding(most_pixels)),
    }
    with _source(path) as source:
        try:
            container = av.open(source, "r", options=options)
        except (av.FFmpegError, ValueError) as cause:
            raise _explain(path, error, cause) from cause
        with container:
            yield container


@contextmanager
def _source(path: Path) -> Iterator[str | BinaryIO]:
    """What FFmpeg is to open. It reads % in the name of an image as a pattern for numbers, so images have no name."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            yield file
    else:
        yield file_url(path)


def with_padding(pixels: int) -> int:
    """FFmpeg's ``max_pixels`` for frames of so many: it counts the padding of rows as well."""
    return pixels + pixels // 8


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream of a container, with all other streams switched off; cover art of an audio file is none.

    Raises ``NoVideoStreamError`` if there is none, ``VideoError`` if FFmpeg has no decoder for it.
    """
    best = container.streams.best("video")
    streams = ([best] if isinstance(best, VideoStream) else []) + list(container.streams.video)
    stream = next((s for s in streams if not s.disposition & Disposition.attached_pic), None)
    if stream is None:
        holds = "only sound" if container.streams.audio else "no pictures"
        raise NoVideoStreamError(f"{path} holds {holds}.", remedy=NO_VIDEO_REMEDY)
    if stream.codec_context is None:
        raise VideoError(f"{path}: FFmpeg has no decoder for its video codec.", remedy="Convert it to H.264 first.")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return stream


def in_seconds(ticks: int | None, time_base: Fraction | None) -> Fraction:
    """A time that a container counts in ticks of ``time_base`` seconds; 0 if it does not say."""
    return Fraction(0) if ticks is None or time_base is None else ticks * time_base


def clock_may_jump(container: Container) -> bool:
    """Whether the time stamps of a container may begin anew anywhere: it carries broadcasts, or files in a row."""
    return bool(Flags(container.format.flags) & Flags.ts_discont)


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
    if head[4:8] == b"ftyp" and not has_index(path):
        return error(
            f"{path} is cut short: its index is missing (moov atom not found).",
            remedy="The recording or download did not finish: get the file again.",
        )
    if isinstance(cause, av.ArgumentError):  # what FFmpeg says of a format that is not on the list
        return error(
            f"{path} is not of a kind that is read here; lists of other files are not.",
            remedy="Convert it to MP4, or its audio to WAV.",
        )
    reason = getattr(cause, "strerror", None) or str(cause)
    return error(f"{path} is no media file that FFmpeg can read: {reason}.", remedy="Check that it plays in a player.")
