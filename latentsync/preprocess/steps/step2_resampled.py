"""Step 2: 25 frames/s and one channel of audio at 16 kHz. The source is decoded here once for three steps.

While its frames pass, shots are found, and key frames are put where steps 3 and 4 will cut: so those copy packets
instead of encoding frames, and cut to the frame all the same. This is the first of two lossy encodings of the video;
the audio has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, is_audible
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.media.audio import audio_blocks, audio_start
from latentsync.media.cutting import AudioReader, write_flac
from latentsync.media.limits import MediaLimits
from latentsync.media.output_audio import AudioPart
from latentsync.media.rate import at_rate
from latentsync.media.speech_channel import AudioFindings
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.preprocess.clip_record import MadeClip, StepInput, StepResult
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.preprocess.steps.step3_4_cut import mark_shots
from latentsync.types import ArrayFrame, Frame, VideoInfo

VERSION = 1

_BLOCK = 25 * SAMPLES_PER_FRAME  # samples that are handled at a time


def run(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Errors of the input (``VideoError``, ``AudioError``) pass through."""
    limits = settings.media_limits
    video = VideoFile(job.file, limits=limits)
    n_frames = round(video.info.duration * MODEL_FPS)
    audio = job.scratch / "audio.flac"
    findings = AudioFindings()
    audible = _write_audio(video, limits, audio, n_frames * SAMPLES_PER_FRAME, findings)
    figures: dict[str, Any] = {"silence": round(1 - audible, 4)}
    if audible == 0:
        return StepResult(reason="silent: no sound above -60 dBFS in the whole recording", figures=figures)
    info = resampled_info(video.info, n_frames)
    cuts: list[int] = []
    keys: set[int] = set()
    frames = at_rate(_square(video.frames(), info), n_frames)
    encoding = EncodingOptions("h264", settings.encoding.crf, settings.encoding.preset, repeatable=True)
    target = job.scratch / "resampled.mp4"
    marked = _with_keys(mark_shots(frames, settings.shots), settings.segment_frames, cuts, keys)
    write_video(target, marked, info, encoding, AudioPart(audio, copied=True), key_frames=keys)
    audio.unlink()
    notes = [*video.notes, *findings.notes(job.file)]
    made = replace(job.clip, frames=n_frames, cuts=tuple(cuts))
    return StepResult((MadeClip(made, target),), figures=figures | {"shots": len(cuts) + 1, "notes": notes})


def _with_keys(
    marked: Iterable[tuple[Frame, bool]], segment_frames: int, cuts: list[int], keys: set[int]
) -> Iterator[Frame]:
    """The frames; ``cuts`` gets the first frames of later shots, ``keys`` also every place that a shot is cut at."""
    shot_start = 0
    for frame, is_cut in marked:
        if is_cut:
            shot_start = frame.index
            cuts.append(frame.index)
        if (frame.index - shot_start) % segment_frames == 0:
            keys.add(frame.index)
        yield frame


def _write_audio(
    video: VideoFile, limits: MediaLimits, target: Path, n_samples: int, findings: AudioFindings
) -> float:
    """Write the audio of the frames, silence where there is none; returns the share that is not silent."""
    source = video.info.path
    delay = round((audio_start(source) - video.start) * AUDIO_RATE)  # samples by which the audio begins later
    reader = AudioReader(audio_blocks(source, limits=limits, findings=findings))
    reader.skip(-delay)
    audible = total = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal audible, total
        silence = min(max(delay, 0), n_samples)
        for start in range(0, n_samples, _BLOCK):
            count = min(_BLOCK, n_samples - start)
            before = min(count, max(0, silence - start))
            block = np.concatenate([np.zeros(before, np.int16), reader.read(count - before)])
            found = is_audible(block)
            audible, total = audible + int(found.sum()), total + len(found)
            yield block

    write_flac(target, blocks())
    return audible / total


def resampled_info(info: VideoInfo, n_frames: int) -> VideoInfo:
    """What the result is, for the writer: 4:2:0 with 8 bits, square pixels, no alpha."""
    width = 2 * round(info.width * info.sample_aspect_ratio / 2) if info.sample_aspect_ratio != 1 else info.width
    return replace(
        info,
        width=width,
        fps=MODEL_FPS,
        n_frames=n_frames,
        duration=n_frames / MODEL_FPS,
        variable_frame_rate=False,
        sample_aspect_ratio=Fraction(1),
        pix_fmt="yuv420p",
        has_alpha=False,
    )


def _square(frames: Iterable[Frame], info: VideoInfo) -> Iterator[Frame]:
    """Frames stretched to the width that makes their pixels square."""
    for frame in frames:
        if frame.shape[1] != info.width:
            pixels = cv2.resize(frame.pixels, (info.width, info.height), interpolation=cv2.INTER_CUBIC)
            frame = ArrayFrame(frame.index, frame.time, pixels)
        yield frame
