"""What a client may ask for, in the shape of sync.so's interface (its Python SDK ``syncsdk`` 0.3 writes it).

What this program cannot do is refused with a sentence, never left out silently. Two options are its own: ``preset`` and
``seed``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from latentsync.inference.options import PRESETS
from latentsync.service.job import RequestRefusedError

MOST_SEGMENTS, MOST_BOXES = 1000, 200_000
MOST_TEXT = 2048  # characters of an address
MOST_SECONDS = 1e6  # that a time may be; the video says more exactly
MOST_PRIORITY = 1e6


class _Strict(BaseModel):
    """Unknown fields are errors: an option that is left out would give another result than was asked for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)


class SyncMode(StrEnum):
    """How a video of another length than the audio is fitted."""

    BOUNCE = "bounce"
    LOOP = "loop"
    CUT_OFF = "cut_off"
    SILENCE = "silence"
    REMAP = "remap"


class VideoInput(_Strict):
    """The video: an upload (``assetId``), or an address where the service allows that."""

    type: Literal["video"]
    url: str | None = Field(default=None, max_length=MOST_TEXT)
    asset_id: str | None = Field(default=None, alias="assetId", max_length=64)
    segments_secs: Any = None
    segments_frames: Any = None


class AudioInput(_Strict):
    """An audio that the mouth is to speak; segments name it by its ``refId``."""

    type: Literal["audio"]
    url: str | None = Field(default=None, max_length=MOST_TEXT)
    asset_id: str | None = Field(default=None, alias="assetId", max_length=64)
    ref_id: str | None = Field(default=None, alias="refId", max_length=200)


class TextInput(BaseModel):
    """Text to be spoken: refused."""

    type: Literal["text"]
    provider: Any = None
    ref_id: Any = Field(default=None, alias="refId")


class ActiveSpeaker(_Strict):
    """Whom to dub: who is at a point of a frame, or in the first box, or with ``auto_detect`` whoever speaks, in turn.
    ``[x, y]`` and ``[x1, y1, x2, y2]`` in pixels."""

    auto_detect: bool | None = None
    frame_number: int | None = Field(default=None, ge=0)
    coordinates: list[float] | None = Field(default=None, min_length=2, max_length=2)
    bounding_boxes: list[list[float] | None] | None = Field(default=None, max_length=MOST_BOXES)


class Options(_Strict):
    """How to generate."""

    sync_mode: SyncMode | None = None
    active_speaker_detection: ActiveSpeaker | None = None
    occlusion_detection_enabled: bool | None = None
    temperature: float | None = None
    model_mode: str | None = None
    prompt: str | None = None
    preset: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)


class SegmentAudio(_Strict):
    """Which audio a segment has, or which seconds of it."""

    ref_id: str = Field(alias="refId", max_length=200)
    start_time: float | None = Field(default=None, alias="startTime", ge=0, le=MOST_SECONDS)
    end_time: float | None = Field(default=None, alias="endTime", ge=0, le=MOST_SECONDS)


class SegmentOptions(_Strict):
    """What a segment has of its own: who speaks in it."""

    active_speaker_detection: ActiveSpeaker | None = None


class Segment(_Strict):
    """Seconds of the video with an audio input of their own, and perhaps a speaker of their own."""

    start_time: float = Field(alias="startTime", ge=0, le=MOST_SECONDS)
    end_time: float = Field(alias="endTime", ge=0, le=MOST_SECONDS)
    audio_input: SegmentAudio = Field(alias="audioInput")
    options_override: SegmentOptions | None = Field(default=None, alias="optionsOverride")


class GenerateRequest(_Strict):
    """The body of ``POST /v2/generate``."""

    model: str = Field(max_length=100)
    input: list[Annotated[VideoInput | AudioInput | TextInput, Field(discriminator="type")]] = Field(max_length=100)
    options: Options | None = None
    segments: list[Segment] | None = Field(default=None, max_length=MOST_SEGMENTS)
    webhook_url: str | None = Field(default=None, alias="webhookUrl", max_length=MOST_TEXT)
    output_file_name: str | None = Field(default=None, alias="outputFileName", pattern="^[A-Za-z0-9_-]{1,255}$")
    priority: float = Field(
        default=0.0,
        ge=-MOST_PRIORITY,
        le=MOST_PRIORITY,
        description="Higher ones come first among the jobs of your key; they take no turn from those of other keys.",
    )
    deadline: AwareDatetime | None = Field(
        default=None,
        description="With its zone. A job that has not begun by then is not begun, and ends as FAILED. Among jobs of "
        "one priority the earliest deadline comes first.",
    )

    @property
    def video(self) -> VideoInput:
        """The only one, after ``refuse_impossible``."""
        return next(each for each in self.input if isinstance(each, VideoInput))

    @property
    def audios(self) -> list[AudioInput]:
        """One, or with segments several, after ``refuse_impossible``."""
        return [each for each in self.input if isinstance(each, AudioInput)]

    @property
    def files(self) -> dict[str, VideoInput | AudioInput]:
        """Name of the file in the folder of a job, without its suffix -> input: ``video``, ``audio``, ``audio-1``…"""
        audios = {f"audio-{number}" if number else "audio": each for number, each in enumerate(self.audios)}
        return {"video": self.video, **audios}

    @property
    def is_as_long_as_video(self) -> bool:
        """Whether the result lasts as long as the video: with segments, or where whoever speaks is dubbed."""
        speaker = None if self.options is None else self.options.active_speaker_detection
        return bool(self.segments) or (speaker is not None and bool(speaker.auto_detect))

    @property
    def deadline_seconds(self) -> float | None:
        """The deadline, as ``time.time`` has it."""
        return None if self.deadline is None else self.deadline.timestamp()

    def stored(self) -> dict[str, Any]:
        """As JSON has it, without what was not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def refuse_impossible(request: GenerateRequest) -> None:
    """Raise ``RequestRefusedError`` for what the shape allows and this program cannot do."""
    kinds = [each.type for each in request.input]
    options = request.options or Options()
    if "text" in kinds:
        raise _refused("There is no text-to-speech here.", "Send the speech as an audio input.")
    if kinds.count("video") != 1 or kinds.count("audio") < 1 or (kinds.count("audio") > 1 and not request.segments):
        raise _refused(
            f"A job has one video and one audio input; this one has {kinds.count('video')} and {kinds.count('audio')}.",
            'Give "input": [{"type": "video", ...}, {"type": "audio", ...}]; several audios need "segments".',
        )
    if request.video.segments_secs or request.video.segments_frames:
        raise _refused("segments_secs and segments_frames are not made here.", 'Give "segments", or cut the video.')
    for each in request.files.values():
        if (each.url is None) == (each.asset_id is None):
            raise _refused(f"The {each.type} input needs either url or assetId.", "Upload the file: /v2/uploads.")
    _refuse_impossible_speaker(options.active_speaker_detection or ActiveSpeaker())
    _refuse_impossible_segments(request)
    if request.is_as_long_as_video and options.sync_mode not in (None, SyncMode.CUT_OFF, SyncMode.SILENCE):
        raise _refused(
            "With segments or auto_detect the result is as long as the video, so there is no sync_mode "
            f"{options.sync_mode}.",
            "Leave it out, or give cut_off: audio that is longer than the video or its segment is cut.",
        )
    for name in ("temperature", "model_mode", "prompt"):
        if getattr(options, name) is not None:
            raise _refused(f"There is no option {name} here: lips follow the audio, nothing else.", "Leave it out.")
    if options.preset is not None and options.preset not in PRESETS:
        raise _refused(f"There is no preset '{options.preset[:40]}'.", f"Take one of {', '.join(PRESETS)}.")


def _refuse_impossible_speaker(speaker: ActiveSpeaker) -> None:
    if speaker.auto_detect and (speaker.coordinates is not None or speaker.bounding_boxes is not None):
        raise _refused(
            "auto_detect finds out who speaks, and a place in a frame names somebody.", "Give one of the two."
        )
    if (speaker.frame_number is None) != (speaker.coordinates is None):
        raise _refused("frame_number and coordinates belong together.", "Give both or none.")
    if any(side < 0 for side in speaker.coordinates or ()):
        raise _refused("The coordinates of a point are pixels from 0.", "Give [x, y] from the left and from the top.")
    if any(box is not None and len(box) != 4 for box in speaker.bounding_boxes or ()):
        raise _refused("A bounding box has four numbers.", "Give [x1, y1, x2, y2] or null for each frame.")
    if speaker.bounding_boxes is not None and not any(speaker.bounding_boxes):
        raise _refused("No frame has a bounding box.", "Give a box for the frame in which the person is first seen.")


def _refuse_impossible_segments(request: GenerateRequest) -> None:
    """What concerns segments alone; whether they lie in the video is known when that is opened."""
    if not request.segments:
        return
    names = [each.ref_id for each in request.audios]
    if None in names or len(set(names)) < len(names):
        raise _refused("With segments, each audio input has a refId of its own.", "Give each one a refId.")
    for number, segment in enumerate(request.segments, 1):
        spoken = segment.audio_input
        if spoken.ref_id not in names:
            raise _refused(
                f"Segment {number} names the refId '{spoken.ref_id[:40]}', which no audio input has.",
                "Add that audio to the input.",
            )
        if (spoken.start_time is None) != (spoken.end_time is None):
            raise _refused(f"Segment {number} crops its audio at one end only.", "Give startTime and endTime of it.")
        own = segment.options_override or SegmentOptions()
        _refuse_impossible_speaker(own.active_speaker_detection or ActiveSpeaker())


def _refused(message: str, remedy: str) -> RequestRefusedError:
    return RequestRefusedError(message, remedy=remedy)
