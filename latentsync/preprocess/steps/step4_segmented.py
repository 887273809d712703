"""Step 4: pieces of equal length of each shot, the last one up to twice as long, so that nothing is left over."""

from __future__ import annotations

from latentsync.constants import MODEL_FPS
from latentsync.preprocess.clip import Job, Outcome
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import Tools
from latentsync.preprocess.steps.step3_shot import cut_clip

VERSION = 1


def run(job: Job, settings: PreprocessSettings, tools: Tools) -> Outcome:
    """A shot that is shorter than one piece is dropped."""
    length, frames = settings.segment_frames, job.clip.frames
    if frames < length:
        needed = f"{float(length / MODEL_FPS):g} s"
        return Outcome(reason=f"short shot: {job.clip.seconds:.2f} s where {needed} are needed")
    starts = [length * number for number in range(frames // length)]
    spans = list(zip(starts, [*starts[1:], frames], strict=True))
    return Outcome(cut_clip(job, spans, [f"_{number:03d}" for number in range(len(spans))]))
