"""A weight file that will not do is named for what it is, before anything loads it."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentsync.checkpoint.files import FileKind, count_parameters, fingerprint, inspect_file, sha256_file
from latentsync.errors import WeightsCorruptError, WeightsMissingError
from tests.checkpoint.material import ERROR_MESSAGE, LFS_POINTER, WEB_PAGE

TENSORS = {"a": torch.arange(4000.0), "b": torch.zeros(3, 5)}


def test_good_files_are_told_apart(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "new.pt")
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.zip")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x04test")
    assert inspect_file(tmp_path / "new.pt") is FileKind.TORCH
    assert inspect_file(tmp_path / "old.pth") is FileKind.TORCH_LEGACY
    assert inspect_file(tmp_path / "a.safetensors") is FileKind.SAFETENSORS
    assert inspect_file(tmp_path / "script.zip") is FileKind.TORCHSCRIPT
    assert inspect_file(tmp_path / "net.onnx") is FileKind.ONNX


def test_the_kind_does_not_depend_on_the_name(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "latentsync_unet.pt")
    assert inspect_file(tmp_path / "latentsync_unet.pt") is FileKind.SAFETENSORS


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (LFS_POINTER, "Git-LFS pointer for a file of 5,068,000,000 bytes"),
        (WEB_PAGE, "web page.*403 Forbidden"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><Error/>", "web page"),
        (ERROR_MESSAGE, "JSON message.*Invalid credentials"),
        (pickle.dumps({"a": 1}), "Python pickle that PyTorch did not write"),
        (bytes(5000), "begins with zeros"),
        (b"\x7fELF and so on", "no known weight format"),
        ((1 << 20).to_bytes(8, "little") + b'{"a":', "cut short: its header alone needs 1,048,584 bytes"),
    ],
)
def test_what_is_no_weight_file_is_named(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "weights 权重.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsCorruptError, match=cause) as error:
        inspect_file(path)
    assert str(path) in error.value.message
    assert error.value.remedy
    assert path.read_bytes() == content


@pytest.mark.parametrize("kept", [0.99, 0.5])
@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_file_cut_short_is_recognised(tmp_path: Path, name: str, kept: float) -> None:
    whole, path = tmp_path / "whole", tmp_path / name
    if name.endswith(".pt"):
        torch.save(TENSORS, whole)
    else:
        save_file(TENSORS, whole)
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsCorruptError, match="cut short|cut-short"):
        inspect_file(path)


def test_an_ordinary_archive_is_no_weight_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photos/one.txt", "x")
    with pytest.raises(WeightsCorruptError, match="of no known network"):
        inspect_file(tmp_path / "photos.zip")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="does not exist"):
        inspect_file(tmp_path / "nothing.pt")
    with pytest.raises(WeightsMissingError, match="is a folder") as caught:
        inspect_file(tmp_path)
    assert caught.value.remedy == "Name the file inside it."


def test_a_good_file_of_a_kind_that_will_not_do(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(WeightsCorruptError, match="is a torchscript file where a torch file is needed"):
        inspect_file(tmp_path / "script.pt", accept=frozenset({FileKind.TORCH}))


def test_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # more than one block
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_fingerprint_tells_files_of_equal_size_apart(tmp_path: Path) -> None:
    """One value far from both ends shows, because the archive's directory has every tensor's checksum."""
    one, two = tmp_path / "one" / "a.pt", tmp_path / "two" / "a.pt"  # the archive repeats the file's name inside
    tensors = {name: torch.zeros(1_000_000) for name in "abc"}
    for path in (one, two):
        path.parent.mkdir()
        torch.save(tensors, path)
        tensors["b"][500_000] = 1
    assert one.stat().st_size == two.stat().st_size
    assert fingerprint(one) != fingerprint(two)


def test_parameters_are_counted_without_loading(tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in TENSORS.items()}, tmp_path / "a.safetensors")
    assert count_parameters(tmp_path / "a.safetensors") == 4015
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "a.pt")
    assert count_parameters(tmp_path / "a.pt") == pytest.approx(1_000_000, rel=0.01)


def test_an_archive_with_a_damaged_directory_is_recognised(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the central directory: flags at 8, the name at 46
    content[entry + 8 : entry + 10] = b"\x00\x08"  # UTF-8
    content[entry + 46] = 0xB7
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsCorruptError, match="damaged"):
        inspect_file(path)
