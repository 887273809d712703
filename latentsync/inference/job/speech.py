"""The audio of a dub: what is heard, what the mouth follows, and where both lie on the clock of the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import AudioError, ConfigError, NoAudioStreamError
from latentsync.inference.job.request import DubRequest
from latentsync.media.audio import audio_delay, read_audio
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.output_audio import AudioPart
from latentsync.media.speech_channel import AudioFindings

SILENCE = 1e-3  # peak below which audio counts as silent, full scale 1


@dataclass(frozen=True, slots=True)
class Speech:
    """``waveform`` (n,) float32 at 16 kHz is what the mouth follows, from the first frame on; its length is that of the
    result. ``heard``: the audio of the result. ``notes`` are for the user."""

    waveform: np.ndarray
    heard: AudioPart
    notes: Sequence[str] = ()


def read_speech(request: DubRequest) -> Speech:
    """The audio that a dub asks for.

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
    return Speech(waveform, heard, notes)


def _own_delay(request: DubRequest, length: Fraction) -> Fraction:
    """Seconds by which the audio begins after the video of its file; 0 for less than a frame."""
    delay = audio_delay(request.audio, request.audio_track)
    if -delay >= length:
        raise AudioError(
            f"{request.audio}: its sound is over before its video begins.",
            remedy="Give the sound as a file of its own.",
        )
    return delay if abs(delay) >= 1 / MODEL_FPS else Fraction(0)


def read_waveform(
    path: Path,
    limits: MediaLimits = GENEROUS,
    track: int | None = None,
    as_published: bool = False,
    findings: AudioFindings | None = None,
) -> np.ndarray:
    """The audio of a file, (n,) float32 at 16 kHz. Raises as ``media.audio.read_audio``, and ``NoAudioStreamError`` for
    less than a frame of it."""
    waveform = read_audio(path, limits=limits, track=track, as_published=as_published, findings=findings)
    if len(waveform) < AUDIO_RATE // 25:
        raise NoAudioStreamError(
            f"{path}: its audio lasts {len(waveform) / AUDIO_RATE:.3f} s, less than a frame.",
            remedy="Give a longer recording.",
        )
    return waveform
