"""A scene as one job: what each segment's mouth follows, the cast of the run, and what is heard.

The result is as long as the video, each frame of which is shown once. A dub without a scene file is that of one
segment: the same cast with one role (``job.speech``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError, NoAudioStreamError
from latentsync.inference.job.request import DubRequest
from latentsync.inference.job.speech import pauses_of, read_waveform
from latentsync.inference.options import SyncOptions, apply_preset
from latentsync.inference.scene import Cast, Part, Role
from latentsync.inference.stretches import SilenceMode, Stretch, Stretches
from latentsync.inference.timeline import LengthMode, frame_spacing
from latentsync.inference.weights import WeightPaths
from latentsync.media.audio import audio_delay
from latentsync.media.mixing import Piece, write_mix
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.scene.model import Scene, Segment, SegmentAudio, check_scene

LONGER = Fraction(1, 4)  # seconds of audio behind the end of its segment that are worth a note
Waveforms = Mapping[tuple[Path, int | None, int | None], np.ndarray]


@dataclass(frozen=True, slots=True)
class Mix:
    """What is heard where several audios are: ``media.mixing.write_mix``."""

    pieces: tuple[Piece, ...]
    base: Piece | None
    silent: tuple[tuple[Fraction, Fraction], ...]
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class SceneSpeech:
    """The audio of a scene: of every segment the waveform (n,) float32 at 16 kHz that its mouth follows, in the order
    of ``scene.segments``. ``heard``: the audio of the result, or the ``mix`` that it is made of. ``notes`` are for the
    user."""

    scene: Scene
    waveforms: tuple[np.ndarray, ...]
    duration: Fraction
    heard: AudioPart | None
    mix: Mix | None
    notes: Sequence[str] = ()

    def cast(self, request: DubRequest, video: VideoFile, options: SyncOptions) -> Cast:
        """Who speaks when. Raises ``ConfigError`` for options of a segment that make no sense."""
        spoken = {id(segment): wave for segment, wave in zip(self.scene.segments, self.waveforms, strict=True)}
        roles = []
        for person in self.scene.speakers():
            parts = [
                _part(request, video, options, segment, spoken[id(segment)])
                for segment in self.scene.segments_of(person.name)
            ]
            roles.append(Role(person.face, tuple(parts), person.name))
        return Cast(tuple(roles), self.duration)


def read_scene_speech(request: DubRequest, scene: Scene, video: VideoFile) -> SceneSpeech:
    """What the segments of a checked scene speak. Raises ``ConfigError``, ``AudioError`` and ``NoAudioStreamError``."""
    info, spacing = video.info, frame_spacing(video.info)
    _refuse_options(request)
    check_scene(scene, info.duration, spacing)
    read: dict[tuple[Path, int | None, int | None], np.ndarray] = {}
    waveforms, notes = [], []
    for segment in scene.segments:
        audio = scene.audio_of(segment)
        assert audio is not None  # the scene was checked
        key = (audio.file, audio.track, audio.channel)
        if key not in read:
            read[key] = read_waveform(audio.file, request.limits, audio.track, channel=audio.channel)
        seconds = segment.end_in(info.duration) - segment.start
        taken = _cropped(read[key], audio, segment)
        more = Fraction(len(taken), AUDIO_RATE) - seconds
        if segment.audio is not None and more > LONGER:
            notes.append(f"{segment.describe()}: its audio goes on for {float(more):.1f} s more, which nobody speaks")
        samples = round(seconds * AUDIO_RATE)
        waveforms.append(np.pad(taken[:samples], (0, max(0, samples - len(taken)))))
    duration = info.duration + spacing  # so that no frame is lost to a duration that a container rounds
    mix = None if _is_one_audio(scene) else _mix_of(request, scene, video)
    whole = scene.audio
    heard = None if mix is not None or whole is None else AudioPart(whole.file, whole.track, -whole.start)
    return SceneSpeech(scene, tuple(waveforms), duration, heard, mix, notes)


def require_segment_in(stretch: Stretch, cast: Cast) -> None:
    """Raise ``ConfigError`` if nobody is dubbed in a stretch of the result."""
    parts = sorted(cast.parts, key=lambda part: part.start)
    spans = [Stretch(part.start, part.start + part.seconds) for part in parts]
    if not any(each.start < stretch.stop and stretch.start < each.stop for each in spans):
        shown = ", ".join(f"{float(each.start):.1f}-{float(each.stop):.1f}" for each in Stretches(spans).all)
        raise ConfigError(
            f"From {float(stretch.start):.2f} to {float(stretch.stop):.2f} s nobody is dubbed in this scene.",
            remedy=f"Choose a time in one of its segments: {shown} s.",
        )


@contextmanager
def heard_audio(heard: AudioPart | None, mix: Mix | None, request: DubRequest) -> Iterator[AudioPart]:
    """The audio of the result while the block lasts; a mix stands in a temporary folder beside the result."""
    if heard is not None or mix is None:
        assert heard is not None  # there is always one of the two
        yield heard
        return
    with TemporaryDirectory(prefix=".mix-", dir=request.output.absolute().parent) as folder:
        path = Path(folder) / "mix.wav"
        write_mix(path, mix.seconds, mix.pieces, mix.base, mix.silent, request.limits)
        yield AudioPart(path)


def _refuse_options(request: DubRequest) -> None:
    options = request.options
    refused = {
        "--compat": options.compat is not None,
        "--length": options.length not in (LengthMode.PINGPONG, LengthMode.CUT),
        "--drive": request.drive is not None,
        "--audio_track": request.audio_track is not None,
        "--av_offset": request.av_offset != 0,
    }
    given = next((name for name, is_given in refused.items() if is_given), None)
    if given is not None:
        raise ConfigError(f"{given} does not go with a scene.", remedy=f"Leave out {given}.")


def _cropped(waveform: np.ndarray, audio: SegmentAudio, segment: Segment) -> np.ndarray:
    """The part of a file that ``audio`` takes. Raises ``ConfigError`` if the file ends before it."""
    first = round(audio.start * AUDIO_RATE)
    stop = None if audio.end is None else round(audio.end * AUDIO_RATE)
    taken = waveform[first:stop]
    if not len(taken):
        raise ConfigError(
            f"{segment.describe()}: {audio.file} is over at {len(waveform) / AUDIO_RATE:.2f} s, and the segment would "
            f"begin at {float(audio.start):.2f} s of it.",
            remedy="Give seconds inside the audio file.",
        )
    return taken


def _part(
    request: DubRequest, video: VideoFile, options: SyncOptions, segment: Segment, waveform: np.ndarray
) -> Part:
    own = _options_of(request, options, segment)
    start, stop = segment.start, segment.end_in(video.info.duration)
    if segment.end is None or segment.end >= video.info.duration:
        stop += frame_spacing(video.info)  # the last frame, whatever the container says of its end
    skipped = [each for each in options.skip if each.stop > start]
    own = replace(own, skip=tuple(Stretch(max(each.start - start, Fraction(0)), each.stop - start) for each in skipped))
    speech = pauses_of(request, video, waveform, own, start)
    fades = (segment.transition.fade_in, segment.transition.fade_out)
    return Part(start, stop, waveform, own, speech, fades)


def _options_of(request: DubRequest, options: SyncOptions, segment: Segment) -> SyncOptions:
    """Those of the run with what the segment has of its own. Raises ``ConfigError``."""
    own = segment.options
    try:
        silence = options.silence if own.silence is None else SilenceMode(own.silence)
        sampler = options.sampler
        if own.preset is not None:
            weights, sampler = apply_preset(
                own.preset, request.weights, steps=own.steps, guidance_scale=own.guidance_scale
            )
            _refuse_other_networks(weights, request.weights, own.preset)
        else:
            guidance = sampler.guidance_scale if own.guidance_scale is None else own.guidance_scale
            sampler = replace(sampler, steps=sampler.steps if own.steps is None else own.steps, guidance_scale=guidance)
    except KeyError as error:
        raise ConfigError(
            f"{segment.describe()}: there is no preset '{own.preset}'.", remedy="`latentsync dub --help` lists them."
        ) from error
    except ValueError as error:
        modes = ", ".join(mode.value for mode in SilenceMode)
        raise ConfigError(
            f"{segment.describe()}: '{own.silence}' is no treatment of silence.", remedy=f"They are {modes}."
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{segment.describe()}: {error.message}", remedy=error.remedy) from error
    return replace(options, sampler=sampler, silence=silence)


def _refuse_other_networks(weights: WeightPaths, loaded: WeightPaths, preset: str) -> None:
    if weights != loaded:
        raise ConfigError(
            f"The preset '{preset}' takes other networks than the run.", remedy="Give it to the run, as --preset."
        )


def _is_one_audio(scene: Scene) -> bool:
    """Whether all segments take the scene's audio, so that this is what is heard."""
    return scene.audio is not None and all(segment.audio is None for segment in scene.segments)


def _mix_of(request: DubRequest, scene: Scene, video: VideoFile) -> Mix:
    """The segments' own audios, and where nobody speaks one the scene's audio, or else the video's own."""
    duration = video.info.duration
    pieces = []
    for segment in scene.segments:
        audio, stop = segment.audio, segment.end_in(duration)
        if audio is None:
            continue
        if audio.end is not None:
            stop = min(stop, segment.start + audio.end - audio.start)
        pieces.append(Piece(audio.file, segment.start, stop, audio.start, audio.track, audio.channel))
    own = [Stretch(each.start, each.end_in(duration)) for each in scene.segments if each.audio is not None]
    kept = [Stretch(each.start, each.end_in(duration)) for each in scene.segments if each.audio is None]
    base = _base_of(request, scene, video)
    return Mix(tuple(pieces), base, tuple(_without(own, kept)), duration)


def _base_of(request: DubRequest, scene: Scene, video: VideoFile) -> Piece | None:
    duration, whole = video.info.duration, scene.audio
    if whole is not None:
        return Piece(whole.file, Fraction(0), duration, whole.start, whole.track, whole.channel)
    if video.is_images or not video.info.audio:
        return None
    try:
        delay = audio_delay(request.video)
    except NoAudioStreamError:
        return None
    return Piece(request.video, Fraction(0), duration, -delay)


def _without(given: Sequence[Stretch], taken: Sequence[Stretch]) -> list[tuple[Fraction, Fraction]]:
    """``given`` without what lies in ``taken``."""
    left = [(each.start, each.stop) for each in Stretches(given).all]
    for each in Stretches(taken).all:
        left = [
            (first, last)
            for start, stop in left
            for first, last in ((start, min(stop, each.start)), (max(start, each.stop), stop))
            if first < last
        ]
    return left


