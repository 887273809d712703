"""The eight steps in their order: what each is called, what decides its result, what it needs, and how it is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from types import ModuleType
from typing import Any

from latentsync.errors import ConfigError
from latentsync.preprocess.clip import Job, Outcome
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps import (
    step1_readable,
    step2_resampled,
    step3_shot,
    step4_segmented,
    step5_high_resolution,
    step6_affine_transformed,
    step7_av_synced,
    step8_high_visual_quality,
)
from latentsync.preprocess.steps.networks import Tools

READABLE = "readable"  # step 1, which has no directory of its own


@dataclass(frozen=True, slots=True)
class Step:
    """``name`` is that of its directory. ``settings`` is a hash of all that decides its result, earlier steps included.

    ``tool`` names the network that it needs (an attribute of ``Tools``), "" if none.
    """

    name: str
    settings: str
    tool: str
    run: Callable[[Job, PreprocessSettings, Tools], Outcome]


def steps_of(settings: PreprocessSettings) -> tuple[Step, ...]:
    """Steps 2 to 8."""
    steps = []
    digest = ""  # not that of step 1: its thresholds decide which files come here, not what becomes of them
    for name, module, values, tool in _table(settings):
        digest = _digest(digest, name, module.VERSION, values)
        steps.append(Step(name, digest, tool, module.run))
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
    """Of what decides the result of step 1."""
    return _digest("", READABLE, step1_readable.VERSION, (settings.segment_seconds, settings.faces.min_side))


def _table(s: PreprocessSettings) -> tuple[tuple[str, ModuleType, Any, str], ...]:
    """Name of the directory, module, settings of its own, network."""
    return (
        ("resampled", step2_resampled, (s.encoding, s.shots, s.segment_frames), ""),
        ("shot", step3_shot, (), ""),
        ("segmented", step4_segmented, (s.segment_frames,), ""),
        ("high_resolution", step5_high_resolution, (s.faces,), "detector"),
        ("affine_transformed", step6_affine_transformed, (s.alignment,), "detector"),
        (f"av_synced_{s.sync.min_confidence:g}", step7_av_synced, (s.sync,), "sync_scorer"),
        ("high_visual_quality", step8_high_visual_quality, (s.min_quality,), "quality_scorer"),
    )


def _digest(before: str, name: str, version: int, values: tuple[Any, ...]) -> str:
    plain = [asdict(each) if is_dataclass(each) else each for each in values]
    text = json.dumps([before, name, version, plain], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
