"""What an adapter gives: held-out clips dubbed without and with it, scored, and a strip of images.

Each clip gets the audio of the next one, so the truth about its mouth is known: what the same person did in saying it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.atomic import link_or_copy, write_text
from latentsync.checkpoint import AdapterChoice
from latentsync.cli.dub_set import make
from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from latentsync.evaluation.run import evaluate
from latentsync.evaluation.settings import RESULT, EvaluationSettings, EvaluationWeights, Setting
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions, apply_preset
from latentsync.inference.weights import WeightPaths, identities
from latentsync.media.contact_sheet import SheetRow, write_sheet
from latentsync.media.video import VideoFile
from latentsync.training.adapters.run import AdaptRequest

FIGURES = ("opening_correlation", "opening_lag", "leak", "sharpness", "flicker", "lip_color", "smudge")
SHOWN, TILES = 3, 8  # clips of the strip, and images of each


def measure(request: AdaptRequest, clips: Sequence[Clip], count: int) -> str:
    """Dub up to ``count`` of the held-out ``clips`` before and after; write ``<output>.json`` and ``<output>.png``
    beside the adapter, and return a table. What was dubbed already is not dubbed again.

    Raises ``DataError`` for a single clip, and as ``dub`` and ``evaluate``.
    """
    chosen = sorted(clips, key=lambda clip: clip.content)[:count]
    if len(chosen) < 2:
        raise DataError("One held-out clip has no other one whose audio it could get.", remedy="Give more video.")
    pairs = {f"{a.path.stem}__{b.path.stem}": (a, b) for a, b in zip(chosen, [*chosen[1:], chosen[0]], strict=True)}
    folder = request.work / "figures"
    for name, (source, truth) in pairs.items():
        for kind, clip in (("source", source), ("truth", truth)):
            # Not a symbolic link: what lies beside the clip (its measured mouth) would be taken for its faces.
            place = folder / kind / f"{name}{clip.path.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                link_or_copy(clip.path, place)
    plain = request.weights
    adapted = replace(plain, adapter=AdapterChoice(request.output))
    means = {
        "before": _score(request, plain, pairs, folder, "before"),
        "after": _score(request, adapted, pairs, folder, "after"),
    }
    write_text(request.output.with_suffix(".json"), json.dumps({"clips": len(pairs), **means}, indent=1) + "\n")
    _write_strip(request.output.with_suffix(".png"), [*pairs][:SHOWN], folder)
    return _table(means)


def _score(
    request: AdaptRequest, weights: WeightPaths, pairs: Mapping[str, tuple[Clip, Clip]], folder: Path, kind: str
) -> dict[str, float]:
    networks, stated = KeptNetworks(), identities(weights.check())
    weights, sampler = apply_preset(None, weights)
    for name, (source, truth) in pairs.items():
        dub = DubRequest(
            source.path, truth.path, folder / kind / f"{name}.mp4", SyncOptions(sampler, check_output=False),
            weights=weights, unet_config=request.unet_config, detector=request.detector, overwrite=True,
        )  # fmt: skip
        make(dub, folder / "made" / kind / f"{name}.json", stated, networks)
    settings = EvaluationSettings(Setting.CROSS_SYNC, detector=request.detector)
    nothing = folder / "no-network"  # the sync networks of evaluations are no part of this
    report = folder / f"report_{kind}"
    networks_of_scores = EvaluationWeights(weights.auxiliary, nothing)
    evaluate(folder / kind, folder / "truth", folder / "source", report, settings, networks_of_scores)
    return _means(json.loads((report / "evaluation.json").read_text(encoding="utf-8")))


def _means(report: Mapping[str, Any]) -> dict[str, float]:
    """Of the results that have the figure."""
    found: dict[str, float] = {}
    for name in FIGURES:
        values = [clip["rows"][RESULT].get(name) for clip in report["clips"]]
        known = [value for value in values if isinstance(value, float | int)]
        if known:
            found[name] = round(statistics.fmean(known), 4)
    return found


def _write_strip(path: Path, names: Sequence[str], folder: Path) -> None:
    kinds = {"source": "source", "before": "before", "after": "after", "truth": "said so"}
    rows = [SheetRow(text, _images(folder / kind / f"{name}.mp4")) for name in names for kind, text in kinds.items()]
    write_sheet(path, rows)


def _images(video: Path) -> list[np.ndarray]:
    file = VideoFile(video)
    wanted = set(np.linspace(0, file.info.n_frames - 1, TILES).round().astype(int).tolist())
    return [frame.pixels for frame in file.frames() if frame.index in wanted]


def _table(means: Mapping[str, Mapping[str, float]]) -> str:
    names = [name for name in FIGURES if name in means["after"]]
    lines = [f"{'held-out clips':28}{'before':>9}{'after':>9}"]
    lines += [f"{name:28}{means['before'].get(name, float('nan')):9.3f}{means['after'][name]:9.3f}" for name in names]
    return "\n".join(lines)
