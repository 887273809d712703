"""What a video holds beside its images and the audio that is replaced: other audio, subtitles, chapters, tags.

Packets are copied as they are where the new container takes their kind, and as far as the new video shows the old one
from its start at its own speed. What does not come along is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition, Stream

from latentsync.errors import VideoError
from latentsync.media.container import in_seconds, open_input
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.output_audio import HELD

_SUBTITLES = {  # FFmpeg's codec names, by container
    "mp4": {"mov_text"},
    "mov": {"mov_text"},
    "matroska": {"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"},
    "webm": {"webvtt"},
    "avi": set(),
}
_WITH_CHAPTERS = ("mp4", "mov", "matroska", "webm")
_OF_THE_FILE = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
}  # tags that say how it was made
_OF_A_TRACK = ("language", "title")
_MOST_TAGS, _LONGEST_TAG = 100, 10_000  # characters
_MOST_CHAPTERS = 1000
_MOST_TRACKS = 32
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Beside:
    """What to carry over from ``path``.

    The result shows it from ``start``, seconds on its clock, for ``seconds``; ``otherwise`` says why that is less than
    all, for notes. ``replaced``: number of the audio track that is not carried over, None: the one that players take.
    """

    path: Path
    start: Fraction
    seconds: Fraction
    otherwise: str = ""
    replaced: int | None = None
    limits: MediaLimits = GENEROUS


class CarriedTracks:
    """The tracks that a container gets beside its own. ``notes`` name what it does not get."""

    def __init__(self, out: OutputContainer, source: InputContainer, beside: Beside, tags: Mapping[str, str]) -> None:
        """Adds streams, chapters and tags to ``out``, ``tags`` before those of the source; before anything is muxed."""
        self._beside, self._out = beside, out
        self._streams: dict[int, Stream] = {}  # by number of the source's stream
        self._given_up: set[int] = set()
        missing: list[str] = []
        for stream in self._others(source):
            if beside.seconds > 0 and len(self._streams) < _MOST_TRACKS and self._is_held(stream):
                copy = out.add_stream_from_template(stream)
                copy.metadata.update({key: stream.metadata[key] for key in _OF_A_TRACK if key in stream.metadata})
                self._streams[stream.index] = copy
            else:
                missing.append(_name(stream))
        for stream in source.streams:
            stream.discard = Discard.default if stream.index in self._streams else Discard.all
        if not self._carry_chapters(source):
            missing.append("chapters")
        out.metadata.update(_tags_of(source, tags))
        self.notes: list[str] = []
        if missing:
            why = beside.otherwise if beside.seconds == 0 else f"{out.format.name} files do not take them"
            more = ", ..." if len(missing) > _MOST_NAMED else ""
            self.notes.append(f"not in the result: {', '.join(missing[:_MOST_NAMED])}{more} ({why})")
        self._packets = self._moved(source)
        self._next = next(self._packets, None)

    def mux_until(self, time: Fraction | None) -> None:
        """Write the packets that begin before ``time`` seconds and were not written yet; None: all that are left."""
        while self._next is not None and (time is None or self._next[0] < time):
            _, number, packet = self._next
            try:
                if number not in self._given_up:
                    self._out.mux(packet)
            except av.ArgumentError:  # what muxers say of time stamps that they cannot write
                self._given_up.add(number)
                name = _name(self._streams[number])
                self.notes.append(f"not in the result from {float(self._next[0]):.1f} s on: {name} (damaged)")
            self._next = next(self._packets, None)

    def _others(self, source: InputContainer) -> Iterator[Stream]:
        main = source.streams.best("video")
        best = source.streams.best("audio")
        replaced = self._beside.replaced
        if replaced is not None and replaced < len(source.streams.audio):
            best = source.streams.audio[replaced]
        has_chapters = bool(source.chapters())
        for stream in source.streams:
            is_chapters = stream.type == "data" and has_chapters  # in MP4 they are a track of text, too
            is_cover = bool(stream.disposition & Disposition.attached_pic)
            if stream not in (main, best) and not is_chapters and not is_cover:
                yield stream

    def _is_held(self, stream: Stream) -> bool:
        container = self._out.format.name
        held = {"audio": HELD, "subtitle": _SUBTITLES}.get(stream.type, {})
        return _codec(stream) in held.get(container, ())

    def _carry_chapters(self, source: InputContainer) -> bool:
        """Whether the chapters that lie in the result are carried over; true if there are none."""
        beside = self._beside
        chapters: list[Any] = []
        known: list[Any] = source.chapters()[:_MOST_CHAPTERS]  # dictionaries
        for chapter in known:
            base = chapter["time_base"]
            if not base:
                continue
            start, end = (max(chapter[edge] * base - beside.start, Fraction(0)) for edge in ("start", "end"))
            if start < min(end, beside.seconds):
                moved = {"start": round(start / base), "end": round(min(end, beside.seconds) / base)}
                chapters.append({**chapter, **moved})
        if chapters and self._out.format.name in _WITH_CHAPTERS:
            self._out.set_chapters(chapters)
            return True
        return not known

    def _moved(self, source: InputContainer) -> Iterator[tuple[Fraction, int, av.Packet]]:
        """Packets of the carried streams on the clock of the result, with the times at which they begin."""
        if not self._streams:
            return
        beside = self._beside
        try:
            for packet in source.demux([source.streams[number] for number in self._streams]):
                beside.limits.on_packet()
                if not packet.size or packet.pts is None or packet.time_base is None:
                    continue
                begin = in_seconds(packet.pts, packet.time_base) - beside.start
                if not 0 <= begin < beside.seconds:
                    continue
                number, shift = packet.stream.index, round(beside.start / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = self._streams[number]
                yield begin, number, packet
        except av.FFmpegError:  # damage that the reading of the video has told of
            return


@contextmanager
def carried_tracks(out: OutputContainer, beside: Beside, tags: Mapping[str, str]) -> Iterator[CarriedTracks]:
    """``CarriedTracks`` of a file that is open in the meantime. Raises ``VideoError``."""
    with open_input(beside.path, VideoError, beside.limits.video_formats, beside.limits.pixels) as source:
        yield CarriedTracks(out, source, beside, tags)


def _tags_of(source: InputContainer, own: Mapping[str, str]) -> dict[str, str]:
    """``own`` tags, each before what the source says under that name, and the source's others that people wrote."""
    kept = {key: value for key, value in source.metadata.items() if key.lower() not in _OF_THE_FILE}
    kept = dict(islice(((key, value) for key, value in kept.items() if len(value) <= _LONGEST_TAG), _MOST_TAGS))
    theirs = {key.lower(): value for key, value in kept.items()}
    before = {key: f"{value}\n{theirs[key]}" if key in theirs else value for key, value in own.items()}
    return {key: value for key, value in kept.items() if key.lower() not in own} | before


def _codec(stream: Stream) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else str(getattr(stream, "name", None) or "")


def _name(stream: Stream) -> str:
    """A track in words: what it is, its codec and its language."""
    kind = {"subtitle": "subtitles", "audio": "an audio track", "video": "a video track"}.get(stream.type, stream.type)
    language = stream.metadata.get("language", "und")
    facts = [_codec(stream) or "unknown", *([language] if language != "und" else [])]
    return f"{kind} ({', '.join(facts)})"
