"""Frames and the given audio into one file, encoded once, which appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from latentsync.atomic import atomic_file, is_disk_full
from latentsync.errors import DiskFullError, OutputError
from latentsync.media.audio import open_audio
from latentsync.media.carried import Beside, carried_tracks
from latentsync.media.container import file_url
from latentsync.media.encoding import EncodingOptions, EncodingPlan, plan_encoding
from latentsync.media.output_audio import AudioPart, OutputAudio
from latentsync.media.video_track import VideoTrack, check_encoder, encoder_error
from latentsync.types import Frame, VideoInfo

__all__ = ["EncodingOptions", "WrittenVideo", "check_encoder", "refuse_unwritable", "write_video"]


@dataclass(frozen=True)
class WrittenVideo:
    """What has been written. ``audio``: "none", "copied", or the codec and bit rate that it was encoded with."""

    path: Path
    n_bytes: int
    n_frames: int
    seconds: float
    codec: str
    pix_fmt: str
    audio: str
    notes: tuple[str, ...]  # what the file does not keep of its source


def write_video(
    path: Path | str,
    frames: Iterable[Frame],
    source: VideoInfo,
    encoding: EncodingOptions | None = None,
    audio: AudioPart | Path | str | None = None,
    overwrite: bool = False,
    key_frames: Container[int] = (),
    tags: Mapping[str, str] | None = None,
    finish: Callable[[Path], None] | None = None,
    length: Fraction | None = None,
    beside: Beside | None = None,
) -> WrittenVideo:
    """Encode ``frames`` and mux the audio of a file, or a part of it.

    ``source`` gives size, rate, color, shape of pixels and alpha; ``Frame.time`` when each frame is shown. Where the
    rate varies, the last frame is shown until ``length`` seconds; None: as long as in the source. The file is written
    under another name in the same folder and renamed when it is complete; nothing stays behind otherwise. The iterator
    is closed in any case. ``key_frames`` holds the indices of frames at which the file shall be cut later
    (``media.cutting``); it is asked when a frame arrives, so the source of the frames may add to it as it goes.
    ``tags`` are the container's metadata; ``beside`` says what else is carried over; ``finish`` may change the complete
    file before it appears.

    Raises ``OutputError`` for a place that cannot be written, a file that exists (unless ``overwrite``) or is an input;
    ``DiskFullError``; ``EncoderError``; ``AudioError`` for the audio; and whatever ``frames`` raises.
    """
    path = Path(path)
    part = AudioPart(Path(audio)) if isinstance(audio, (str, Path)) else audio
    try:
        refuse_unwritable(path, (source.path, None if part is None else part.path), overwrite)
        encoding = encoding or EncodingOptions()
        plan = plan_encoding(encoding, source, path.suffix)
        if part is not None and encoding.for_browsers:
            part = replace(part, for_browsers=True)
        shown = _with_durations(frames, source, length)
        with _appearing(path) as partial:
            written = _encode(partial, path, shown, source, plan, part, key_frames, tags or {}, beside)
            if finish is not None:
                finish(partial)
            n_bytes = partial.stat().st_size
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()
    seconds, notes = float(written.end), (*plan.notes, *written.notes)
    return WrittenVideo(path, n_bytes, written.n_frames, seconds, plan.codec, plan.pix_fmt, written.audio, notes)


def refuse_unwritable(path: Path, inputs: Iterable[Path | None], overwrite: bool) -> None:
    """Raise ``OutputError`` unless a file may appear at ``path`` without harm to an existing file or an input."""
    try:
        path.exists()
    except OSError as cause:  # a name that is too long, a folder that may not be entered
        raise output_error(path, cause) from cause
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent} for the result.", remedy="Create it first.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", remedy="Name a file in it.")
    if path.exists():
        for source in inputs:
            if source is not None and source.exists() and path.samefile(source):
                raise OutputError(f"{path} is an input and would be overwritten.", remedy="Name another result.")
        if not overwrite:
            raise OutputError(f"{path} exists already.", remedy="Name another result, or give --overwrite.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {path.parent} is not writable.", remedy="Choose another folder for the result.")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """``atomic_file``, whose own errors are named; those of the block go through as they are."""
    with ExitStack() as stack:
        try:
            partial = stack.enter_context(atomic_file(path))
        except OSError as cause:
            raise output_error(path, cause) from cause
        yield partial
        try:
            stack.close()
        except OSError as cause:
            raise output_error(path, cause) from cause


@dataclass(slots=True)
class _Written:
    """What has gone into a file so far; ``end`` of the last frame, s."""

    n_frames: int = 0
    end: Fraction = Fraction(0)
    audio: str = "none"
    notes: list[str] = field(default_factory=list)


def _encode(
    partial: Path,
    target: Path,
    frames: Iterable[tuple[Frame, Fraction]],
    source: VideoInfo,
    plan: EncodingPlan,
    audio: AudioPart | None,
    key_frames: Container[int],
    tags: Mapping[str, str],
    beside: Beside | None,
) -> _Written:
    """Write the file ``partial`` for ``target`` from frames with their durations."""
    written, output_audio, carried = _Written(), None, None
    with ExitStack() as stack:
        reader = None if audio is None else stack.enter_context(open_audio(audio.path, track=audio.track))
        container = stack.enter_context(_open_output(partial, plan))
        with _named_errors(target, plan, source):
            track = VideoTrack(container, plan, source)
            if audio is not None and reader is not None:
                output_audio = OutputAudio(container, *reader, audio)
                written.audio = output_audio.how
                written.notes += output_audio.notes
            if beside is not None:
                carried = stack.enter_context(carried_tracks(container, beside, tags))
            else:
                container.metadata.update(tags)

        def mux_other(until: Fraction | None) -> None:
            if output_audio is not None:
                for packet in output_audio.packets_until(until):
                    container.mux(packet)
            if carried is not None:
                carried.mux_until(until)

        for frame, duration in frames:
            with _named_errors(target, plan, source):
                container.mux(track.encode(frame, duration, frame.index in key_frames))
                mux_other(frame.time)
            written.n_frames, written.end = written.n_frames + 1, frame.time + duration
        if written.n_frames == 0:
            raise OutputError(f"{target} cannot be written: there is not a single frame.", remedy="Check the input.")
        with _named_errors(target, plan, source):
            container.mux(track.flush())
            mux_other(None)
            container.close()
    if output_audio is not None and output_audio.added:
        added = float(output_audio.added)
        written.notes.append(f"{added:.4f} s of silence were put at the end of the audio, so that it ends with a frame")
    written.notes += [] if carried is None else carried.notes
    return written


@contextmanager
def _open_output(partial: Path, plan: EncodingPlan) -> Iterator[OutputContainer]:
    """The container to write to; the block closes it when all went well, otherwise it is closed here."""
    # The index of an MP4 goes to the front, so that a browser can play it while it loads.
    options = {"movflags": "+faststart"} if plan.container in ("mp4", "mov") else {}
    container = av.open(file_url(partial), "w", format=plan.container, container_options=options)
    try:
        yield container
    finally:
        with suppress(av.FFmpegError):  # the error that brought us here says more than that closing fails as well
            container.close()


@contextmanager
def _named_errors(target: Path, plan: EncodingPlan, source: VideoInfo) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, av.codec.codec.UnknownCodecError) as cause:
        if isinstance(cause, OSError):
            raise output_error(target, cause) from cause
        raise encoder_error(plan, source, cause) from cause


def output_error(target: Path, cause: OSError) -> OutputError:
    """The error for a file that cannot be written."""
    if is_disk_full(cause):
        return DiskFullError(
            f"There is not enough room for {target}.", remedy="Free some space, or choose another disk."
        )
    return OutputError(f"{target} cannot be written: {cause.strerror}.", remedy="Choose another place for the result.")


def _with_durations(
    frames: Iterable[Frame], source: VideoInfo, length: Fraction | None
) -> Iterator[tuple[Frame, Fraction]]:
    """Each frame with the seconds that it is shown: until the next one, the last one as ``write_video`` says."""
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield held, frame.time - held.time
        held = frame
    if held is None:
        return
    end = source.duration if length is None and held.index == source.n_frames - 1 else length
    remaining = Fraction(0) if end is None else end - held.time
    yield held, remaining if source.variable_frame_rate and remaining > 0 else source.frame_interval
