"""What the page says: progress, reports, errors and models in words for people who edit videos."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import (
    AudioError,
    ConfigError,
    DataError,
    DeviceError,
    DiskFullError,
    EncoderError,
    GenerationError,
    LatentSyncError,
    NoAudioStreamError,
    NoFaceError,
    NoVideoStreamError,
    OutOfMemoryError,
    OutputError,
    TrainingError,
    VideoError,
    WeightsError,
)
from latentsync.inference.job.progress import Progress
from latentsync.inference.job.report import RunReport
from latentsync.inference.options import BUILTIN_PRESET, PRESETS
from latentsync.page.fair_queue import Waiting
from latentsync.page.names import in_markdown, without_folders
from latentsync.page.request import LABELS

STAGES = {
    "starting": "Checking the files",
    "looking for who speaks": "Looking at the whole video for who speaks when",
    "looking for a face": "Looking for a face",
    "loading": "Loading the models",
    "dubbing": "Dubbing",
    "finishing": "Writing the end of the file",
}
STAGES_OF_REPORT = {
    "load": "loading the models",
    "decode": "reading the video",
    "detect": "finding faces",
    "audio": "listening to the sound",
    "align": "cutting out the face",
    "generate": "generating the mouth",
    "judge": "comparing mouth and sound",
    "generate again": "making it again",
    "paste": "putting it back",
    "encode": "encoding",
}
SPANS_SHOWN = 8
IDLE = "Nothing is running."
DONE = "Done. The result is below."
FOUND_AGAIN = "Here is your job again."
NO_VIDEO_YET = "Bring a video: the people in it appear here."
VIDEO_HELP = "Who is to speak: upload a video, or record yourself."
AUDIO_HELP = "What is to be said. The result lasts as long as this sound."
LOOKING_WHEN = "Looking at who is seen when: {:.0%}. You can begin meanwhile."
SEEN_WHEN = "The grey line below shows when each person is seen."
NOT_SEEN_WHEN = "When each person is seen was not found out: {}"
SCENE_HELP = "Drop a sound onto a person: it becomes a segment that you can move. Then press 'Dub the video'."
SCENE_READY = "'Dub the video' makes this scene; all that no segment names stays as it is."
UNPLAYABLE = {  # by the player that cannot show a file
    "video": "This browser does not play such files, so there is no preview. Dubbing does not need one.",
    "source": "This browser does not play the source. The result beside it is of another kind.",
    "result": "This browser does not play the result. It can be downloaded.",
}
ELSEWHERE = "This page is served below PATH and does not know it. Whoever runs it: start it with --root_path PATH"
FAULT = "Something is wrong with the program itself, not with your files. The server's log has the details."
NOT_UNDERSTOOD = "The page does not understand this call. Reload it, or see its API for what can be called."
LENGTHS = {
    "pingpong": "Play forwards and backwards",
    "loop": "Start again",
    "freeze": "Hold the last frame",
    "cut": "End with the video",
    "pad-silence": "Play the rest without sound",
    "speed": "Play slower or faster",
}
BUILTIN_MODELS = (
    "**Built-in models.** They are small, work at 128 pixels and need no download; on a video of a real person expect "
    "a soft mouth that follows the audio roughly. Whoever runs this page can fetch the published models: the terminal "
    "in which it was started says how."
)

# What a visitor can do where the remedy of an error is for whoever runs the page: by class, the nearest base counts.
ASK = "Tell whoever runs this page."
REMEDIES: Mapping[type[LatentSyncError], str] = {
    LatentSyncError: ASK,
    ConfigError: "Choose another setting.",
    VideoError: "Upload it again, or export it as MP4 with H.264.",
    NoVideoStreamError: "Upload a video.",
    AudioError: "Upload it again, or export it as WAV.",
    NoAudioStreamError: "Upload a file that has sound.",
    NoFaceError: f"Choose another moment or video with a visible face, or somebody else under '{LABELS['face']}'.",
    WeightsError: f"Choose others under '{LABELS['checkpoint']}', or tell whoever runs this page.",
    GenerationError: f"Choose another preset, or other models under '{LABELS['checkpoint']}'.",
    OutOfMemoryError: f"Choose others under '{LABELS['checkpoint']}', or tell whoever runs this page.",
    EncoderError: "Export the video as MP4 with H.264 and upload that, or tell whoever runs this page.",
    DiskFullError: "Come back later, or tell whoever runs this page.",
}
# Nothing that a visitor does mends these, whatever their remedies say.
OF_THE_SERVER = (WeightsError, DeviceError, OutputError, OutOfMemoryError, DataError, TrainingError)
# An option, a command, a variable of the surroundings, a file of the project, or its folders: out of a visitor's reach.
_OUT_OF_REACH = re.compile(
    r"--\w|\bpython -m\b|`|\b[A-Z]+_[A-Z_]+\b|\.(?:sh|yaml|py)\b|\b(?:configs|checkpoints)/"
    r"|\b(?:path|permissions)\b"
)
_WITHOUT_UPLOADS = re.compile(r"\bfolder\b|^Name ")  # what is done with files where nobody uploads them
_OPTION = re.compile(r"--(\w[\w-]*)")


def models(name: str, are_builtin: bool) -> str:
    """What the page runs on, in Markdown."""
    return BUILTIN_MODELS if are_builtin else f"**Models:** {in_markdown(name)}."


def preset(name: str) -> str:
    """A preset and what it costs."""
    settings = PRESETS[name]
    costs = [f"{settings.steps} steps"]
    if settings.cache_interval > 1:
        costs.append(f"1 in {settings.cache_interval} in full")
    if settings == SamplerSettings():
        costs.append("as published")
    return f"{'Built-in' if name == BUILTIN_PRESET else name.capitalize()} ({', '.join(costs)})"


def people_found(count: int) -> str:
    """What the look into a video has come to."""
    if count == 0:
        return "Nobody was found in a sample of frames; if somebody is to be seen elsewhere, dubbing still works."
    return "One person was found." if count == 1 else (
        f"{count} people were found. Click the one who is to speak, or give each a sound below."
    )


def not_taken(reason: str) -> str:
    """Beside a file that was refused, in Markdown."""
    return f"**Not taken.** {in_markdown(reason)}"


def line(reading: Progress | Waiting) -> str:
    """The stage, and how far it is where that is known."""
    if isinstance(reading, Waiting):
        return "Waiting for another job to end" if reading.ahead == 1 else f"Waiting for {reading.ahead} other jobs"
    text = STAGES.get(reading.stage, reading.stage)
    if reading.stage == "dubbing":
        text += f": {reading.share:.0%}"
        if reading.seconds_left is not None:
            text += f", about {duration(reading.seconds_left)} left"
    return text


def progress(reading: Progress | Waiting, job: str, beat: int) -> str:
    """The line and a bar, in HTML that a screen reader follows. ``beat``: as of ``status``."""
    return status(line(reading), None if isinstance(reading, Waiting) else reading.share, job=job, beat=beat)


def status(
    text: str,
    share: float | None = None,
    kind: str = "running",
    start: float = 0.0,
    job: str | None = None,
    beat: int = 0,
) -> str:
    """``kind``: 'idle', 'running', 'done' or 'failed'. ``share`` 0 to 1 adds a bar. ``start``: of a preview, s.

    ``job``: the name by which the page finds it again, '' for none any more, None where nothing is said of it.
    ``beat``: a number that changes now and then while the connection lives.
    """
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    role = "alert" if kind == "failed" else "status"
    name = "" if job is None else f' data-job="{html.escape(job)}"'
    attributes = f'class="status {kind}" role="{role}" data-start="{start:.3f}" data-beat="{beat}"{name}'
    return f"<div {attributes}><p>{html.escape(text)}</p>{bar}</div>"


def sentence(error: LatentSyncError, *paths: Path) -> str:
    """Cause and remedy for a visitor, as plain text: files by their names, settings by those that the page has.

    ``paths``: files that the error may be about. The remedy is the error's own unless it is for whoever runs the page.
    """
    text = _OPTION.sub(lambda option: f"'{LABELS.get(option[1], option[1].replace('_', ' '))}'", error.message)
    return without_folders(f"{text} {_remedy(error)}".strip(), *paths)


def note(text: str, *paths: Path | str) -> str:
    """A remark on a job as plain text, without what is for whoever runs the page."""
    parts = [part for part in text.split("; ") if not _OUT_OF_REACH.search(part)]
    return without_folders("; ".join(parts), *paths)


def _remedy(error: LatentSyncError) -> str:
    elsewhere = _OUT_OF_REACH.search(error.remedy) or _WITHOUT_UPLOADS.search(error.remedy)
    if error.remedy and not isinstance(error, OF_THE_SERVER) and not elsewhere:
        return error.remedy
    kinds = [kind for kind in type(error).__mro__ if kind in REMEDIES]
    return REMEDIES[kinds[0]] if error.remedy else ""


def report(account: RunReport, start: float = 0.0) -> str:
    """What was done, in Markdown. ``start``: second of the whole that a preview begins with."""
    record, fps = account.record, account.fps
    kind = f"Preview from {start:.1f} s: " if start else ""
    lines = [
        f"{kind}**{record.frames} frames, {account.output_seconds:.1f} s**, done in {duration(account.wall_seconds)} "
        f"({account.realtime_factor:.1f} s for a second of video; {account.device}, {account.precision}, "
        f"seed {account.options['seed']})."
    ]
    if record.passed_through:
        spans = [
            f"{start + span.first / fps:.2f}-{start + (span.last + 1) / fps:.2f} s ({span.reason})"
            for span in record.passed_through
        ]
        more = f" and {len(spans) - SPANS_SHOWN} more stretches" if len(spans) > SPANS_SHOWN else ""
        lines.append(f"{record.frames_passed_through} frames are as they were: {', '.join(spans[:SPANS_SHOWN])}{more}.")
    else:
        lines.append("Every frame was dubbed; none is as it was.")
    lines += [f"**Look here.** {stretch.describe()}." for stretch in record.out_of_sync[:SPANS_SHOWN]]
    notes = [note(text, account.video, account.audio, account.output) for text in account.notes]
    lines += [f"Note: {in_markdown(text)}." for text in notes if text]
    seconds = record.clock.seconds() | {"encode": account.encode_seconds}
    rows = [f"| {words} | {seconds[stage]:.1f} |" for stage, words in STAGES_OF_REPORT.items() if stage in seconds]
    table = "\n".join(["| work | seconds |", "|---|---:|", *rows])
    return "\n\n".join([*lines, table, "Stages run side by side: their seconds add up to more than the whole."])


def duration(seconds: float) -> str:
    """Roughly, for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:g} hours"
