"""Step 5: clips of one face, of at least 256 pixels. Looking ends at the first frame that settles it."""

from __future__ import annotations

from contextlib import closing

from latentsync.face.detections_file import write_detections
from latentsync.media.video import VideoFile
from latentsync.preprocess.clip import Job, Made, Outcome
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.faces import FaceCount, look_at, looks
from latentsync.preprocess.steps.networks import Tools

VERSION = 2


def run(job: Job, settings: PreprocessSettings, tools: Tools) -> Outcome:
    """The faces found are kept at ``job.faces``, so that step 6 need not look again."""
    count = FaceCount(settings.faces.min_side)
    looked_at = looks(job.clip.frames, settings.faces.stride)
    with closing(VideoFile(job.file).frames(only=looked_at)) as frames:
        found = look_at(frames, job.clip.frames, tools.detector, count)
    figures = {"looks": count.looks, "detector": tools.detector.name}
    if count.sides:
        figures["face_side"] = round(count.side, 1)
    if count.reason:
        return Outcome(reason=count.reason, figures=figures)
    job.faces.parent.mkdir(parents=True, exist_ok=True)
    write_detections(job.faces, found)
    return Outcome((Made(job.clip),), figures=figures)
