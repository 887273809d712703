"""Tables of tensors: safe reading, strict comparison, self-describing writing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import load_unet_weights, read_card, save_weights
from latentsync.checkpoint.card import WeightsCard
from latentsync.checkpoint.tensors import read_table
from latentsync.errors import WeightsCorruptError, WeightsMismatchError
from tests.checkpoint.material import SMALL, small_unet

CARD = WeightsCard(kind="unet", resolution=256, num_frames=16, mask="mask", audio_encoder="whisper-tiny", global_step=7)


class Malicious:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_file_is_never_run(tmp_path: Path, new_format: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    torch.save({"state_dict": Malicious(trace)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(WeightsCorruptError, match="names Python code"):
        read_table(path)
    assert not trace.exists()


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02, 0.005])
def test_an_old_format_file_cut_short(tmp_path: Path, kept: float) -> None:
    """It has no directory to miss, so only reading it shows."""
    torch.save({"a": torch.arange(4000.0)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsCorruptError, match="cut.pth is damaged or cut short"):
        read_table(tmp_path / "cut.pth")


def test_damage_in_the_middle_of_an_archive(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(4000.0), "b": torch.zeros(3)}, tmp_path / "whole.pt")
    content = bytearray((tmp_path / "whole.pt").read_bytes())
    start = content.index(b"ctorch._utils")
    content[start : start + 8] = bytes(8)
    (tmp_path / "hit.pt").write_bytes(content)
    with pytest.raises(WeightsCorruptError, match="hit.pt is damaged or cut short"):
        read_table(tmp_path / "hit.pt")


def test_a_file_without_a_table(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(WeightsCorruptError, match="holds a Tensor"):
        read_table(tmp_path / "tensor.pt")


def test_round_trip_keeps_tensors_configuration_and_card(tmp_path: Path) -> None:
    unet = small_unet()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    save_weights(tmp_path / "own.safetensors", unet.state_dict(), SMALL, CARD)
    config, state = load_unet_weights(tmp_path / "own.safetensors")
    assert config == SMALL
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    assert read_card(tmp_path / "own.safetensors") == CARD
    assert [each.name for each in tmp_path.iterdir()] == ["own.safetensors"]


def test_what_was_read_can_be_written_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, small_unet().state_dict(), SMALL, CARD)
    config, state = load_unet_weights(path)
    expected = {name: tensor.clone() for name, tensor in state.items()}
    save_weights(path, state, config, CARD)
    again = load_unet_weights(path)[1]
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_configuration_that_does_not_fit_the_tensors(tmp_path: Path) -> None:
    other = type(SMALL)(block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16)
    save_weights(tmp_path / "own.safetensors", small_unet().state_dict(), other, CARD)
    with pytest.raises(WeightsMismatchError, match="does not fit the U-Net"):
        load_unet_weights(tmp_path / "own.safetensors")


@pytest.mark.parametrize("name", ["table.pt", "table.safetensors"])
def test_reading_maps_the_file_instead_of_copying_it(tmp_path: Path, name: str) -> None:
    """5 GB of weights must not be held twice: the anonymous memory of the process does not grow by the file."""
    size = 50_000_000  # floats: 200 MB
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save({"a": torch.ones(size)}, path)
    else:
        from safetensors.torch import save_file

        save_file({"a": torch.ones(size)}, path)
    before = _anonymous_memory()
    table = read_table(path)
    assert float(table["a"].sum()) == size
    assert _anonymous_memory() - before < 50e6


def _anonymous_memory() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux's account of memory")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
