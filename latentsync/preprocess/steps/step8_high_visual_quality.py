"""Step 8: clips whose pictures are good enough, by their first, middle and last frame."""

from __future__ import annotations

from latentsync.media.video import VideoFile
from latentsync.preprocess.clip import Job, Made, Outcome
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import Tools

VERSION = 1


def run(job: Job, settings: PreprocessSettings, tools: Tools) -> Outcome:
    """``DataError`` of the scorer (pictures too small for it) passes through."""
    wanted = {0, job.clip.frames // 2, job.clip.frames - 1}
    chosen = [frame.pixels for frame in VideoFile(job.file).frames() if frame.index in wanted]
    rating = tools.quality_scorer(chosen)
    figures = {"quality": round(rating, 2)}
    if rating < settings.min_quality:
        return Outcome(reason=f"poor pictures: {rating:.1f} where {settings.min_quality:g} is needed", figures=figures)
    return Outcome((Made(job.clip),), figures=figures)
