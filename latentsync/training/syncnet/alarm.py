"""Why does a sync network not learn? What can be measured of the clips of a run, and the known causes, ranked, each
with the value measured in this very run; before training, whether the clips are in sync at all.

A loss of ln 2 = 0.693 is what guessing gives. Thresholds are rules of thumb from what users of sync networks report.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentsync.checkpoint.card import read_config
from latentsync.data.clip_reader import MelReader, read_clip_frames, silent_share
from latentsync.data.manifest import Clip
from latentsync.errors import ConfigError, DataError, WeightsMismatchError
from latentsync.metrics.stable_sync import MAX_SHIFT, StableSync, SyncOffset, find_offset, load_stable_sync
from latentsync.models.syncnet import SyncNetConfig
from latentsync.recipe import SyncNetRecipe
from latentsync.training.loop.task import Row
from latentsync.training.syncnet.data import negatives_of, pair_set

CHANCE_LOSS = math.log(2)
CHANCE_MARGIN = 0.01
RECENT_SHARE = 0.25  # of the steps so far, whose mean loss is looked at
logger = logging.getLogger(__name__)

SAMPLE = 40  # clips that are looked at: seconds of work, figures to a few per cent
STILL_CHANGE = 1.0  # grey levels between frames, mean over the image, below which a window hardly moves
NEAR_FRAMES = 5  # a negative closer than this is nearly a positive
IN_SYNC_SHARE = 0.6  # of the clips that must be in sync to one frame
CONFIDENT = 0.1  # cosine above the median, below which no shift fits a clip better than the others


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """What was measured of a run. Shares are 0 to 1; None = could not be measured."""

    clips: int
    sources: int
    hours: float
    silent_share: float  # of the mel frames of a sample of clips
    still_share: float  # of a sample of windows in which hardly a pixel of the mouth's half changes
    learning_rate: float
    pairs_per_step: int
    min_distance: int  # of negatives, frames
    near_negative_share: float  # of the negatives, closer than 5 frames
    in_sync_share: float | None = None  # of a sample of clips whose measured A/V offset is at most one frame
    offsets: str = ""  # histogram of those offsets


class ChanceAlarm:
    """Speaks at ``first_step``, and again at every doubling of it, while the loss sits at ``chance``, its level for a
    network that guesses."""

    def __init__(self, first_step: int, measure: Callable[[], SyncFacts], chance: float = CHANCE_LOSS) -> None:
        self._next = first_step
        self._measure = measure
        self._chance = chance

    def check(self, step: int, rows: Sequence[Row]) -> str | None:
        """The message, if there is one to give; ``rows`` are those of the training table."""
        if step < self._next:
            return None
        self._next = 2 * step
        losses = [row["loss"] for row in rows if row["step"] > step * (1 - RECENT_SHARE)]
        mean = sum(losses) / max(1, len(losses))
        if abs(mean - self._chance) > CHANCE_MARGIN:
            return None
        return diagnose(self._measure(), step, mean, self._chance)


def diagnose(facts: SyncFacts, step: int, loss: float, chance: float = CHANCE_LOSS) -> str:
    """Causes from the most to the least suspicious value, then what looks right."""
    findings = sorted(_findings(facts, step), key=lambda finding: -finding[0])
    suspects = [text for badness, text in findings if badness > 0]
    fine = [text for badness, text in findings if badness <= 0]
    lines = [f"The loss sits at chance level: {loss:.4f} after {step} steps, guessing gives {chance:.4f}."]
    lines += ["Likely causes, the likeliest first:"] if suspects else ["No measured value is suspicious."]
    lines += [f"  {number}. {text}" for number, text in enumerate(suspects, start=1)]
    lines += ["Measured and in order:", *(f"  - {text}" for text in fine)] if fine else []
    return "\n".join(lines)


def _findings(facts: SyncFacts, step: int) -> list[tuple[float, str]]:
    """(badness, sentence); badness 0 is the threshold, 1 means off by a factor of ten or the worst share."""
    pairs = step * facts.pairs_per_step
    found = [
        (
            math.log10(100 / max(1, facts.sources)),
            f"{facts.sources} recordings ({facts.clips} clips, {facts.hours:.2f} h). With fewer than about 100 the "
            "network learns them by heart; add recordings of other people.",
        ),
        (
            math.log10(facts.learning_rate / 1e-4),
            f"learning rate {facts.learning_rate:.1e}. Above about 1e-4 runs tend to stay at chance; published: 1e-5.",
        ),
        (
            math.log10(64 / facts.pairs_per_step),
            f"{facts.pairs_per_step} pairs per step. Below about 64 the gradient is mostly noise; raise "
            "data.gradient_accumulation_steps.",
        ),
        (
            (facts.silent_share - 0.3) / 0.7,
            f"{facts.silent_share:.0%} of the audio is silent. In silence nothing tells a fit from a misfit.",
        ),
        (
            (facts.still_share - 0.2) / 0.8,
            f"{facts.still_share:.0%} of the windows hardly move. Check that the crops show the mouth in their lower "
            "half.",
        ),
        (
            facts.near_negative_share - 0.02,
            f"{facts.near_negative_share:.0%} of the negatives lie closer than 5 frames to their positive "
            f"(data.negatives.min_distance {facts.min_distance}). They are nearly positives with the wrong label.",
        ),
        (
            math.log10(1e6 / max(1, pairs)) / 2,
            f"{pairs:,} pairs seen so far. Networks of the published size leave chance level late, often after some "
            "million pairs; if the values above are in order, go on.",
        ),
    ]
    if facts.in_sync_share is None:
        found.append((0.01, "A/V offsets were not measured; run.offset_syncnet_path names a trained network to do it."))
    else:
        found.append(
            (
                2 * (0.6 - facts.in_sync_share) / 0.6,
                f"{facts.in_sync_share:.0%} of the clips are in sync to one frame; offsets in frames: {facts.offsets}. "
                "Below 60 % shift the audio first (`latentsync preprocess` does).",
            )
        )
    return found


def measure_facts(recipe: SyncNetRecipe, clips: Sequence[Clip], mels: MelReader, device: torch.device) -> SyncFacts:
    """The facts of a run, from a sample of its clips."""
    offsets = [offset.frames for _, offset in sample_offsets(recipe, clips, mels, device)]
    silence, still = _silence_and_stillness(recipe, clips, mels)
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return SyncFacts(
        clips=len(clips),
        sources=len({clip.source for clip in clips}),
        hours=sum(clip.seconds for clip in clips) / 3600,
        silent_share=silence,
        still_share=still,
        learning_rate=recipe.optimizer.lr,
        pairs_per_step=recipe.data.batch_size
        * recipe.data.negatives.windows_per_clip
        * recipe.data.gradient_accumulation_steps
        * processes,
        min_distance=recipe.data.negatives.min_distance,
        near_negative_share=_near_share(recipe, clips),
        in_sync_share=float(np.mean([abs(o) <= 1 for o in offsets])) if offsets else None,
        offsets=", ".join(f"{offset:+d}: {count}" for offset, count in sorted(Counter(offsets).items())),
    )


def sample_offsets(
    recipe: SyncNetRecipe, clips: Sequence[Clip], mels: MelReader, device: torch.device
) -> list[tuple[Clip, SyncOffset]]:
    """Measured A/V offsets of a sample of the clips; empty if the configuration names no trained network."""
    if recipe.run.offset_syncnet_path is None:
        return []
    model = _offset_model(recipe, Path(recipe.run.offset_syncnet_path), device)
    measured = []
    for clip in _sample(clips):
        try:
            measured.append((clip, measure_offset(model, clip, mels)))
        except DataError as error:
            logger.warning("%s: %s", clip.path, error.message)
    return measured


def measure_offset(
    model: StableSync, clip: Clip, mels: MelReader, max_shift: int = MAX_SHIFT, windows: int = 12
) -> SyncOffset:
    """Compare ``windows`` windows of frames, evenly spread, with the audio at every shift up to ``max_shift`` frames.

    Raises ``DataError`` if the clip cannot be read or is shorter than two windows.
    """
    size, mel = model.view.num_frames, mels(clip)
    n_starts = model.count_windows(mel, clip.frames)
    if n_starts < size:
        raise DataError(f"too short to measure its offset: frames and audio give {max(0, n_starts)} windows")
    starts = np.unique(np.linspace(0, n_starts - 1, windows).round().astype(int))
    audio = model.embed_audio(model.mel_windows(mel, n_starts))
    faces = (model.crop(read_clip_frames(clip, int(start), size)) for start in starts)
    frames = torch.cat([model.embed_frames(window[None]) for window in faces])
    return find_offset((frames @ audio.T).numpy(), starts, max_shift)


def _offset_model(recipe: SyncNetRecipe, path: Path, device: torch.device) -> StableSync:
    """The network of ``run.offset_syncnet_path``. A file that does not say which network it holds, as a published one,
    holds that of the configuration. Raises ``ConfigError``, and the ``WeightsError`` family."""
    view = recipe.data.view
    if view.latent:
        raise ConfigError(
            "run.offset_syncnet_path only takes pixel networks.", remedy="Leave it out when training on latents."
        )
    config = None if read_config(path) else SyncNetConfig.from_dict(recipe.model)
    try:
        return load_stable_sync(path, config, view, device=device)
    except WeightsMismatchError as error:
        raise ConfigError(
            f"run.offset_syncnet_path names a sync network that does not look at what this configuration does: "
            f"{error.message}",
            remedy="Name one that does, or leave it out.",
        ) from error


def require_sync(recipe: SyncNetRecipe, clips: Sequence[Clip], mels: MelReader, device: torch.device) -> None:
    """Before training: raise ``DataError`` if a trained network finds most of the clips out of sync; name those."""
    measured = sample_offsets(recipe, clips, mels, device)
    if not measured:
        return
    for clip, offset in measured:
        if offset.confidence < CONFIDENT:
            logger.warning("%s: no shift of the audio fits (confidence %.2f).", clip.path, offset.confidence)
        elif abs(offset.frames) > 1:
            logger.warning("%s: the audio is %+d frames late.", clip.path, offset.frames)
    good = [abs(offset.frames) <= 1 and offset.confidence >= CONFIDENT for _, offset in measured]
    if np.mean(good) < IN_SYNC_SHARE:
        raise DataError(
            f"Only {np.mean(good):.0%} of {len(good)} clips are in sync to one frame.",
            remedy="`latentsync preprocess` shifts the audio to where it fits. If the network that measured does "
            "not know such faces, leave run.offset_syncnet_path out.",
        )


def _sample(clips: Sequence[Clip]) -> list[Clip]:
    places = np.unique(np.linspace(0, len(clips) - 1, min(SAMPLE, len(clips))).round().astype(int))
    return [clips[place] for place in places]


def _silence_and_stillness(recipe: SyncNetRecipe, clips: Sequence[Clip], mels: MelReader) -> tuple[float, float]:
    """Share of silent mel frames, and of windows without movement; clips that cannot be read are replaced."""
    windows = pair_set(_sample(clips), recipe.data, mels, recipe.run.seed)
    silence, still = [], []
    for index in range(len(windows)):
        sample = windows[index]
        still.append(float(sample.frames[0].float().diff(dim=0).abs().mean()) < STILL_CHANGE)
        (clip,) = [clip for clip in windows.clips if clip.content == sample.origins[0].clip_id]
        silence.append(silent_share(mels(clip)))
    return float(np.mean(silence)), float(np.mean(still))


def _near_share(recipe: SyncNetRecipe, clips: Sequence[Clip]) -> float:
    """Share of the negatives of the same clip that start closer than ``NEAR_FRAMES`` to their positive."""
    rule, frames = negatives_of(recipe.data), recipe.data.view.num_frames
    starts = np.arange(int(np.median([clip.frames for clip in clips])) - frames + 1)
    distance = np.abs(starts[:, None] - starts[None, :])
    allowed = distance >= rule.min_distance
    near = (allowed & (distance < NEAR_FRAMES)).sum() / max(1, allowed.sum())
    return float(near * (1 - rule.other_clip_share))
