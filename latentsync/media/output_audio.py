"""The given audio into the written file: as it is where the container can hold it, else encoded well above need."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from latentsync.errors import EncoderError, NoAudioStreamError
from latentsync.media.audio import decode_audio, open_audio, silence_like
from latentsync.media.container import in_seconds

_PCM = {"pcm_u8": 1, "pcm_s16le": 2, "pcm_s24le": 3, "pcm_s32le": 4, "pcm_f32le": 4, "pcm_f64le": 8}  # sample bytes
_LOSSLESS = ("flac", "alac")
HELD: dict[str, set[str]] = {  # FFmpeg's codec names, by container: what can be there
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"},
    "mov": {"aac", "mp3", "ac3", "alac"} | _PCM.keys() - {"pcm_u8"},
    "matroska": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "vorbis", "mp2"} | _PCM.keys(),
    "webm": {"opus", "vorbis"},
    "avi": {"mp3", "ac3", "mp2", "pcm_u8", "pcm_s16le"},
}
# What is copied unasked: in MP4 and QuickTime files QuickTime and phones play these, and are silent with others.
_EXPECTED = HELD | {
    "mp4": HELD["mp4"] - {"mp3", "flac", "opus"},
    "mov": HELD["mov"] - {"mp3"},
}
_TIMED = ("mp4", "mov", "matroska", "webm")  # containers in which audio may begin later than the video
# Containers that carry the lead-in of a codec (samples before the first audible one) so that it is skipped in playing:
# MP4 by its edit list, Matroska only where the reader states it, which FFmpeg does for Opus.
_LEAD_IN = {"mp4": HELD["mp4"], "mov": HELD["mov"], "matroska": {"opus"}, "webm": {"opus"}, "avi": set()}
_ENCODERS = {"mp4": "aac", "mov": "aac", "matroska": "flac", "webm": "libopus", "avi": "pcm_s16le"}
_BITS_PER_CHANNEL = 128_000  # bit/s
_LEAST_BITS = 192_000  # bit/s
_AAC_BITS_PER_SAMPLE = 6  # the format's limit: 6144 bits per channel and 1024 samples
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Which audio a file gets. ``track`` counts those of ``path`` from 0, None: the one that players take.

    It begins ``delay`` seconds after the first frame; if that is negative, so much of its beginning is left out. It
    ends ``limit`` seconds after the first frame: exactly, or, where lossy packets are copied, at the nearest end of a
    packet. ``copied``: not encoded wherever the container can hold the codec, whether players expect it there or not.
    ``gaps``: its time stamps leave gaps, so it is encoded, with silence in them. ``for_browsers``: AAC in any case.
    ``filled``: silence follows it until ``limit``, so that it has all samples up to there; never copied.
    """

    path: Path
    track: int | None = None
    delay: Fraction = Fraction(0)
    limit: Fraction | None = None
    copied: bool = False
    gaps: bool = False
    filled: bool = False
    for_browsers: bool = False

    def expected(self, container: str) -> set[str]:
        """Codecs that players of the file play."""
        return {"aac"} if self.for_browsers else _EXPECTED[container]


class OutputAudio:
    """The audio stream of a container that is being written. Add it before anything is muxed.

    ``how`` says what becomes of the audio: "copied", or the new codec (with its bit rate if it is lossy); ``notes`` say
    what a user should know of that. Audio that is cut at its beginning is always encoded. ``added``: seconds of silence
    that were put at its end, once all packets were given. Raises ``NoAudioStreamError`` for a stream without a sample,
    ``EncoderError`` for one that cannot be encoded.
    """

    def __init__(self, out: OutputContainer, source: InputContainer, track: AudioStream, part: AudioPart) -> None:
        self._track, self._part = track, part
        self._lead = max(part.delay, Fraction(0))  # seconds of silence before it
        self._skipped = max(-part.delay, Fraction(0))  # seconds of it that are left out
        self._limit = None if part.limit is None else max(part.limit - self._lead, Fraction(0))
        self.notes: list[str] = []
        self.added = Fraction(0)
        packets = source.demux(track)
        first = next(packets)  # if there is none, the empty packet that ends every stream
        packets = chain([first], packets)
        self._origin = track.start_time or 0  # the first audible sample; a lead-in lies before it
        lead_in = first.pts is not None and first.pts < self._origin
        codec, container = track.codec_context.codec.canonical_name, out.format.name
        if self._is_copied(codec, container, lead_in):
            self.how = "copied"
            stream = out.add_stream_from_template(track)
            self._packets = self._copied(packets, stream, codec)
        else:
            kept = _LOSSLESS if not part.filled else (*_LOSSLESS, *_PCM)  # whole samples are what that is about
            same = codec in kept and codec in part.expected(container)
            stream = _add_encoder(out, track, codec if same else _ENCODERS[container])
            self.how = _describe(stream)
            self._packets = self._encoded(packets, stream)
            written = stream.codec_context.codec.canonical_name
            lossless = codec in _LOSSLESS and written in (*_LOSSLESS, *_PCM)
            if written != codec and not lossless and not codec.startswith("pcm"):
                self.notes.append(self._described(codec, container))
        if "language" in track.metadata:
            stream.metadata["language"] = track.metadata["language"]
        self._next = next(self._packets, None)
        if self._next is None:
            raise NoAudioStreamError(
                f"{part.path}: its sound track holds no sample.", remedy="Name a file that has sound."
            )

    def packets_until(self, time: Fraction | None) -> Iterator[av.Packet]:
        """Packets that begin before ``time`` seconds and were not given yet; all that are left for None."""
        while self._next is not None and (time is None or self._next[0] < time):
            yield self._next[1]
            self._next = next(self._packets, None)

    def _described(self, codec: str, container: str) -> str:
        note = f"the sound, {codec}, is written as {self.how}"
        if codec not in HELD[container] - self._part.expected(container) or self._part.copied:
            return note
        players = "some browsers" if self._part.for_browsers else "phones and QuickTime"
        return f"{note}, since {players} are silent with {codec} in such a file; --copy_audio keeps it as it is"

    def _is_copied(self, codec: str, container: str, lead_in: bool) -> bool:
        taken = HELD[container] if self._part.copied else self._part.expected(container)
        if codec not in taken or (lead_in and codec not in _LEAD_IN[container]):
            return False
        if self._skipped or self._part.gaps or self._part.filled or (self._lead and container not in _TIMED):
            return False
        return self._limit is None or codec not in _LOSSLESS  # their packets last 0.1 s: too coarse to cut by

    def _copied(
        self, packets: Iterable[av.Packet], stream: AudioStream, codec: str
    ) -> Iterator[tuple[Fraction, av.Packet]]:
        position = 0  # for formats without time stamps
        for packet in packets:
            if not packet.size:
                continue
            own = position if packet.pts is None else packet.pts - self._origin
            position = own + (packet.duration or 0)
            start = in_seconds(own, packet.time_base)
            if self._limit is not None and codec in _PCM:
                short = _shortened(packet, self._track, _PCM[codec], self._limit - start)
                if short is None:
                    return
                packet = short
            elif self._limit is not None and start + in_seconds(packet.duration, packet.time_base) / 2 >= self._limit:
                return
            packet.pts = packet.dts = own + round(self._lead / packet.time_base)
            packet.stream = stream
            yield start + self._lead, packet

    def _encoded(self, packets: Iterable[av.Packet], stream: AudioStream) -> Iterator[tuple[Fraction, av.Packet]]:
        rate = self._track.sample_rate
        begin = round(self._skipped * rate)
        end = None if self._limit is None else begin + round(self._limit * rate)
        if self._limit is not None and self._part.filled:  # an excerpt goes on where the one before ends
            end = round((self._skipped + self._limit) * rate)
        read = position = 0
        last_frame: av.AudioFrame | None = None
        for frame in decode_audio(packets, self._track, self._part.path):
            first, last = read, read + frame.samples
            read, last_frame = last, frame
            if last <= begin:
                continue
            if first < begin or (end is not None and last > end):
                part = _samples(frame, max(begin - first, 0), (last if end is None else min(last, end)) - first)
                if part is None:
                    break
                frame = part
            for piece in (*(silence_like(frame, self._lead) if position == 0 else ()), frame):
                piece.pts, piece.time_base = position, Fraction(1, rate)
                position += piece.samples
                yield from self._encode(stream, piece)
        missing = 0 if end is None or not self._part.filled else end - begin + round(self._lead * rate) - position
        if missing > 0 and last_frame is not None:
            self.added = Fraction(missing, rate)
            for piece in silence_like(last_frame, self.added):
                piece.pts, piece.time_base = position, Fraction(1, rate)
                position += piece.samples
                yield from self._encode(stream, piece)
        yield from self._encode(stream, None)

    def _encode(self, stream: AudioStream, frame: av.AudioFrame | None) -> list[tuple[Fraction, av.Packet]]:
        try:
            packets = stream.encode(frame)
        except (av.FFmpegError, ValueError) as cause:
            raise EncoderError(
                f"{self._part.path}: its sound cannot be encoded as {self.how}: {getattr(cause, 'strerror', cause)}.",
                remedy="Convert it to a stereo WAV file first.",
            ) from cause
        return [(in_seconds(packet.pts, packet.time_base), packet) for packet in packets]


def check_audio(part: AudioPart, container: str) -> list[str]:
    """What a user should know of what becomes of the audio in a ``container`` (FFmpeg's name). Encodes its beginning.

    Raises as ``OutputAudio`` and ``media.audio.open_audio`` do.
    """
    with (
        av.open(io.BytesIO(), "w", format=container) as out,
        open_audio(part.path, track=part.track) as (source, track),
    ):
        return OutputAudio(out, source, track, part).notes


def _add_encoder(out: OutputContainer, track: AudioStream, name: str) -> AudioStream:
    """An encoder at the rate and with the channels of the source, as far as it can."""
    encoder = av.Codec(name, "w")
    rates = sorted(encoder.audio_rates or [track.sample_rate])
    rate = next((rate for rate in rates if rate >= track.sample_rate), rates[-1])
    layout = _LAYOUTS.get(track.channels, track.layout)
    if name not in ("aac", "libopus"):
        stream = _audio_stream(out.add_stream(name, rate=rate, layout=layout))
        wide = track.codec_context.format.bits > 16
        stream.format = max(encoder.audio_formats or (), key=lambda sample: sample.bits if wide else -sample.bits).name
        return stream
    bits = max(_LEAST_BITS, _BITS_PER_CHANNEL * track.channels)
    if name == "aac":
        bits = min(bits, _AAC_BITS_PER_SAMPLE * rate * track.channels)
    return _audio_stream(out.add_stream(name, rate=rate, layout=layout, bit_rate=bits))


def _audio_stream(stream: Stream) -> AudioStream:
    assert isinstance(stream, AudioStream)  # the encoders are those of audio
    return stream


def _describe(stream: AudioStream) -> str:
    context = stream.codec_context
    rate = f" {context.bit_rate // 1000}k" if context.bit_rate else ""
    return context.codec.canonical_name + rate


def _shortened(packet: av.Packet, track: AudioStream, sample_bytes: int, seconds: Fraction) -> av.Packet | None:
    """A PCM packet cut to at most ``seconds``; None if nothing of it is left."""
    n_samples = round(seconds * track.sample_rate)
    n_bytes = n_samples * sample_bytes * track.channels
    if n_samples <= 0:
        return None
    if n_bytes >= packet.size:
        return packet
    short = av.Packet(bytes(packet)[:n_bytes])
    short.pts, short.dts, short.time_base = packet.pts, packet.dts, packet.time_base
    short.duration = round(Fraction(n_samples, track.sample_rate) / packet.time_base)
    return short


def _samples(frame: av.AudioFrame, first: int, stop: int) -> av.AudioFrame | None:
    if stop <= first:
        return None
    columns = 1 if frame.format.is_planar else frame.layout.nb_channels
    samples = frame.to_ndarray()[:, first * columns : stop * columns].copy()
    short = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
    short.sample_rate = frame.sample_rate
    return short
