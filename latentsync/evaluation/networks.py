"""The networks of an evaluation; one without its weights is ``Missing``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from lpips import LPIPS
from torch import nn

from latentsync.checkpoint import load_lpips, sha256_file
from latentsync.checkpoint.card import read_config
from latentsync.checkpoint.registry import HYPERIQA_FILE, I3D_FILE, INCEPTION_FILE, S3FD_FILE, SYNCNET_V2_FILE, VGG_FILE
from latentsync.config import load_config
from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.settings import EvaluationSettings, EvaluationWeights
from latentsync.face.backends import choose_detector, detector_files, load_detector
from latentsync.face.detector import FaceDetector
from latentsync.face.mask import OUTLINES, load_mask
from latentsync.metrics.hyperiqa import HyperIQA, load_hyperiqa
from latentsync.metrics.i3d import load_i3d
from latentsync.metrics.identity import load_face_embedding
from latentsync.metrics.inception import FidInception, load_inception
from latentsync.metrics.published_sync import PublishedSync
from latentsync.metrics.stable_sync import StableSync, load_stable_sync
from latentsync.models.syncnet import SyncNetConfig
from latentsync.recipe import SyncNetRecipe

T = TypeVar("T")

FETCH = "fetch with: `latentsync weights --for eval`"


@dataclass(frozen=True)
class EvaluationNetworks:
    """``keep_mask`` (R, R) float32, 1 = not generated."""

    keep_mask: np.ndarray
    detector: FaceDetector | Missing
    stable_sync: StableSync | Missing
    published_sync: PublishedSync | Missing
    lpips: LPIPS | Missing
    hyperiqa: HyperIQA | Missing
    inception: FidInception | Missing
    i3d: nn.Module | Missing
    csim: nn.Module | Missing

    @property
    def generated(self) -> np.ndarray:
        """(R, R) float32, 1 = generated."""
        return 1 - self.keep_mask


def load_networks(settings: EvaluationSettings, weights: EvaluationWeights) -> EvaluationNetworks:
    """On the CPU, in float32: figures of other devices differ in their last digits.

    Raises the ``WeightsError`` kinds other than a missing file, and ``ConfigError``.
    """
    files = weight_files(weights)

    def load(name: str, read: Callable[[Path], T]) -> T | Missing:
        missing = [path.name for path in files[name] if not path.is_file()]
        return Missing(f"weights missing: {', '.join(missing)}; {FETCH}") if missing else read(files[name][0])

    return EvaluationNetworks(
        keep_mask=load_mask(settings.mask, settings.resolution)[0],
        detector=find_detector(settings, weights.auxiliary),
        stable_sync=load("syncnet", lambda path: load_sync_network(path, weights.syncnet_config)),
        published_sync=load("syncnet_v2", lambda path: PublishedSync.load(path.parent)),
        lpips=load("lpips", load_lpips),
        hyperiqa=load("hyperiqa", load_hyperiqa),
        inception=load("inception", load_inception),
        i3d=load("i3d", load_i3d),
        csim=load_face_embedding(weights.csim) if weights.csim else Missing("no network given: see --csim"),
    )


def weight_files(weights: EvaluationWeights) -> dict[str, tuple[Path, ...]]:
    """The files of each network but the face detector's."""
    folder = weights.auxiliary
    return {
        "syncnet": (weights.syncnet,),
        "syncnet_v2": (folder / SYNCNET_V2_FILE, folder / S3FD_FILE),
        "lpips": (folder / VGG_FILE,),
        "hyperiqa": (folder / HYPERIQA_FILE,),
        "inception": (folder / INCEPTION_FILE,),
        "i3d": (folder / I3D_FILE,),
    } | ({"csim": (weights.csim,)} if weights.csim else {})


def weight_hashes(settings: EvaluationSettings, weights: EvaluationWeights) -> dict[str, str]:
    """Name of each file that is there -> SHA-256: the networks, the configuration of one, and a mask that is a file."""
    files = [path for paths in weight_files(weights).values() for path in paths]
    files += [Path(settings.mask)] if settings.mask.removesuffix(".png") not in OUTLINES else []
    files += [weights.syncnet_config] if weights.syncnet_config is not None else []
    present = {path for path in files if path.is_file()}
    with suppress(WeightsMissingError):  # then nothing is detected
        present |= set(detector_files(settings.detector, weights.auxiliary, "cpu"))
    return {path.name: sha256_file(path) for path in sorted(present)}


def load_sync_network(path: Path, config: Path | None) -> StableSync:
    """A StableSyncNet on pixels with what it looks at; ``config``, its YAML, tells of a file that does not.

    Raises the ``WeightsError`` family and ``ConfigError``.
    """
    if read_config(path) is not None:
        return load_stable_sync(path)
    if config is None:
        raise ConfigError(
            f"{path} does not say which sync network it holds.",
            remedy="Name its configuration with --syncnet_config, such as configs/syncnet/syncnet_16_pixel_attn.yaml.",
        )
    recipe = load_config(config, SyncNetRecipe)
    return load_stable_sync(path, SyncNetConfig.from_dict(recipe.model), recipe.data.view)


def find_detector(settings: EvaluationSettings, auxiliary: Path) -> FaceDetector | Missing:
    """The face detector that ``settings`` name, if its weights are there."""
    try:
        name = choose_detector(settings.detector, auxiliary, "cpu")
    except WeightsMissingError:
        return Missing(f"weights missing: those of a face detector; {FETCH}")
    return load_detector(name, auxiliary, "cpu", threads=1)
