"""What a weight file says of itself, and the refusal of a foreign resolution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import WeightsCard, read_card, require_resolution
from latentsync.checkpoint.card import sidecar_path, write_sidecar
from latentsync.checkpoint.files import fingerprint
from latentsync.errors import WeightsCorruptError, WeightsMismatchError, WeightsMissingError


def _file(path: Path, value: float = 0.0) -> Path:
    torch.save({"a": torch.full((10,), value)}, path)
    return path


def test_a_card_beside_a_file(tmp_path: Path) -> None:
    path = _file(tmp_path / "latentsync_unet.pt")
    assert read_card(path) is None
    card = WeightsCard("unet", "1.6", 512, 16, "mask", "whisper-tiny", 9, "ab" * 32, "hub", fingerprint(path))
    write_sidecar(path, card)
    assert sidecar_path(path).name == "latentsync_unet.pt.json"
    assert read_card(path) == card


def test_a_card_does_not_vouch_for_the_file_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    """Releases 1.5 and 1.6 differ in no name, shape or size: only the content tells that one was copied over."""
    path = _file(tmp_path / "latentsync_unet.pt")
    write_sidecar(path, WeightsCard("unet", "1.6", 512, fingerprint=fingerprint(path)))
    _file(path, value=1.0)
    with pytest.raises(WeightsMismatchError, match="is not the file that its card .* describes"):
        read_card(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"kind": "unet", "resolutoin": 256}', '{"release": "1.5"}'])
def test_a_card_that_is_none(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path / "a.pt")
    sidecar_path(path).write_text(text)
    with pytest.raises(WeightsCorruptError, match="a.pt.json is no card"):
        read_card(path)


def test_no_file_no_card(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        read_card(tmp_path / "nothing.pt")


@pytest.mark.parametrize("trained", [256, 512])
def test_resolution(trained: int) -> None:
    card = WeightsCard("unet", resolution=trained)
    assert require_resolution(card, trained) is None
    other = 768 - trained
    with pytest.raises(WeightsMismatchError, match=f"{trained} x {trained}.*{other} x {other}") as error:
        require_resolution(card, other)
    assert f"resolution: {trained}" in error.value.remedy


@pytest.mark.parametrize("card", [None, WeightsCard("unet")])
def test_an_unknown_resolution_gives_a_note(card: WeightsCard | None) -> None:
    assert "512 is taken on trust" in require_resolution(card, 512)
