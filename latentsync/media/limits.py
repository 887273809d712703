"""How large a file from a stranger may be, found out before a picture of it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer

from latentsync.errors import AudioError, LatentSyncError, VideoError
from latentsync.media.container import open_input, refuse_unreadable
from latentsync.media.decoder import video_stream

# Names of FFmpeg's readers. Lists of other files (HLS, concat), pictures and GIF, which unpack to any size, are not
# among them.
_VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
_AUDIO_FORMATS = f"{_VIDEO_FORMATS},wav,w64,aiff,mp3,aac,flac,ogg"
_UNKNOWN_LENGTH = 2**32 - 1
_PROBED_PIXELS = 2**26  # of a picture that FFmpeg may decode to find out what it is: 8K and no more


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """``bytes`` of each file, ``seconds`` of each, and of a video ``pixels`` of a frame and frames per second."""

    bytes: int = 500 * 10**6
    seconds: int = 600
    pixels: int = 3840 * 2160
    fps: int = 120

    def describe(self) -> str:
        """For people, before they choose a file."""
        return (
            f"Video: MP4, MOV, MKV, WebM or AVI, up to {self.pixels / 1e6:.1f} megapixels (4K) and {self.fps} frames "
            f"per second. Sound: WAV, MP3, M4A, FLAC, OGG, or that of a video. Each file up to "
            f"{self.bytes / 10**6:.0f} MB and {self._length}."
        )

    def check_video(self, path: Path) -> None:
        """Raise ``VideoError`` unless the video is of a kind and size that is taken; its packets are counted."""
        with self._opened(path, VideoError, _VIDEO_FORMATS) as container:
            stream = video_stream(container, path)
            width, height = stream.codec_context.width, stream.codec_context.height
            if not 0 < width * height <= self.pixels:
                size = f"is {width} x {height} pixels" if width else "has pictures of no size, or of one far too large"
                raise VideoError(
                    f"{path} {size}; up to {self.pixels / 1e6:.1f} megapixels (3840 x 2160) are taken.",
                    remedy="Export it smaller.",
                )
            seconds, packets = self._measure(container, stream, path, VideoError)
            if packets > self.fps * max(seconds, 1.0):
                raise VideoError(
                    f"{path} holds {packets} frames in {seconds:.1f} s; up to {self.fps} a second are taken.",
                    remedy="Export it at an ordinary frame rate.",
                )

    def check_audio(self, path: Path) -> None:
        """Raise ``AudioError`` unless the sound is of a kind and length that is taken; its packets are counted."""
        with self._opened(path, AudioError, _AUDIO_FORMATS) as container:
            stream = container.streams.best("audio")
            if stream is not None and stream.codec_context is not None:  # else: said when the sound is read
                self._measure(container, stream, path, AudioError)

    @contextmanager
    def _opened(self, path: Path, error: type[VideoError] | type[AudioError], formats: str) -> Iterator[InputContainer]:
        refuse_unreadable(path, error)
        if path.stat().st_size > self.bytes:
            raise error(
                f"{path} has {path.stat().st_size / 10**6:.0f} MB; up to {self.bytes / 10**6:.0f} MB are taken.",
                remedy="Make it shorter or smaller.",
            )
        with ExitStack() as stack:
            try:
                options = {"format_whitelist": formats, "max_pixels": str(_PROBED_PIXELS)}
                container = stack.enter_context(open_input(path, error, options))
            except error as refused:
                if isinstance(refused.__cause__, av.ArgumentError):  # what FFmpeg says of a format not in the list
                    raise error(
                        f"{path} is not of a kind that is taken here.", remedy=f"Convert it. {self.describe()}"
                    ) from refused
                raise
            yield container

    def _measure(
        self, container: InputContainer, stream: av.stream.Stream, path: Path, error: type[LatentSyncError]
    ) -> tuple[float, int]:
        """Seconds and number of packets. Raises ``error`` if the header or the packets say that it lasts too long."""
        stated = max((container.duration or 0) / av.time_base, float((stream.duration or 0) * stream.time_base))
        if "mp4" in container.format.name:
            stated = max(stated, _seconds_in_movie_header(path))
        self._refuse_long(stated, path, error)
        seconds, packets = 0.0, 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    packets += 1
                    seconds += float((packet.duration or 0) * packet.time_base)
                    self._refuse_long(seconds, path, error)
                if packets > self.fps * self.seconds:
                    break
        except av.FFmpegError:  # damage is described where the file is read
            pass
        return max(stated, seconds), packets

    def _refuse_long(self, seconds: float, path: Path, error: type[LatentSyncError]) -> None:
        if seconds > self.seconds:
            raise error(
                f"{path} lasts more than {self._length}, the longest that is taken.",
                remedy="Cut it into shorter parts.",
            )

    @property
    def _length(self) -> str:
        return f"{self.seconds / 60:g} minutes" if self.seconds >= 120 else f"{self.seconds} s"


def _seconds_in_movie_header(path: Path) -> float:
    """The length in the 'mvhd' box of an MP4 file, which players show and FFmpeg corrects; 0 without such a box.

    ISO/IEC 14496-12, 8.2.2: version, flags, times of creation and change, units per second, length in units.
    """
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", header)
            if kind == b"mvhd":
                layout = ">4x16xIQ" if file.read(1) == b"\1" else ">4x8xII"
                box = b"\0" + file.read(struct.calcsize(layout) - 1)
                scale, length = struct.unpack(layout, box.ljust(struct.calcsize(layout), b"\0"))
                return length / scale if scale and length < _UNKNOWN_LENGTH else 0.0
            if kind == b"moov":  # its first box is the one that is looked for
                continue
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(file.read(8), "big") - 8
            if size < 8:
                break
            file.seek(size - 8, 1)
    return 0.0
