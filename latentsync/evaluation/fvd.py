"""FVD of two folders of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from latentsync.errors import DataError, LatentSyncError
from latentsync.evaluation.faces import known_or_found
from latentsync.evaluation.pictures import faces_of_fvd
from latentsync.evaluation.recording import open_recording
from latentsync.evaluation.settings import EvaluationSettings
from latentsync.face.detector import FaceDetector
from latentsync.metrics.frechet import frechet_distance
from latentsync.metrics.i3d import i3d_features


@dataclass(frozen=True, slots=True)
class FvdResult:
    """``results`` and ``truths``: videos that were looked at; ``failed``: path -> reason."""

    fvd: float
    results: int
    truths: int
    failed: dict[str, str]


def folder_fvd(
    results: Sequence[Path], truths: Sequence[Path], network: nn.Module, detector: FaceDetector | str,
    settings: EvaluationSettings,
) -> FvdResult:  # fmt: skip
    """Between two sets of videos, which need not be pairs; ``detector`` may be the sentence why there is
    none, if all have their faces beside them. Raises ``DataError`` if fewer than two of either can be
    used, naming the first reason."""
    failed: dict[str, str] = {}

    def features(paths: Sequence[Path]) -> list[np.ndarray]:
        found = []
        for path in paths:
            try:
                recording = open_recording(path)
                faces = known_or_found(recording, detector, settings.face, settings.resolution)
                cropped = faces_of_fvd(recording, faces.boxes, settings.fvd_first_frame)
            except LatentSyncError as error:
                failed[str(path)] = error.message
                continue
            found.append(i3d_features(network, cropped, settings.fvd_range))
        return found

    mine, true = features(results), features(truths)
    if min(len(mine), len(true)) < 2:
        reason = next(iter(failed.values()), "there are no more videos")
        raise DataError(
            f"FVD needs two videos of each kind; {len(mine)} results and {len(true)} truths can be used: {reason}.",
            remedy="Give more videos with a face.",
        )
    return FvdResult(frechet_distance(np.stack(mine), np.stack(true)), len(mine), len(true), failed)
