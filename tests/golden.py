"""The deterministic weight rule, and access to the numbers recorded from the published code under it.

The rule fills every tensor of a state dict from its name alone, so two implementations with the same names and shapes
hold the same network without exchanging a file. The recorded numbers are in ``tests/data/golden``.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "data" / "golden"
SHARED = Path(os.environ.get("LATENTSYNC_SHARED", Path(__file__).parents[2] / "shared"))


def shared_file(name: str) -> Path:
    """A reference file that stays outside the repository; skips the calling test when it is not there."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"reference file {name} is not at hand (set LATENTSYNC_SHARED)")
    return path


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of ``tests/data/golden/<name>.npz``."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as archive:
        return dict(archive)


def golden_json(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text())


def rule_input(name: str, shape: tuple[int, ...], salt: str = "dev") -> torch.Tensor:
    """The standard-normal input tensor of that name."""
    return torch.from_numpy(_random("input:" + name, shape, salt))


def rule_tensor(name: str, shape: tuple[int, ...], salt: str = "dev") -> torch.Tensor:
    """The weight tensor that the rule gives to a state-dict entry."""
    x = _random(name, shape, salt)
    if x.ndim >= 2:
        x = x / np.float32(np.sqrt(x.size // x.shape[0]))
    elif name.endswith("running_var"):
        x = 1 + np.float32(0.1) * np.abs(x)
    elif name.endswith("running_mean"):
        x = np.float32(0.1) * x
    elif name.endswith("weight"):
        x = 1 + np.float32(0.1) * x
    else:
        x = np.float32(0.1) * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def fill_by_rule(module: torch.nn.Module, salt: str = "dev", keep: tuple[str, ...] = ()) -> torch.nn.Module:
    """Fill ``module`` in place, return it in eval mode; names ending in one of ``keep`` stay as they are."""
    kept = (".pe", "num_batches_tracked", "positional_embedding", *keep)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not name.endswith(kept):
                tensor.copy_(rule_tensor(name, tuple(tensor.shape), salt))
    return module.eval()


def relative_error(actual: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
    """L2 norm of the difference over the L2 norm of what was expected."""
    actual, expected = (torch.as_tensor(np.asarray(x)).double() for x in (actual, expected))
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    return float((actual - expected).norm() / expected.norm())


def _random(name: str, shape: tuple[int, ...], salt: str) -> np.ndarray:
    seed = zlib.crc32((salt + name).encode()) & 0xFFFFFFFF
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
