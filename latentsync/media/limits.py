"""How large a file may be, and how much may come out of it: what is decoded counts, whatever its header says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from latentsync.errors import AudioError, ConfigError, LatentSyncError, VideoError
from latentsync.media.boxes import seconds_in_header
from latentsync.media.container import (
    COMMON_AUDIO,
    COMMON_VIDEO,
    IMAGE_SUFFIXES,
    MOST_PIXELS,
    READABLE,
    in_seconds,
    open_input,
    refuse_unreadable,
    video_stream,
)
from latentsync.media.trial import refuse_costly

_MOST_FRAMES = 10**7  # of one video, 17 bytes of index each: 24 hours at 115 per second
_DAY = 24 * 3600
_SAMPLED_PACKETS = 8
_STILL_SUFFIXES = IMAGE_SUFFIXES | {".gif", ".heic", ".heif", ".avif"}
_PLAUSIBLE = 2  # times the length that some containers state (AVI with MP3)
_SAMPLE_RATES = range(1000, 768_001)  # Hz: beyond them a second is no measure of how much there is to decode


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """``bytes`` of each file, ``seconds`` of each, and of a video ``pixels`` of a frame and frames per second.

    ``held_seconds``: of audio that is held in memory as a whole, 230 MB an hour; None: as ``seconds``. ``own_files``:
    not of strangers, so that all kinds that FFmpeg reads are taken and a dub does not look at them beforehand.
    ``raised_by``: the settings that raise these limits, for remedies. ``on_packet`` is called for each packet that is
    read; what it raises ends the reading, for whoever no longer waits for it.

    The limits hold where files are decoded. ``check_video`` and ``check_audio`` are for files of strangers, before
    anything else is done with them.
    """

    bytes: int = 500 * 10**6
    seconds: int = 600
    pixels: int = 3840 * 2160
    fps: int = 120
    held_seconds: int | None = None
    own_files: bool = False
    raised_by: str = ""
    on_packet: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def frames(self) -> int:
        """Most frames of a video."""
        return min(self.seconds * self.fps, _MOST_FRAMES)

    @property
    def video_formats(self) -> str:
        """FFmpeg's names of the containers that are taken."""
        return READABLE if self.own_files else COMMON_VIDEO

    @property
    def audio_formats(self) -> str:
        """FFmpeg's names of the containers that audio is taken from."""
        return READABLE if self.own_files else COMMON_AUDIO

    def raised(self, hours: float | None, megapixels: float | None, by: str) -> MediaLimits:
        """These limits with others for what is held in memory, where they are given; ``by``: the names of the settings.

        Raises ``ConfigError`` for a limit that is not positive.
        """
        for value in (hours, megapixels):
            if value is not None and value <= 0:
                raise ConfigError(f"A limit of {value:g} takes nothing.", remedy=f"Give a larger number ({by}).")
        held = self.held_seconds if hours is None else round(hours * 3600)
        pixels = self.pixels if megapixels is None else round(megapixels * 1e6)
        return replace(self, seconds=max(self.seconds, held or 0), held_seconds=held, pixels=pixels, raised_by=by)

    def describe(self) -> str:
        """For people, before they choose a file."""
        return (
            f"Video: MP4, MOV, MKV, WebM or AVI, up to {self.pixels / 1e6:.1f} megapixels (4K) and {self.fps} frames "
            f"per second. Sound: WAV, MP3, M4A, FLAC, OGG, or that of a video. Each file up to "
            f"{self.bytes / 10**6:.0f} MB and {_length(self.seconds)}."
        )

    def check_video(self, path: Path) -> None:
        """Raise ``VideoError`` unless the video is of a kind and size that is taken; its packets are counted."""
        with self._opened(path, VideoError, self.video_formats) as container:
            stream = video_stream(container, path)
            self.refuse_size(stream.codec_context.width, stream.codec_context.height, path)
            seconds, packets = self._measure(container, stream, path, VideoError)
            if packets > self.fps * max(seconds, 1.0):
                raise VideoError(
                    f"{path} holds {packets} frames in {seconds:.1f} s; up to {self.fps} a second are taken.",
                    remedy=self._remedy("Export it at an ordinary frame rate"),
                )

    def check_audio(self, path: Path) -> None:
        """Raise ``AudioError`` unless the audio is of a kind and length that is taken; its packets are counted.

        What comes out of the packets is counted where they are decoded (``media.audio``).
        """
        with self._opened(path, AudioError, self.audio_formats) as container:
            stream = container.streams.best("audio")
            # Without one that can be decoded: said when the audio is read.
            if isinstance(stream, AudioStream) and stream.codec_context is not None:
                refuse_rate(stream.sample_rate, path)
                self._measure(container, stream, path, AudioError)

    def refuse_size(self, width: int, height: int, path: Path) -> None:
        """Raise ``VideoError`` for frames of no size, or of too large a one."""
        if not 0 < width * height <= self.pixels:
            size = f"is {width} x {height} pixels" if width else "has pictures of no size, or of one far too large"
            raise self.size_error(path, size)

    def size_error(self, path: Path, what: str) -> VideoError:
        """The error for frames that are too large; ``what`` the file is or has."""
        return VideoError(
            f"{path} {what}; up to {self.pixels / 1e6:.1f} megapixels are taken.",
            remedy=self._remedy("Export it smaller"),
        )

    def refuse_long(
        self, seconds: float | Fraction, path: Path, error: type[LatentSyncError], held: bool = False
    ) -> None:
        """Raise ``error`` for a file that lasts longer than is taken, or than may be ``held`` in memory."""
        most = self.held_seconds if held and self.held_seconds is not None else self.seconds
        if seconds > most:
            raise error(
                f"{path} lasts more than {_length(most)}, the longest that is taken.",
                remedy=self._remedy("Cut it into shorter parts"),
            )

    def refuse_frames(self, count: int, path: Path) -> None:
        """Raise ``VideoError`` for more frames than are taken."""
        if count > self.frames:
            raise VideoError(
                f"{path} holds more than {self.frames:,} frames, the most that are taken.",
                remedy=self._remedy("Cut it into shorter parts"),
            )

    @contextmanager
    def _opened(self, path: Path, error: type[VideoError] | type[AudioError], formats: str) -> Iterator[InputContainer]:
        refuse_unreadable(path, error)
        if path.stat().st_size > self.bytes:
            raise error(
                f"{path} has {path.stat().st_size / 10**6:.0f} MB; up to {self.bytes / 10**6:.0f} MB are taken.",
                remedy=self._remedy("Make it shorter or smaller"),
            )
        refuse_costly(path, error, formats, self.pixels)
        with ExitStack() as stack:
            try:
                container = stack.enter_context(open_input(path, error, formats, self.pixels))
            except error as refused:
                if isinstance(refused.__cause__, av.ArgumentError):  # what FFmpeg says of a format not in the list
                    raise error(
                        f"{path} is not of a kind that is taken here.",
                        remedy=f"{_way_out(path, error)} {self.describe()}",
                    ) from refused
                raise
            yield container

    def _measure(
        self, container: InputContainer, stream: VideoStream | AudioStream, path: Path, error: type[LatentSyncError]
    ) -> tuple[float, int]:
        """Seconds and number of packets. Raises ``error`` if the header or the packets say that it lasts too long, or
        audio packets by what comes out of the first ones."""
        stated = max((container.duration or 0) / av.time_base, float(in_seconds(stream.duration, stream.time_base)))
        if "mp4" in container.format.name:
            stated = max(stated, seconds_in_header(path))
        self.refuse_long(stated, path, error)
        seconds, packets = 0.0, 0
        first, last = None, 0.0  # time stamps of the packets: live recordings state no length, of the file or of frames
        sampled, decoded = 0.0, 0.0  # seconds of the first packets, and of what they hold
        try:
            for packet in container.demux(stream):
                self.on_packet()
                if packet.size:
                    packets += 1
                    seconds += float(in_seconds(packet.duration, packet.time_base))
                    if packet.pts is not None:
                        stamp = float(in_seconds(packet.pts, packet.time_base))
                        first, last = stamp if first is None else first, max(stamp, last)
                    if packets <= _SAMPLED_PACKETS and isinstance(stream, AudioStream):
                        sampled, decoded = seconds, decoded + _seconds_in(packet, stream)
                    expansion = decoded / sampled if decoded > _PLAUSIBLE * sampled > 0 else 1
                    self.refuse_long(seconds * expansion, path, error)
                if packets > self.fps * self.seconds:
                    break
        except av.FFmpegError:  # damage is described where the file is read
            pass
        span = last - (first or 0.0)
        self.refuse_long(span, path, error)
        return max(stated, seconds, span), packets

    def _remedy(self, what: str) -> str:
        return f"{what}, or raise the limit ({self.raised_by})." if self.raised_by else f"{what}."


# For files of one's own, and for the many that are made into training data: any kind, and a day of it.
GENEROUS = MediaLimits(10**15, _DAY, MOST_PIXELS, fps=1000, held_seconds=4 * 3600, own_files=True)


def _way_out(path: Path, error: type[VideoError] | type[AudioError]) -> str:
    """What can be done with a file of a kind that is not taken."""
    if path.suffix.lower() in _STILL_SUFFIXES:
        return "Make a video of the picture first; one of a second is repeated for as long as the sound lasts."
    return "Export it as WAV." if error is AudioError else "Export it as MP4 with H.264, as any video editor does."


def _length(seconds: int) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:g} hours"
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds} s"


def _seconds_in(packet: av.Packet, stream: AudioStream) -> float:
    try:
        return sum(frame.samples / frame.sample_rate for frame in stream.codec_context.decode(packet))
    except av.FFmpegError:  # as above
        return 0.0


def refuse_rate(rate: int, path: Path) -> None:
    """Raise ``AudioError`` for a sample rate, in Hz, that no recording has."""
    if rate not in _SAMPLE_RATES:
        raise AudioError(
            f"{path} states {rate} samples of audio per second; from {_SAMPLE_RATES[0]:,} to {_SAMPLE_RATES[-1]:,} "
            "are taken.",
            remedy="Export it at an ordinary sample rate.",
        )
