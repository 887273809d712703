"""Adapters: small files that change the layers of one U-Net for one person or one language (LoRA, arXiv 2106.09685).

For each changed layer with weight W the file has two factors, and the layer computes with W + strength * alpha / rank *
B A. A dub adds that product to the weights once, while they are loaded: then nothing is slower, no further package is
needed, and whatever compiles or converts the network finds a plain U-Net. The names are those that the package peft
gives the factors. Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.checkpoint.card import WeightsCard, read_card, read_config
from latentsync.checkpoint.files import FileKind, corrupt, fingerprint, inspect_file
from latentsync.errors import AdapterMismatchError, ConfigError, WeightsMismatchError

if TYPE_CHECKING:
    from torch import Tensor

FACTOR_A, FACTOR_B = ".lora_A.weight", ".lora_B.weight"  # (rank, in, ...) and (out, rank, ...)
STRONGEST = 2.0  # an adapter that is laid on more strongly draws no face any more
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class AdapterChoice:
    """An adapter file and how strongly it acts: 0 leaves the network as it is, 1 is what was trained.

    Raises ``ConfigError`` for a strength below 0 or above ``STRONGEST``.
    """

    path: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= STRONGEST:
            raise ConfigError(
                f"The strength {self.strength:g} of the adapter {self.path} makes no sense.",
                remedy=f"Give a number from 0 (no adapter) to {STRONGEST:g}; 1 is what was trained.",
            )

    @classmethod
    def parse(cls, text: str) -> AdapterChoice:
        """``person.safetensors`` or ``person.safetensors:0.7``. Raises ``ConfigError``."""
        name, colon, strength = text.rpartition(":")
        if not colon or text.endswith(_SUFFIX):
            return cls(Path(text))
        try:
            return cls(Path(name), float(strength))
        except ValueError as error:
            raise ConfigError(
                f"'{strength}' is no strength of an adapter.", remedy="Write --adapter person.safetensors:0.7."
            ) from error

    def absolute(self) -> AdapterChoice:
        """The same from any folder."""
        return replace(self, path=self.path.absolute())

    def __str__(self) -> str:
        return f"{self.path}:{self.strength!r}"


@dataclass(frozen=True, slots=True)
class LowRank:
    """The shape of all changes of an adapter: their rank, and ``alpha / rank``, a factor on all of them."""

    rank: int
    alpha: int

    def to_dict(self) -> dict[str, Any]:
        """As the file states it."""
        return asdict(self)

    @property
    def scale(self) -> float:
        """What B A is multiplied by at strength 1."""
        return self.alpha / self.rank


@dataclass(frozen=True, slots=True)
class Adapter:
    """A file as read. ``factors``: layer -> its two factors, on the CPU."""

    path: Path
    shape: LowRank
    factors: Mapping[str, tuple[Tensor, Tensor]]

    def merge(self, weights: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
        """The state dict of the U-Net with the adapter in it; the changed tensors are new ones, in float32.

        With strength 0 they are the same tensors. Raises ``WeightsMismatchError`` for a layer that the network does not
        have or that has another size.
        """
        merged = dict(weights)
        for layer, (factor_a, factor_b) in self.factors.items():
            weight = merged.get(f"{layer}.weight")
            if weight is None:
                raise _mismatch(self.path, f"changes the layer {layer}, which the U-Net does not have")
            if (factor_b.shape[0], *factor_a.shape[1:]) != tuple(weight.shape):
                changed = (factor_b.shape[0], *factor_a.shape[1:])
                raise _mismatch(self.path, f"changes {layer} as {changed}, which is {tuple(weight.shape)} in the U-Net")
            if strength:
                product = factor_b.float().flatten(1) @ factor_a.float().flatten(1)
                merged[f"{layer}.weight"] = weight.float() + strength * self.shape.scale * product.view(weight.shape)
        return merged


def read_adapter(path: Path) -> Adapter:
    """All factors of a file. Raises ``WeightsMissingError``, ``WeightsCorruptError`` and ``WeightsMismatchError``."""
    from latentsync.checkpoint.tensors import read_table  # here: it imports torch

    inspect_file(path, accept=frozenset({FileKind.SAFETENSORS}))
    read_adapter_card(path)
    shape = _shape_of(path)
    table: dict[str, Tensor] = read_table(path)
    layers = sorted({name.removesuffix(FACTOR_A).removesuffix(FACTOR_B) for name in table})
    factors = {}
    for layer in layers:
        if f"{layer}{FACTOR_A}" not in table or f"{layer}{FACTOR_B}" not in table:
            raise _mismatch(path, f"is no adapter: it has only a part of the change of {layer}")
        factors[layer] = table[f"{layer}{FACTOR_A}"], table[f"{layer}{FACTOR_B}"]
        a, b = factors[layer]
        if a.ndim < 2 or b.ndim < 2 or a.shape[0] != shape.rank or b.flatten(1).shape[1] != shape.rank:
            raise _mismatch(path, f"states the rank {shape.rank}, which the change of {layer} has not")
    if not factors:
        raise corrupt(path, "changes no layer")
    return Adapter(path, shape, factors)


def read_adapter_card(path: Path) -> WeightsCard:
    """What an adapter says of itself. Raises ``WeightsMismatchError`` for another file, and as ``read_card``."""
    card = read_card(path)
    if card is None or card.kind != "adapter" or card.base is None:
        raise _mismatch(path, "is no adapter: it has no card that names its U-Net")
    return card


def require_base(path: Path, unet: Path) -> WeightsCard:
    """The adapter's card. Raises ``AdapterMismatchError`` if it was trained on another U-Net than the file ``unet``."""
    card = read_adapter_card(path)
    if card.base != fingerprint(unet):
        raise AdapterMismatchError(
            f"The adapter {path} was trained on another U-Net ({card.base_name or 'unnamed'}) than {unet}.",
            remedy="Name the weights that it was trained on, or train it again on these with `latentsync adapt`.",
        )
    return card


def save_adapter(path: Path, factors: Mapping[str, Tensor], shape: LowRank, card: WeightsCard) -> None:
    """Write an adapter: ``factors`` by the names that ``read_adapter`` expects; whole or not at all."""
    from latentsync.checkpoint.tensors import save_weights  # here: it imports torch

    save_weights(path, factors, shape, card)


def _shape_of(path: Path) -> LowRank:
    stated = read_config(path) or {}
    try:
        shape = LowRank(**stated)
        if not all(isinstance(number, int) and number > 0 for number in (shape.rank, shape.alpha)):
            raise ValueError(f"rank {shape.rank}, alpha {shape.alpha}")
    except (TypeError, ValueError) as error:
        raise corrupt(path, f"does not state its rank ({error})") from error
    return shape


def _mismatch(path: Path, cause: str) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"The weight file {path} {cause}.", remedy="Name a file that `latentsync adapt` wrote for this U-Net."
    )
