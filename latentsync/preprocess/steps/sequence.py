"""The eight steps in their order: what each is called, what decides its result, what it needs, and how it is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, NamedTuple

from latentsync.errors import ConfigError
from latentsync.preprocess.clip_record import StepInput, StepResult
from latentsync.preprocess.settings import FINAL_STEP, LimitSettings, PreprocessSettings
from latentsync.preprocess.steps import (
    step1_readable,
    step2_resampled,
    step3_4_cut,
    step5_high_resolution,
    step6_affine_transformed,
    step7_8_sync_and_quality,
)
from latentsync.preprocess.steps.networks import StepNetworks

READABLE = "readable"  # step 1, which has no directory of its own

RunStep = Callable[[StepInput, PreprocessSettings, StepNetworks], StepResult]


@dataclass(frozen=True, slots=True)
class Step:
    """``name`` is that of its directory. ``settings`` is a hash of all that decides its result, earlier steps included.

    ``network`` is what it needs (an attribute of ``StepNetworks``), "" if nothing.
    """

    name: str
    settings: str
    network: str
    run: RunStep


def steps_of(settings: PreprocessSettings) -> tuple[Step, ...]:
    """Steps 2 to 8."""
    steps = []
    digest = ""  # not that of step 1: its thresholds decide which files come here, not what becomes of them
    for each in _table(settings):
        digest = _digest(digest, each.name, each.version, each.values)
        steps.append(Step(each.name, digest, each.network, each.run))
    return tuple(steps)


def wanted_steps(settings: PreprocessSettings) -> tuple[Step, ...]:
    """Steps 2 to ``last_step``. Raises ``ConfigError`` for a ``last_step`` that does not exist."""
    steps = steps_of(settings)
    names = [step.name for step in steps]
    if settings.last_step not in names:
        known = ", ".join(names)
        raise ConfigError(f"There is no step {settings.last_step!r}.", remedy=f"last_step is one of {known}.")
    return steps[: names.index(settings.last_step) + 1]


def readable_digest(settings: PreprocessSettings) -> str:
    """Of what decides the result of step 1.

    With the usual limits it is that of manifests from before there were any: their files need not be read again.
    """
    values: tuple[Any, ...] = (settings.segment_seconds, settings.faces.min_side)
    if settings.limits != LimitSettings():
        values += (settings.limits,)
    return _digest("", READABLE, step1_readable.VERSION, values)


class _Entry(NamedTuple):
    """A step as it stands in the table; ``values`` are the settings that are its own."""

    name: str
    version: int
    run: RunStep
    values: tuple[Any, ...]
    network: str = ""


def _table(s: PreprocessSettings) -> tuple[_Entry, ...]:
    aligned, cut, scored = step6_affine_transformed, step3_4_cut, step7_8_sync_and_quality
    sync_name = f"av_synced_{s.sync.min_confidence:g}"
    return (
        _Entry("resampled", step2_resampled.VERSION, step2_resampled.run, (s.encoding, s.shots, s.segment_frames)),
        _Entry("shot", cut.SHOT_VERSION, cut.cut_into_shots, ()),
        _Entry("segmented", cut.SEGMENT_VERSION, cut.cut_into_segments, (s.segment_frames,)),
        _Entry("high_resolution", step5_high_resolution.VERSION, step5_high_resolution.run, (s.faces,), "detector"),
        _Entry("affine_transformed", aligned.VERSION, aligned.run, (s.alignment,), "detector"),
        _Entry(sync_name, scored.SYNC_VERSION, scored.score_sync, (s.sync,), "sync_scorer"),
        _Entry(FINAL_STEP, scored.QUALITY_VERSION, scored.score_quality, (s.min_quality,), "quality_scorer"),
    )


def _digest(before: str, name: str, version: int, values: tuple[Any, ...]) -> str:
    plain = [asdict(each) if is_dataclass(each) and not isinstance(each, type) else each for each in values]
    text = json.dumps([before, name, version, plain], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
