"""The table of known files, and what a folder has of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import whisper

from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.files import fingerprint
from latentsync.checkpoint.inventory import State, look_up, size_text, table
from latentsync.checkpoint.registry import (
    KNOWN_FILES,
    PURPOSES,
    RELEASES,
    WHISPER_SHA256,
    WebFile,
    files_for,
    of_release,
)
from tests.checkpoint.material import LFS_POINTER

README = Path(__file__).parents[2] / "checkpoints" / "README.md"


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_has_one_file_for_each_place(release: str) -> None:
    targets = [known.target for known in of_release(release)]
    assert len(targets) == len(set(targets))
    assert {known.target for purpose in PURPOSES for known in files_for(release, (purpose,))} <= set(targets)


def test_inference_needs_the_published_layout() -> None:
    targets = {known.target for known in files_for("1.6", ("inference",))}
    assert {"latentsync_unet.pt", "whisper/tiny.pt", "vae/config.json"} <= targets
    assert "stable_syncnet.pt" not in targets
    assert "stable_syncnet.pt" in {known.target for known in files_for("1.6", ("training",))}
    assert "latentsync_syncnet.pt" in {known.target for known in files_for("1.0", ("training",))}


def test_whisper_addresses_are_openais() -> None:
    for name, sha256 in WHISPER_SHA256.items():
        known = next(known for known in of_release("1.6") if known.target == f"whisper/{name}")
        assert WebFile(whisper._MODELS[name.removesuffix(".pt")]) in known.sources
        assert sha256 in whisper._MODELS[name.removesuffix(".pt")]


def test_the_readme_names_every_file_with_what_is_known_of_it() -> None:
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for known in KNOWN_FILES:
        stated = [known.licence, known.sha256 or "", *(("yes",) if known.commercial else ())]
        if known.release:
            stated.append(f"release {known.release}")
        assert any(row.startswith(f"| `{known.target}`") and all(each in row for each in stated) for row in rows), known
    assert len(rows) == len(KNOWN_FILES)


def test_states(tmp_path: Path) -> None:
    unet, other = (next(k for k in of_release(r) if k.target == "latentsync_unet.pt") for r in ("1.6", "1.5"))
    path = tmp_path / unet.target
    assert look_up(unet, tmp_path).state is State.MISSING
    path.write_bytes(LFS_POINTER)
    assert look_up(unet, tmp_path).state is State.CORRUPT
    torch.save({"a": torch.zeros(3)}, path)
    bare = look_up(unet, tmp_path, verify=True)
    assert (bare.state, bare.note) == (State.PRESENT, "release not stated, no checksum to compare with")
    write_sidecar(path, WeightsCard("unet", "1.6", 512, sha256="ab" * 32, fingerprint=fingerprint(path)))
    assert look_up(unet, tmp_path).state is State.PRESENT
    assert look_up(unet, tmp_path, verify=True).state is State.CORRUPT
    assert look_up(other, tmp_path).state is State.OTHER
    text = table([look_up(known, tmp_path) for known in of_release("1.5")])
    assert "latentsync_unet.pt: is of release 1.6" in text


@pytest.mark.parametrize(
    ("size", "text"), [(None, "?"), (999, "999 B"), (5_068_399_376, "5.1 GB"), (72_000, "72.0 kB")]
)
def test_sizes(size: int | None, text: str) -> None:
    assert size_text(size) == text
