"""Licences of weight files, by place and release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.files import fingerprint
from latentsync.cli.licenses import main
from latentsync.errors import LicenceError
from latentsync.places import BUILTIN
from latentsync.provenance.licences import licence_of, require_commercial

BUILTIN_UNET = BUILTIN / "unet.safetensors"


def unet(folder: Path, release: str | None) -> Path:
    path = folder / "latentsync_unet.pt"
    shutil.copy(BUILTIN / "audio_encoder.pt", path)  # any file that torch wrote
    if release is not None:
        write_sidecar(path, WeightsCard(kind="unet", release=release, fingerprint=fingerprint(path)))
    return path


@pytest.mark.parametrize(("release", "name"), [("1.5", "OpenRAIL++"), ("1.6", "see source")])
def test_a_release_has_its_own_licence(tmp_path, release, name):
    assert licence_of(unet(tmp_path, release)).name == name


def test_of_a_file_whose_release_is_not_known_all_are_possible(tmp_path):
    assert licence_of(unet(tmp_path, None)).name == "OpenRAIL++ or see source"


def test_what_somebody_trained_is_under_a_licence_that_is_not_known(tmp_path):
    own = tmp_path / "mine.safetensors"
    shutil.copy(BUILTIN_UNET, own)
    assert (licence_of(own).name, licence_of(own).commercial) == ("not known", None)


def test_files_that_are_not_known_to_allow_it_are_refused_by_name(tmp_path):
    require_commercial([BUILTIN_UNET])
    path = unet(tmp_path, "1.5")
    with pytest.raises(LicenceError) as error:
        require_commercial([BUILTIN_UNET, path])
    assert str(path) in error.value.message
    assert str(BUILTIN_UNET) not in error.value.message


def test_the_list(tmp_path, capsys):
    (tmp_path / "auxiliary").mkdir()
    (tmp_path / "auxiliary" / "yunet_n_dynamic.onnx").write_bytes(b"\x08")
    assert main(["--dir", str(tmp_path), "--commercial_only"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["file", "licence", "commercial", "use"]
    assert any("yunet_n_dynamic.onnx" in row and "Apache-2.0" in row and row.endswith("allowed") for row in rows)
    assert any(str(BUILTIN_UNET) in row for row in rows)
    unet(tmp_path, "1.6")
    assert main(["--dir", str(tmp_path)]) == 0
    assert main(["--dir", str(tmp_path), "--commercial_only"]) == LicenceError.exit_code
