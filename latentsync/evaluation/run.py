"""From folders to a result: an evaluation clip by clip, in as many processes as are asked for; FVD alone."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from latentsync.errors import DataError, OutputError
from latentsync.evaluation.clip import ClipScores, score_clip
from latentsync.evaluation.crops import fvd_features
from latentsync.evaluation.faces import follow_face, given_faces
from latentsync.evaluation.missing import Missing, attempt
from latentsync.evaluation.networks import EvaluationNetworks, load_networks, weight_hashes
from latentsync.evaluation.page import evaluation_page
from latentsync.evaluation.recordings import ClipFiles, find_pairs, open_recording
from latentsync.evaluation.report import Evaluation, write_report
from latentsync.evaluation.settings import EvaluationSettings, EvaluationWeights, Setting
from latentsync.evaluation.summary import failures, summarise
from latentsync.face.detector import FaceDetector
from latentsync.media.threads import single_threaded
from latentsync.metrics.frechet import frechet_distance

BUILTIN_NOTE = (
    "The StableSyncNet that judged was trained on drawn faces, photographs that speak and one real person: of videos "
    "of other people its figures say little. The published one is fetched with: `latentsync weights --for eval`"
)
OnClip = Callable[[int, int], None]  # clips done, clips in all


def evaluate(
    results: Path,
    truth: Path,
    source: Path | None,
    output: Path,
    settings: EvaluationSettings,
    weights: EvaluationWeights,
    *,
    workers: int = 1,
    notes: Sequence[str] = (),
    on_clip: OnClip = lambda done, total: None,
) -> tuple[Evaluation, str]:
    """Score every clip, write the report to ``output``, return it and the SHA-256 of its JSON.

    The figures do not depend on ``workers``; a single one works in this process. Raises ``DataError`` if there is
    nothing to score or the setting needs a source, ``ConfigError`` and the ``WeightsError`` family for networks that
    cannot be used, and ``OutputError``.
    """
    if source is None and settings.setting is not Setting.RECONSTRUCTION:
        raise DataError(
            f"The setting {settings.setting.value} needs the videos that were dubbed.", remedy="Add --source DIR."
        )
    pairs = find_pairs(results, truth, source)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error}.", remedy="Choose another --output.") from error
    clips = []
    for scores in _score_all(pairs, settings, weights, output, workers):
        clips.append(scores)
        on_clip(len(clips), len(pairs))
    evaluation = Evaluation(
        settings,
        weight_hashes(settings, weights),
        clips,
        summarise(clips, settings.seed),
        failures(clips),
        tuple(notes),
    )
    page = evaluation_page(evaluation, {clip.name: stills_path(output, clip.name) for clip in clips})
    try:
        return evaluation, write_report(evaluation, page, output)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error}.", remedy="Choose another --output.") from error


def stills_path(output: Path, name: str) -> Path:
    """Where the images of a clip are."""
    return output / "stills" / (name.replace("/", "__") + ".png")


@dataclass(frozen=True, slots=True)
class FvdResult:
    """``results`` and ``truths``: videos that were looked at; ``failed``: path -> reason."""

    fvd: float
    results: int
    truths: int
    failed: dict[str, str]


def folder_fvd(
    results: Sequence[Path],
    truths: Sequence[Path],
    network: nn.Module,
    detector: FaceDetector | Missing,
    settings: EvaluationSettings,
) -> FvdResult:
    """FVD between two sets of videos, which need not be pairs. ``detector`` may be missing if all have their faces
    beside them. Raises ``DataError`` if fewer than two of either can be used, naming the first reason."""
    failed: dict[str, str] = {}

    def features(path: Path) -> np.ndarray:
        recording = open_recording(path, limits=settings.limits)
        faces = follow_face(recording, detector, given_faces(path), settings)
        return fvd_features(faces, network, recording, settings)

    def usable(paths: Sequence[Path]) -> list[np.ndarray]:
        found = {path: attempt(features, path) for path in paths}
        failed.update({str(path): each.reason for path, each in found.items() if isinstance(each, Missing)})
        return [each for each in found.values() if not isinstance(each, Missing)]

    mine, true = usable(results), usable(truths)
    if min(len(mine), len(true)) < 2:
        reason = next(iter(failed.values()), "there are no more videos")
        raise DataError(
            f"FVD needs two videos of each kind; {len(mine)} results and {len(true)} truths can be used: {reason}.",
            remedy="Give more videos with a face.",
        )
    return FvdResult(frechet_distance(np.concatenate(mine), np.concatenate(true)), len(mine), len(true), failed)


def _score_all(
    pairs: Sequence[ClipFiles], settings: EvaluationSettings, weights: EvaluationWeights, output: Path, workers: int
) -> Iterator[ClipScores]:
    """In the order of ``pairs``; with several workers a few clips ahead of the consumer."""
    if workers == 1:
        for files in pairs:
            yield _score(files, settings, weights, stills_path(output, files.name))
        return
    context = multiprocessing.get_context("spawn")  # networks and codecs do not survive a fork
    with ProcessPoolExecutor(workers, context) as pool:
        jobs = (
            pool.submit(_score, files, settings, weights, stills_path(output, files.name)) for files in pairs
        )  # a generator: a clip is submitted when it is asked for
        pending = deque(islice(jobs, 2 * workers))
        while pending:
            yield pending.popleft().result()
            pending.extend(islice(jobs, 1))


def _score(files: ClipFiles, settings: EvaluationSettings, weights: EvaluationWeights, stills: Path) -> ClipScores:
    """The networks are loaded with a process's first clip, so that their errors reach the caller. One thread, so that
    figures do not depend on the machine's cores."""
    with single_threaded():
        return score_clip(files, _networks(settings, weights), settings, stills)


@cache
def _networks(settings: EvaluationSettings, weights: EvaluationWeights) -> EvaluationNetworks:
    return load_networks(settings, weights)
