"""Which source frame is shown when: six ways to fit a video to audio of another length.

A frame is shown if at least half of it lies within the length asked for, so a constant-rate result has exactly
``floor(duration * fps + 1/2)`` frames. Times are exact fractions: nothing drifts, however long the audio.

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

from collections.abc import Iterator
from enum import StrEnum
from fractions import Fraction

from latentsync.errors import VideoError
from latentsync.types import Frame, VideoInfo, VideoSource


class LengthMode(StrEnum):
    """How a video is fitted to the length of the audio; see the table above."""

    PINGPONG = "pingpong"
    LOOP = "loop"
    FREEZE = "freeze"
    CUT = "cut"
    PAD_SILENCE = "pad-silence"
    SPEED = "speed"


def frame_count(duration: Fraction, fps: Fraction) -> int:
    """Number of frames of a constant-rate video that lasts ``duration`` seconds, at least one."""
    return max(1, int(duration * fps + Fraction(1, 2)))


def expected_frames(info: VideoInfo, duration: Fraction, mode: LengthMode) -> int:
    """Number of frames that ``playing_order`` gives; exact for constant-rate files whose packet count is right."""
    fitted = frame_count(duration, info.fps)
    if mode is LengthMode.CUT:
        return min(fitted, info.n_frames)
    if mode is LengthMode.PAD_SILENCE:
        return max(fitted, info.n_frames)
    return fitted


def playing_order(video: VideoSource, duration: Fraction, mode: LengthMode) -> Iterator[Frame]:
    """Source frames in the order of the result, with their times in the result and their index in the source.

    Holds one frame at a time. The source is read again for every repetition, backwards where the mode says so. Raises
    ``VideoError`` if no frame can be decoded.
    """
    frames = _resampled(video, duration) if mode is LengthMode.SPEED else _retimed(video, duration, mode)
    half_frame = 1 / (2 * video.info.fps)
    for shown, frame in enumerate(frames):
        outlasts_audio = frame.time + half_frame > duration and shown > 0
        if outlasts_audio and not (mode is LengthMode.PAD_SILENCE and frame.index == shown):
            return
        yield frame


def _retimed(video: VideoSource, duration: Fraction, mode: LengthMode) -> Iterator[Frame]:
    """The source repeated without end (once for ``cut``), with the time of each frame in the result."""
    period = 1 / video.info.fps
    previous: Frame | None = None
    time = Fraction(0)
    for shown, frame in enumerate(_repeated(video, mode)):
        if video.info.variable_frame_rate and previous is not None:
            adjacent = abs(frame.index - previous.index) == 1
            time += abs(frame.time - previous.time) if adjacent else period
        elif previous is not None:
            time = shown * period
        yield frame.shown_at(time)
        previous = frame


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
    n_output = frame_count(duration, video.info.fps)
    n_source = video.info.n_frames
    shown = 0
    frame: Frame | None = None
    for frame in video.frames():
        while shown < n_output and shown * n_source // n_output == frame.index:
            yield frame.shown_at(shown / video.info.fps)
            shown += 1
    if frame is None:
        raise VideoError(f"{video.info.path}: no frame of it can be decoded.", remedy="Check that the file plays.")
    while shown < n_output:  # there are fewer frames than packets
        yield frame.shown_at(shown / video.info.fps)
        shown += 1
