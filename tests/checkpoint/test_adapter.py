"""Adapter files: what is read, what it does to a U-Net, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import AdapterChoice, WeightsCard, load_unet, read_adapter, save_weights
from latentsync.checkpoint.adapter import LowRank, save_adapter
from latentsync.checkpoint.files import fingerprint
from latentsync.errors import (
    AdapterMismatchError,
    ConfigError,
    WeightsCorruptError,
    WeightsMismatchError,
    WeightsMissingError,
)
from tests.checkpoint.material import SMALL, small_unet

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
PROJECTION = "down_blocks.0.attentions.0.proj_in"  # a convolution
SHAPE = LowRank(2, 4)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "unet.safetensors"
    save_weights(path, small_unet().state_dict(), SMALL, WeightsCard("unet", resolution=64))
    return path


def factors() -> dict[str, torch.Tensor]:
    draws, width = torch.Generator().manual_seed(0), SMALL.block_out_channels[0]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws)

    return {
        f"{LAYER}.lora_A.weight": draw(2, width),
        f"{LAYER}.lora_B.weight": draw(width, 2),
        f"{PROJECTION}.lora_A.weight": draw(2, width, 1, 1),
        f"{PROJECTION}.lora_B.weight": draw(width, 2, 1, 1),
    }


def write(path: Path, unet: Path, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    card = WeightsCard("adapter", base=fingerprint(unet), base_name=unet.name, consent="mine", videos="one.mp4")
    save_adapter(path, factors() if tensors is None else tensors, SHAPE, card)
    return path


def test_layers_get_the_product_of_their_factors(unet: Path, tmp_path: Path) -> None:
    path, plain = write(tmp_path / "a.safetensors", unet), load_unet(unet).state_dict()
    found = load_unet(unet, adapter=AdapterChoice(path, 0.5)).state_dict()
    for layer in (LAYER, PROJECTION):
        a, b = (factors()[f"{layer}.lora_{each}.weight"].flatten(1) for each in "AB")
        change = 0.5 * (4.0 / 2) * (b @ a)
        torch.testing.assert_close(found[f"{layer}.weight"].flatten(1), plain[f"{layer}.weight"].flatten(1) + change)
    changed = {name for name in plain if not torch.equal(found[name], plain[name])}
    assert changed == {f"{LAYER}.weight", f"{PROJECTION}.weight"}


def test_strength_0_is_no_adapter(unet: Path, tmp_path: Path) -> None:
    path, plain = write(tmp_path / "a.safetensors", unet), load_unet(unet).state_dict()
    found = load_unet(unet, adapter=AdapterChoice(path, 0.0)).state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_an_adapter_of_another_base_is_refused(unet: Path, tmp_path: Path) -> None:
    path, other = write(tmp_path / "a.safetensors", unet), tmp_path / "other.safetensors"
    save_weights(other, small_unet().state_dict(), SMALL, WeightsCard("unet", resolution=64, global_step=1))
    with pytest.raises(AdapterMismatchError, match="trained on another U-Net"):
        load_unet(other, adapter=AdapterChoice(path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{LAYER}.lora_B.weight"), "only a part of the change"),
        (lambda t: t.update({"x.lora_A.weight": torch.ones(2, 3), "x.lora_B.weight": torch.ones(3, 2)}), "layer x"),
        (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(2, 5)}), "in the U-Net"),
        (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(3, 32)}), "rank 2"),
        (lambda t: t.update({"conv_in.weight": torch.ones(2, 2)}), "only a part of the change of conv_in.weight"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(unet: Path, tmp_path: Path, change, words: str) -> None:
    tensors = factors()
    change(tensors)
    path = write(tmp_path / "a.safetensors", unet, tensors)
    with pytest.raises(WeightsMismatchError, match=words):
        load_unet(unet, adapter=AdapterChoice(path))


def test_other_files_are_refused(unet: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match="is no adapter"):
        read_adapter(unet)
    with pytest.raises(WeightsMissingError):
        read_adapter(tmp_path / "none.safetensors")
    torch.save({"x": torch.ones(1)}, tmp_path / "pickle.pt")
    with pytest.raises(WeightsCorruptError, match="safetensors file is needed"):
        read_adapter(tmp_path / "pickle.pt")


def test_how_an_adapter_is_named() -> None:
    assert AdapterChoice.parse("a.safetensors") == AdapterChoice(Path("a.safetensors"), 1.0)
    assert AdapterChoice.parse("C:/x/a.safetensors:0.5") == AdapterChoice(Path("C:/x/a.safetensors"), 0.5)
    assert AdapterChoice.parse(r"C:\x\a.safetensors") == AdapterChoice(Path(r"C:\x\a.safetensors"))
    choice = AdapterChoice(Path("a.safetensors"), 0.3)
    assert AdapterChoice.parse(str(choice)) == choice
    for wrong in ("a.safetensors:much", "a.safetensors:-1", "a.safetensors:3", "a.safetensors:nan"):
        with pytest.raises(ConfigError, match="strength"):
            AdapterChoice.parse(wrong)
    assert replace(choice, strength=0.0) != choice
