"""Step 3: one clip for each shot, cut to the frame without encoding anything again."""

from __future__ import annotations

from dataclasses import replace

from latentsync.constants import MODEL_FPS
from latentsync.media.cutting import Piece, cut
from latentsync.preprocess.clip import Clip, Job, Made, Outcome
from latentsync.preprocess.engine.layout import numbered
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import Tools

VERSION = 1


def run(job: Job, settings: PreprocessSettings, tools: Tools) -> Outcome:
    """A recording of one shot is kept as the file it is."""
    borders = [0, *job.clip.cuts, job.clip.frames]
    spans = list(zip(borders[:-1], borders[1:], strict=True))
    marks = [f"_shot_{number:03d}" for number in range(1, len(spans) + 1)]
    return Outcome(cut_clip(job, spans, marks), figures={"shots": len(spans)})


def cut_clip(job: Job, spans: list[tuple[int, int]], marks: list[str]) -> tuple[Made, ...]:
    """The clips of ``spans`` (first frame, frame after the last; within the clip), named by ``marks``."""
    clips = [_part(job.clip, *span, mark) for span, mark in zip(spans, marks, strict=True)]
    if spans == [(0, job.clip.frames)]:
        return (Made(clips[0]),)
    pieces = [Piece(*span, job.scratch / f"{number:05d}.mp4") for number, span in enumerate(spans)]
    cut(job.file, pieces, MODEL_FPS)
    return tuple(Made(clip, piece.path) for clip, piece in zip(clips, pieces, strict=True))


def _part(clip: Clip, start: int, stop: int, mark: str) -> Clip:
    return replace(clip, name=numbered(clip.name, mark), start=clip.start + start, frames=stop - start, cuts=())
