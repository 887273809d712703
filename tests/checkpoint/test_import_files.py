"""Hand-copied files find their place, and are only ever copied."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.checkpoint import registry
from latentsync.checkpoint.card import read_card
from latentsync.checkpoint.files import sha256_file
from latentsync.checkpoint.import_files import import_files
from latentsync.errors import WeightsCorruptError, WeightsMismatchError, WeightsMissingError
from latentsync.face.backends import choose_detector
from tests.checkpoint.material import LFS_POINTER, SMALL, as_release_1_0, save, small_unet
from tests.golden import shared_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    path = tmp_path / "my downloads"
    path.mkdir()
    return path


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["latentsync_unet.pt", "latentsync_unet (1).pt"])
def test_a_unet_by_name_or_by_content(downloads: Path, folder: Path, name: str) -> None:
    source = save(downloads / name, small_unet().state_dict(), global_step=3)
    before = sha256_file(source)
    assert import_files(source, folder, "1.5") == [folder / "latentsync_unet.pt"]
    assert sha256_file(source) == sha256_file(folder / "latentsync_unet.pt") == before
    card = read_card(folder / "latentsync_unet.pt")
    assert (card.release, card.resolution, card.global_step, card.source) == ("1.5", 256, 3, "hand-copied")
    assert names(folder) == {"latentsync_unet.pt", "latentsync_unet.pt.json"}


def test_the_release_is_asked_for_if_nobody_knows_it(downloads: Path, folder: Path) -> None:
    said = []
    import_files(save(downloads / "latentsync_unet.pt", small_unet().state_dict()), folder, None, said.append)
    assert "name it with --variant" in said[0]
    assert read_card(folder / "latentsync_unet.pt").resolution is None
    import_files(folder / "latentsync_unet.pt", folder, "1.6", said.append)  # in its place: only the card is new
    assert read_card(folder / "latentsync_unet.pt").resolution == 512


def test_release_1_0_shows_in_its_names(downloads: Path, folder: Path) -> None:
    state = small_unet(replace(SMALL, use_motion_module=False)).state_dict()
    import_files(save(downloads / "latentsync_unet.pt", as_release_1_0(state)), folder, None)
    assert read_card(folder / "latentsync_unet.pt").release == "1.0"


def test_a_name_that_only_one_release_has_says_which(downloads: Path, folder: Path) -> None:
    source = save(downloads / "latentsync_syncnet.pt", {"visual_encoder.a": torch.zeros(3)})
    assert import_files(source, folder, None) == [folder / "latentsync_syncnet.pt"]
    assert read_card(folder / "latentsync_syncnet.pt").release == "1.0"


def test_a_name_that_lies(downloads: Path, folder: Path) -> None:
    state = small_unet(replace(SMALL, use_motion_module=False)).state_dict()
    with pytest.raises(WeightsMismatchError, match="release 1.0, not of 1.6"):
        import_files(save(downloads / "latentsync_unet.pt", as_release_1_0(state)), folder, "1.6")
    with pytest.raises(WeightsMismatchError, match="is no U-Net"):
        import_files(save(downloads / "latentsync_unet.pt", {"a": torch.zeros(3)}), folder, "1.6")
    assert not folder.exists()


def test_the_card_of_the_source_is_believed(downloads: Path, folder: Path, tmp_path: Path) -> None:
    source = save(downloads / "latentsync_unet.pt", small_unet().state_dict())
    import_files(source, folder, "1.5")
    import_files(folder, tmp_path / "second", None)
    assert read_card(tmp_path / "second" / "latentsync_unet.pt").release == "1.5"


def test_a_folder(downloads: Path, folder: Path) -> None:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(block_out_channels=(32, 32), **blocks).save_pretrained(downloads / "sd-vae-ft-mse")
    save(downloads / "latentsync_unet.pt", small_unet().state_dict())
    save(downloads / "holiday.pt", {"a": torch.zeros(3)})
    (downloads / "other").mkdir()
    (downloads / "other" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    import_files(downloads, folder, "1.6")
    vae = {"vae/config.json", "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors.json"}
    assert names(folder) == vae | {"latentsync_unet.pt", "latentsync_unet.pt.json"}


def test_a_renamed_whisper_file_is_told_by_its_checksum(
    downloads: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(downloads / "download.bin", {"a": torch.zeros(3)})
    digest = sha256_file(source)
    changed = [
        replace(each, sha256=digest) if each.target == "whisper/tiny.pt" else each for each in registry.KNOWN_FILES
    ]
    monkeypatch.setattr(registry, "KNOWN_FILES", tuple(changed))
    assert import_files(source, folder, None) == [folder / "whisper" / "tiny.pt"]


def test_a_known_name_with_another_checksum(downloads: Path, folder: Path) -> None:
    with pytest.raises(WeightsCorruptError, match="instead of 65147644"):
        import_files(save(downloads / "tiny.pt", {"a": torch.zeros(3)}), folder, None)
    assert not folder.exists()


@pytest.mark.shared
def test_a_folder_with_the_files_of_a_detector(folder: Path) -> None:
    """Whatever a file is called there, the detector that reads it finds it under its own name."""
    import_files(shared_file("weights/face_landmarker.task").parent, folder, None)
    assert choose_detector("yunet", folder / "auxiliary", "cpu") == "yunet"
    assert {"auxiliary/face_landmarker.task", "auxiliary/yunet_n_dynamic.onnx"} <= names(folder)


@pytest.mark.parametrize("target", sorted({known.target for known in registry.KNOWN_FILES}))
def test_every_known_file_is_found_in_a_folder(downloads: Path, folder: Path, target: str) -> None:
    """By its name alone: here each is a broken one, and named as such."""
    (downloads / Path(target).name).write_bytes(LFS_POINTER)
    if (codec := target.partition("/")[0]) in ("vae", "taesd"):  # names of everybody: only both are an autoencoder
        name = {"vae": "AutoencoderKL", "taesd": "AutoencoderTiny"}[codec]
        (downloads / "config.json").write_text(json.dumps({"_class_name": name}))
        (downloads / "diffusion_pytorch_model.safetensors").write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match="Git-LFS pointer"):
        import_files(downloads, folder, None)


def test_broken_unknown_ambiguous_and_missing(downloads: Path, folder: Path) -> None:
    with pytest.raises(WeightsMissingError):
        import_files(downloads / "nothing", folder, None)
    with pytest.raises(WeightsMismatchError, match="no weight file that is known"):
        import_files(downloads, folder, None)
    with pytest.raises(WeightsMismatchError, match="no weight file that is known"):
        import_files(save(downloads / "holiday.pt", {"a": torch.zeros(3)}), folder, None)
    (downloads / "latentsync_unet.pt").write_bytes(LFS_POINTER)
    with pytest.raises(WeightsCorruptError, match="Git-LFS"):
        import_files(downloads, folder, None)
    (downloads / "copy").mkdir()
    shutil.copyfile(downloads / "latentsync_unet.pt", downloads / "copy" / "latentsync_unet.pt")
    with pytest.raises(WeightsMismatchError, match="Both .* are latentsync_unet.pt"):
        import_files(downloads, folder, None)
    assert not folder.exists()


def test_what_is_there_is_not_written_over(downloads: Path, folder: Path) -> None:
    folder.mkdir()
    mine = save(folder / "latentsync_unet.pt", small_unet(replace(SMALL, max_frames=5)).state_dict())
    before = sha256_file(mine)
    source = save(downloads / "latentsync_unet.pt", small_unet().state_dict())
    with pytest.raises(WeightsMismatchError, match="is there already and is another file"):
        import_files(source, folder, "1.5")
    assert sha256_file(mine) == before


def test_a_broken_file_makes_room(downloads: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "latentsync_unet.pt").write_bytes(LFS_POINTER)
    source = save(downloads / "latentsync_unet.pt", small_unet().state_dict())
    import_files(source, folder, "1.5")
    assert sha256_file(folder / "latentsync_unet.pt") == sha256_file(source)
    assert (folder / "latentsync_unet.pt.broken").read_bytes() == LFS_POINTER
