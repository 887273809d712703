"""The audio of a dub: what is heard, what the mouth follows, where both lie on the clock of the video, and where nobody
speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from latentsync.audio.voice_activity import VoiceActivity, find_speech
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import AudioError, ConfigError, NoAudioStreamError
from latentsync.inference.excerpt import order_of
from latentsync.inference.job.files import require_skipped_in_result
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.scene import Cast
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode, frame_spacing, result_seconds
from latentsync.media.audio import audio_delay, read_audio
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.output_audio import AudioPart
from latentsync.media.speech_channel import AudioFindings
from latentsync.media.video import VideoFile
from latentsync.types import VideoInfo

BEYOND_A_FRAME = Fraction(1, 1000)  # s of audio that are no reason for one more frame
SILENCE = 1e-3  # peak below which audio counts as silent, full scale 1


@dataclass(frozen=True, slots=True)
class Speech:
    """``waveform`` (n,) float32 at 16 kHz is what the mouth follows, from the first frame on; its length is that of the
    result. ``heard``: the audio of the result. ``notes`` are for the user."""

    waveform: np.ndarray
    heard: AudioPart
    notes: Sequence[str] = ()
    mix: None = None  # what a scene may have instead (``job.scene``)

    @property
    def duration(self) -> Fraction:
        """Length of the result, s, where it does not end with the video."""
        return Fraction(len(self.waveform), AUDIO_RATE)

    def on_whole_frames(self, spacing: Fraction, mode: LengthMode) -> Speech:
        """The same with silence until the frame of ``spacing`` seconds is over in which it ends.

        A little more than whole frames is left out; but not with ``CUT``, where the video says what is too much.
        """
        beyond = Fraction(0) if mode is LengthMode.CUT else BEYOND_A_FRAME
        frames = max(1, ceil((self.duration - beyond) / spacing))
        samples = round(frames * spacing * AUDIO_RATE)
        padded = np.pad(self.waveform[:samples], (0, max(0, samples - len(self.waveform))))
        return replace(self, waveform=padded)

    def cast(self, request: DubRequest, video: VideoFile, options: SyncOptions) -> Cast:
        """The one who speaks it; raises as ``plan_speech``."""
        return Cast.of_one(self.waveform, options, plan_speech(request, video, self.waveform, options))


def read_speech(request: DubRequest, info: VideoInfo) -> Speech:
    """The audio that a dub asks for; ``info``: of its video.

    Audio of a file that has video keeps its place beside that video, which no release does; less than a frame is left
    alone, so that its packets can be copied. Raises ``AudioError`` or ``NoAudioStreamError`` for audio that cannot be
    read or is shorter than a frame, ``ConfigError`` for an offset that leaves nothing of it.
    """
    as_published = request.options.compat is not None
    findings = AudioFindings()
    mixed = as_published or request.drive is not None
    waveform = read_waveform(request.audio, request.limits, request.audio_track, mixed, findings)
    notes = findings.notes(request.audio)
    if request.drive is not None:
        driving = AudioFindings()
        driven = read_waveform(request.drive, request.limits, None, as_published, driving)
        notes += driving.notes(request.drive)
        waveform = np.pad(driven[: len(waveform)], (0, max(0, len(waveform) - len(driven))))
    if float(np.abs(waveform).max()) < SILENCE:
        silent = request.drive or request.audio
        notes.append(f"{silent} is silent: the mouth will be what the network makes of silence")
    own = Fraction(0) if as_published else _own_delay(request, Fraction(len(waveform), AUDIO_RATE))
    if own:
        when = f"{abs(float(own)):.2f} s {'after' if own > 0 else 'before'}"
        notes.append(f"the sound of {request.audio} begins {when} its video, and keeps that place")
    delay = own + request.av_offset
    request.limits.refuse_long(Fraction(len(waveform), AUDIO_RATE) + delay, request.audio, AudioError, held=True)
    samples = round(delay * AUDIO_RATE)
    if -samples >= len(waveform):
        raise ConfigError(
            f"An offset of {float(delay):g} s leaves nothing of {request.audio}.", remedy="Give a smaller --av_offset."
        )
    waveform = waveform[-samples:] if samples < 0 else np.pad(waveform, (samples, 0)) if samples else waveform
    heard = AudioPart(request.audio, request.audio_track, delay, copied=request.copy_audio, gaps=bool(findings.gaps))
    speech = Speech(waveform, heard, notes)
    if not request.whole_frames:
        return speech
    return speech.on_whole_frames(frame_spacing(info), request.options.length)


def _own_delay(request: DubRequest, length: Fraction) -> Fraction:
    """Seconds by which the audio begins after the video of its file; 0 for less than a frame."""
    delay = audio_delay(request.audio, request.audio_track)
    if -delay >= length:
        raise AudioError(
            f"{request.audio}: its sound is over before its video begins.",
            remedy="Give the sound as a file of its own.",
        )
    return delay if abs(delay) >= 1 / MODEL_FPS else Fraction(0)


def plan_speech(request: DubRequest, video: VideoFile, waveform: np.ndarray, options: SyncOptions) -> SpeechPlan:
    """Where the driving audio (n,) float32 at 16 kHz pauses, and what is left alone.

    Raises ``ConfigError`` where ``--silence original`` cannot know whether the source speaks, and where nothing of the
    result is left to be dubbed.
    """
    plan = pauses_of(request, video, waveform, options)
    duration = Fraction(len(waveform), AUDIO_RATE)
    whole = result_seconds(video.info, duration, options.length)
    require_skipped_in_result(options, whole)
    if plan.share_passing(result_stretch(options, whole)) == 1:
        raise ConfigError(
            f"All of {'the result' if options.excerpt is None else 'this excerpt'} would show the source as it is.",
            remedy="Change --skip, or leave out --silence original.",
        )
    return plan


def pauses_of(
    request: DubRequest, video: VideoFile, waveform: np.ndarray, options: SyncOptions, start: Fraction = Fraction(0)
) -> SpeechPlan:
    """Where audio (n,) float32 at 16 kHz that begins at ``start`` seconds of the result pauses, on its own clock.

    Raises ``ConfigError`` where ``--silence original`` cannot know whether the source speaks.
    """
    plan = SpeechPlan.of_run(waveform, options, 1 / frame_spacing(video.info))
    if options.silence is SilenceMode.ORIGINAL and plan.quiet.all:
        source = None if video.is_images and video.info.n_frames == 1 else _speech_of_source(request, video)
        times, end = video.times(), start + Fraction(len(waveform), AUDIO_RATE)
        order = order_of(video, end, options.length)
        shown = ((frame.time - start, times[frame.index]) for frame in order if frame.time >= start)
        plan = plan.where_source_rests(shown, source)
    return plan


def result_stretch(options: SyncOptions, whole: Fraction) -> Stretch:
    """The part of ``whole`` seconds that is made."""
    excerpt = options.excerpt
    return Stretch(Fraction(0), whole) if excerpt is None else Stretch(excerpt.start, excerpt.stop)


def _speech_of_source(request: DubRequest, video: VideoFile) -> VoiceActivity:
    """When the source speaks, on the clock of its frames. Raises ``ConfigError`` if nothing can be heard of it."""
    remedy = "Take --silence close, or name the stretches that are to stay with --skip."
    return find_speech(source_waveform(request, video, "--silence original cannot know where it speaks", remedy))


def source_waveform(request: DubRequest, video: VideoFile, hindered: str, remedy: str) -> np.ndarray:
    """The video's own audio, (n,) float32 at 16 kHz from its first frame on.

    Raises ``ConfigError`` if nothing can be heard of it: what that hinders, and the remedy.
    """
    try:
        waveform = np.zeros(0, np.float32) if video.is_images else read_waveform(request.video, request.limits)
    except NoAudioStreamError:
        waveform = np.zeros(0, np.float32)
    if not len(waveform) or float(np.abs(waveform).max()) < SILENCE:
        raise ConfigError(
            f"{request.video} has no sound of its own, so {hindered}.",
            remedy=remedy,
        )
    delay = round(audio_delay(request.video) * AUDIO_RATE)
    return waveform[-delay:] if delay < 0 else np.pad(waveform, (delay, 0))


def read_waveform(
    path: Path,
    limits: MediaLimits = GENEROUS,
    track: int | None = None,
    as_published: bool = False,
    findings: AudioFindings | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """The audio of a file, (n,) float32 at 16 kHz. Raises as ``media.audio.read_audio``, and ``NoAudioStreamError`` for
    less than a frame of it."""
    waveform = read_audio(
        path, limits=limits, track=track, channel=channel, as_published=as_published, findings=findings
    )
    if len(waveform) < AUDIO_RATE // 25:
        raise NoAudioStreamError(
            f"{path}: its audio lasts {len(waveform) / AUDIO_RATE:.3f} s, less than a frame.",
            remedy="Give a longer recording.",
        )
    return waveform
