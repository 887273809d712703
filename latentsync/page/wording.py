"""What the page says: progress, reports, errors and models in words for people who edit films."""

from __future__ import annotations

import html
from pathlib import Path

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import LatentSyncError
from latentsync.inference.job.progress import Progress
from latentsync.inference.job.report import RunReport
from latentsync.inference.presets import BUILTIN_PRESET, PRESETS
from latentsync.page.jobs import Waiting

STAGES = {
    "starting": "Checking the files",
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
    "paste": "putting it back",
    "encode": "encoding",
}
SPANS_SHOWN = 8
IDLE = "Nothing is running."
DONE = "Done. The result is below."
NO_VIDEO_YET = "Bring a video: the people in it appear here."
VIDEO_HELP = "Who is to speak: upload a film, or record yourself."
SOUND_HELP = "What is to be said. The result lasts as long as this sound."
FAULT = "Something is wrong with the program itself, not with your files. The server's log has the details."
LENGTHS = {
    "pingpong": "Play forwards and backwards",
    "loop": "Start again",
    "freeze": "Hold the last frame",
    "cut": "End with the video",
    "pad-silence": "Play the rest without sound",
    "speed": "Play slower or faster",
}
BUILTIN_MODELS = (
    "**Built-in models.** They were trained on drawn faces at 128 pixels and show that everything works; on a film of "
    "a real person expect a wrong mouth. To have the published models, start the page again after this command: "
    "`python -m scripts.download_checkpoints --for inference`"
)


def models(name: str, are_builtin: bool) -> str:
    """What the page runs on, in Markdown."""
    return BUILTIN_MODELS if are_builtin else f"**Models:** {name}."


def preset(name: str) -> str:
    """A preset and what it costs."""
    settings = SamplerSettings(**PRESETS[name])
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
    return "One person was found." if count == 1 else f"{count} people were found. Click the one who is to speak."


def not_taken(reason: str) -> str:
    """Beside a file that was refused, in Markdown."""
    return f"**Not taken.** {reason}"


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


def progress(reading: Progress | Waiting) -> str:
    """The line and a bar, in HTML that a screen reader follows."""
    return status(line(reading), None if isinstance(reading, Waiting) else reading.share)


def status(text: str, share: float | None = None, kind: str = "running", start: float = 0.0) -> str:
    """``kind``: 'idle', 'running', 'done' or 'failed'. ``share`` 0 to 1 adds a bar. ``start``: of a preview, s."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    role = "alert" if kind == "failed" else "status"
    return f'<div class="status {kind}" role="{role}" data-start="{start:.3f}"><p>{html.escape(text)}</p>{bar}</div>'


def sentence(error: LatentSyncError, *paths: Path) -> str:
    """Cause and remedy; files by their names, since visitors do not know where the server keeps them."""
    text = f"{error.message} {error.remedy}".strip()
    for path in sorted(paths, key=lambda path: -len(str(path))):
        text = text.replace(str(path), path.name)
    return text


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
    lines += [f"Note: {note}." for note in account.notes]
    seconds = record.clock.seconds() | {"encode": account.encode_seconds}
    rows = [f"| {words} | {seconds[stage]:.1f} |" for stage, words in STAGES_OF_REPORT.items() if stage in seconds]
    table = "\n".join(["| work | seconds |", "|---|---:|", *rows])
    return "\n\n".join([*lines, table, "Stages run side by side: their seconds add up to more than the whole."])


def duration(seconds: float) -> str:
    """Roughly, for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:g} hours"
