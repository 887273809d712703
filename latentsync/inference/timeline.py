"""Which source frame is shown when: six ways to fit a video to audio of another length.

A frame is shown if at least half of it lies within the length asked for, so a constant-rate result has exactly
``floor(duration * fps + 1/2)`` frames. Times are exact fractions: nothing drifts, however long the audio.

Recordings of a variable rate may store a frame only when the image changes. Where one stands still for long, its frame
is shown again and again, so that the mouth can move in it.

| mode          | video shorter than the audio               | video longer than the audio              |
|---------------|--------------------------------------------|------------------------------------------|
| pingpong      | forwards, backwards, ...; ends not doubled | ends with the audio                      |
| loop          | starts again                               | ends with the audio                      |
| freeze        | last frame stays                           | ends with the audio                      |
| cut           | ends with the video                        | ends with the audio                      |
| pad-silence   | as pingpong                                | the rest plays unchanged, without audio  |
| speed         | played slower                              | played faster                            |
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from enum import StrEnum
from fractions import Fraction

from latentsync.constants import MODEL_FPS
from latentsync.errors import VideoError
from latentsync.types import Frame, VideoInfo, VideoSource

_LONGEST_STILL = Fraction(1, 5)  # seconds that a frame may be shown before it is repeated, at a variable rate
_CLOSEST_REPEATED = Fraction(1, 60)  # seconds between repetitions, at least
_CLOSEST = Fraction(1, 240)  # seconds between frames that are reckoned with, at a variable rate


class LengthMode(StrEnum):
    """How a video is fitted to the length of the audio; see the table above."""

    PINGPONG = "pingpong"
    LOOP = "loop"
    FREEZE = "freeze"
    CUT = "cut"
    PAD_SILENCE = "pad-silence"
    SPEED = "speed"


# The names that sync.so's interface has for them, which its clients send.
SYNC_MODES = {
    "bounce": LengthMode.PINGPONG,
    "loop": LengthMode.LOOP,
    "cut_off": LengthMode.CUT,
    "silence": LengthMode.PAD_SILENCE,
    "remap": LengthMode.SPEED,
}


def frame_count(duration: Fraction, fps: Fraction) -> int:
    """Number of frames of a constant-rate video that lasts ``duration`` seconds, at least one."""
    return max(1, int(duration * fps + Fraction(1, 2)))


def frame_spacing(info: VideoInfo) -> Fraction:
    """Seconds from frame to frame of a result; where the rate varies, as a rule."""
    interval = info.frame_interval
    if not info.variable_frame_rate:
        return interval
    return 1 / MODEL_FPS if interval > _LONGEST_STILL else max(interval, _CLOSEST)


def expected_frames(info: VideoInfo, duration: Fraction, mode: LengthMode) -> int:
    """Number of frames that ``playing_order`` gives; exact for constant-rate files whose packet count is right."""
    rate = 1 / frame_spacing(info)
    fitted = frame_count(duration, rate)
    whole = frame_count(info.duration, rate) if info.variable_frame_rate else info.n_frames
    if mode is LengthMode.CUT:
        return min(fitted, whole)
    if mode is LengthMode.PAD_SILENCE:
        return max(fitted, whole)
    return fitted


def result_seconds(info: VideoInfo, duration: Fraction, mode: LengthMode) -> Fraction:
    """How long a result with ``duration`` seconds of audio lasts, to half a frame."""
    if mode is LengthMode.CUT:
        return min(info.duration, duration)
    return max(info.duration, duration) if mode is LengthMode.PAD_SILENCE else duration


def playing_order(video: VideoSource, duration: Fraction, mode: LengthMode) -> Iterator[Frame]:
    """Source frames in the order of the result, with their times in the result and their index in the source.

    Holds one frame at a time. The source is read again for every repetition, backwards where the mode says so. Raises
    ``VideoError`` if no frame can be decoded.
    """
    if mode is LengthMode.SPEED:
        frames = _resampled(video, duration)
    else:
        frames = _irregular(video, mode) if video.info.variable_frame_rate else _regular(video, mode)
    half_frame = frame_spacing(video.info) / 2
    previous = -1
    for frame in frames:
        first_pass = frame.index >= previous and frame.time < video.info.duration
        outlasts_audio = frame.time + half_frame > duration and previous >= 0
        if outlasts_audio and not (mode is LengthMode.PAD_SILENCE and first_pass):
            return
        yield frame
        previous = frame.index


def _regular(video: VideoSource, mode: LengthMode) -> Iterator[Frame]:
    """The source repeated without end (once for ``cut``), with the time of each frame in the result."""
    for shown, frame in enumerate(_repeated(video, mode)):
        yield frame.shown_at(shown / video.info.fps)


def _irregular(video: VideoSource, mode: LengthMode) -> Iterator[Frame]:
    """The same for a variable rate: frames last as long as in the source, long ones are shown repeatedly."""
    shown: Frame | None = None
    time = Fraction(0)
    for frame in _repeated(video, mode):
        if shown is not None:
            lasting = _lasting(shown, frame, video.info)
            yield from _held(shown, time, lasting, video.info)
            time += lasting
        shown = frame
    if shown is not None:
        yield from _held(shown, time, _lasting(shown, None, video.info), video.info)


def _lasting(frame: Frame, following: Frame | None, info: VideoInfo) -> Fraction:
    """Seconds for which a frame is shown before the ``following`` one of the playing order."""
    if following is not None and abs(following.index - frame.index) == 1:
        return abs(following.time - frame.time)
    if following is not None and following.index == frame.index:
        return frame_spacing(info)
    remaining = info.duration - frame.time  # the source ends with this frame
    return remaining if remaining > 0 else frame_spacing(info)


def _held(frame: Frame, start: Fraction, lasting: Fraction, info: VideoInfo) -> Iterator[Frame]:
    """A frame at ``start``, and again and again if it lasts long."""
    yield frame.shown_at(start)
    if lasting > _LONGEST_STILL:
        period = max(min(frame_spacing(info), 1 / MODEL_FPS), _CLOSEST_REPEATED)
        for count in range(1, int(lasting / period + Fraction(1, 2))):
            yield frame.shown_at(start + count * period)


def _repeated(video: VideoSource, mode: LengthMode) -> Iterator[Frame]:
    last: Frame | None = None
    for last in video.frames():
        yield last
    if last is None:
        raise VideoError(
            f"{video.info.path}: no frame of it can be decoded.", remedy="Check that the file plays in a video player."
        )
    n_frames = last.index + 1
    if mode is LengthMode.CUT:
        return
    if mode is LengthMode.FREEZE or n_frames == 1:
        while True:
            yield last
    backwards = False
    while True:
        backwards = not backwards and mode is not LengthMode.LOOP
        yield from video.frames(1, n_frames - 1, reverse=True) if backwards else video.frames(0, n_frames)


def _resampled(video: VideoSource, duration: Fraction) -> Iterator[Frame]:
    """The whole video spread evenly over ``duration``, at its own frame rate."""
    spacing = frame_spacing(video.info)
    n_output = frame_count(duration, 1 / spacing)
    wanted = _shown_at(video, n_output)
    shown = 0
    frame: Frame | None = None
    for frame in video.frames():
        while shown < n_output and wanted(shown) == frame.index:
            yield frame.shown_at(shown * spacing)
            shown += 1
    if frame is None:
        raise VideoError(f"{video.info.path}: no frame of it can be decoded.", remedy="Check that the file plays.")
    while shown < n_output:  # there are fewer frames than packets
        yield frame.shown_at(shown * spacing)
        shown += 1


def _shown_at(video: VideoSource, n_output: int) -> Callable[[int], int]:
    """Which source frame is the k-th of ``n_output`` that the whole video is spread over."""
    info = video.info
    if not info.variable_frame_rate:
        return lambda k: k * info.n_frames // n_output
    times = video.times()
    return lambda k: bisect_right(times, k * info.duration / n_output) - 1
