"""Tables of tensors: read without running code or holding a file twice, compare strictly, write self-describing."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.atomic import atomic_file
from latentsync.checkpoint.card import CARD_KEY, CONFIG_KEY, WeightsCard
from latentsync.checkpoint.files import FileKind, corrupt, inspect_file
from latentsync.errors import WeightsMismatchError

NAMES_SHOWN = 4  # tensor names that an error spells out before it counts the rest
LOADABLE = frozenset({FileKind.TORCH, FileKind.TORCH_LEGACY, FileKind.SAFETENSORS})
Network = TypeVar("Network", bound=nn.Module)


def read_table(path: str | Path) -> dict[str, Any]:
    """What the top level of a weight file holds, on the CPU and mapped from the file wherever its format allows.

    Raises ``WeightsMissingError`` and ``WeightsCorruptError``.
    """
    path = Path(path)
    kind = inspect_file(path, accept=LOADABLE)
    if kind is FileKind.SAFETENSORS:
        with safe_open(path, framework="pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  not a mapping
    try:
        table = torch.load(path, map_location="cpu", weights_only=True, mmap=kind is FileKind.TORCH)
    except Exception as error:  # a damaged pickle can fail in any way that Python knows
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error):
            raise corrupt(
                path,
                "names Python code besides tensors, and was not loaded",
                "Use a file from a source you trust that holds nothing but tensors.",
            ) from error
        raise corrupt(path, f"is damaged or cut short ({type(error).__name__} while reading it)") from error
    if not isinstance(table, Mapping):
        raise corrupt(path, f"holds a {type(table).__name__} where a table of tensors is needed")
    return dict(table)


def tensors_under(path: Path, table: Mapping[str, Any], *levels: str) -> dict[str, Tensor]:
    """The tensors of a file's top level or of the first of ``levels`` that it has; a leading ``module.`` is cut off.

    Raises ``WeightsCorruptError`` if that holds anything but tensors, or nothing.
    """
    level = next((name for name in levels if name in table), None)
    entries = table if level is None else table[level]
    if not isinstance(entries, Mapping) or not entries:
        raise corrupt(path, "holds no tensors")
    foreign = [name for name, value in entries.items() if not isinstance(value, Tensor)]
    if foreign:
        raise corrupt(path, f"holds no plain table of tensors: entry {foreign[0]!r} is something else")
    return {str(name).removeprefix("module."): tensor for name, tensor in entries.items()}


def require_tensors(
    path: Path, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], network: str
) -> list[str]:
    """Names in ``actual`` that ``expected`` does not have; the caller decides whether those may be.

    Raises ``WeightsMismatchError`` naming both sides if a tensor of ``expected`` is missing or of another shape.
    """
    missing = [name for name in expected if name not in actual]
    if missing:
        raise mismatch(path, f"lacks {len(missing)} of the {len(expected)} tensors of {network}: {shorten(missing)}")
    wrong = [
        f"{name} is {tuple(actual[name].shape)} in the file and {tuple(tensor.shape)} in the network"
        for name, tensor in expected.items()
        if actual[name].shape != tensor.shape
    ]
    if wrong:
        raise mismatch(path, f"does not fit {network}: {shorten(wrong, '; ')}")
    return [name for name in actual if name not in expected]


def refuse_extras(path: Path, extras: list[str], network: str) -> None:
    """Raise ``WeightsMismatchError`` if the file has tensors that the network has no place for."""
    if extras:
        raise mismatch(path, f"has {len(extras)} tensors that {network} has no place for: {shorten(extras)}")


def mismatch(path: Path, cause: str) -> WeightsMismatchError:
    """The error for an undamaged file of another network."""
    return WeightsMismatchError(
        f"The weight file {path} {cause}.",
        remedy="Check that the file and the configuration belong to the same network and release "
        "(`latentsync weights --list`).",
    )


def shorten(names: Iterable[str], separator: str = ", ") -> str:
    """The first few names and a count of the others."""
    names = list(names)
    rest = len(names) - NAMES_SHOWN
    return separator.join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def fill(network: Network, tensors: Mapping[str, Tensor], device: torch.device | str, dtype: torch.dtype) -> Network:
    """Give a network that was built on the meta device its tensors, without a second copy of them; eval mode.

    ``tensors`` must have been checked by ``require_tensors``; those that are already of ``dtype`` on ``device`` are
    taken as they are.
    """
    expected = network.state_dict()
    network.load_state_dict({name: tensors[name] for name in expected}, strict=True, assign=True)
    left = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if left:
        raise AssertionError(f"buffers outside the state dict cannot be built on the meta device: {left}")
    # The base class's own method: diffusers' override logs advice about modules that these networks do not have.
    return nn.Module.to(network, device=device, dtype=dtype).eval()


def save_weights(path: str | Path, state_dict: Mapping[str, Tensor], config: Any, card: WeightsCard) -> None:
    """Write a self-describing safetensors file in one step: readers see the old file or the new one, never a half.

    ``config`` is a network configuration with ``to_dict``.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    metadata = {"format": "pt", CARD_KEY: card.to_json(), CONFIG_KEY: json.dumps(config.to_dict())}
    with atomic_file(Path(path), durable=True) as temporary:
        save_file(tensors, temporary, metadata=metadata)
