"""Fetching into a checkpoint folder, from a mirror on this machine."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentsync.checkpoint import load_unet, read_card
from latentsync.checkpoint.card import WeightsCard, write_sidecar
from latentsync.checkpoint.download import download
from latentsync.checkpoint.files import sha256_file
from latentsync.checkpoint.registry import HubFile, KnownFile, WebFile, files_for
from latentsync.errors import DiskFullError, DownloadError, WeightsMismatchError
from tests.checkpoint.material import ERROR_MESSAGE, LFS_POINTER, WEB_PAGE, as_release_1_0, small_unet
from tests.checkpoint.mirror import COMMIT, Mirror, Served


def weights(**state: torch.Tensor) -> bytes:
    """The bytes of a weight file."""
    stream = io.BytesIO()
    torch.save({"state_dict": state or {"a": torch.arange(300_000.0)}}, stream)
    return stream.getvalue()


CONTENT = weights()
HUB_PATH = "/owner/repository/resolve/main/some.pt"
KNOWN = KnownFile("auxiliary/some.pt", "test", "MIT", (HubFile("owner/repository", "some.pt"),), ("data",))
UNET = KnownFile(
    "latentsync_unet.pt", "U-Net", "?", (HubFile("owner/repository", "some.pt"),), release="1.6", card="unet"
)


@pytest.fixture
def said() -> list[str]:
    return []


def fetch_all(folder: Path, said: list[str], *known: KnownFile, revisions: dict[str, str] | None = None) -> None:
    download(known, folder, revisions or {}, said.append)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {".download.lock"}


def test_a_file_from_the_hub(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT)
    fetch_all(tmp_path, said, KNOWN)
    path = tmp_path / KNOWN.target
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == {"auxiliary/some.pt", "auxiliary/some.pt.json"}
    card = read_card(path)
    assert card.sha256 == sha256_file(path)
    assert card.source == f"owner/repository/some.pt@{COMMIT}"
    announced = next(i for i, line in enumerate(said) if "1 files, 1.2 MB in all" in line)
    assert announced < next(i for i, line in enumerate(said) if "is complete" in line)


def test_a_second_run_asks_nobody(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT)
    fetch_all(tmp_path, said, KNOWN)
    mirror.requests.clear()
    fetch_all(tmp_path, said, KNOWN)
    assert mirror.requests == []
    assert "Nothing to fetch" in said[-1]


def test_the_hub_hands_over_to_its_store(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT, redirect=f"{mirror.url}/store")
    mirror.files["/store"] = Served(CONTENT)
    fetch_all(tmp_path, said, KNOWN)
    assert (tmp_path / KNOWN.target).read_bytes() == CONTENT


def test_a_pinned_revision(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH.replace("main", "v2")] = Served(CONTENT)
    fetch_all(tmp_path, said, KNOWN, revisions={"owner/repository": "v2"})
    assert (tmp_path / KNOWN.target).exists()


def test_a_cut_download_is_taken_up_by_the_next_run(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT, failures=[200, 401], cut_after=1_000_000)
    with pytest.raises(DownloadError, match="401"):
        fetch_all(tmp_path, said, KNOWN)
    assert not (tmp_path / KNOWN.target).exists()
    fetch_all(tmp_path, said, KNOWN)
    assert (tmp_path / KNOWN.target).read_bytes() == CONTENT
    assert any("1.0 MB of it have already arrived" in line for line in said)
    assert [headers.get("range") for headers in mirror.gets(HUB_PATH)] == [None, *["bytes=1000000-"] * 2]
    assert names(tmp_path) == {"auxiliary/some.pt", "auxiliary/some.pt.json"}


def test_a_wrong_checksum_is_not_taken(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT, stated_sha256="ab" * 32)
    with pytest.raises(DownloadError, match="gave something else than auxiliary/some.pt.*SHA-256"):
        fetch_all(tmp_path, said, KNOWN)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("sha256", ["ab" * 32, "0123456789"])
def test_a_checksum_that_the_table_knows(mirror: Mirror, tmp_path: Path, said: list[str], sha256: str) -> None:
    known = replace(KNOWN, sources=(WebFile(f"{mirror.url}/some.pt"),), sha256=sha256)
    mirror.files["/some.pt"] = Served(CONTENT)
    with pytest.raises(DownloadError, match=f"instead of {sha256}"):
        fetch_all(tmp_path, said, known)
    fetch_all(tmp_path, said, replace(known, sha256=hashlib.sha256(CONTENT).hexdigest()[:10]))
    assert read_card(tmp_path / known.target).source == f"{mirror.url}/some.pt"


@pytest.mark.parametrize(
    ("content", "cause"),
    [(LFS_POINTER, "Git-LFS"), (WEB_PAGE, "web page"), (ERROR_MESSAGE, "JSON"), (b"", "empty"), (CONTENT[:-99], "cut")],
)
def test_a_mirror_that_gives_something_else(
    mirror: Mirror, tmp_path: Path, said: list[str], content: bytes, cause: str
) -> None:
    mirror.files[HUB_PATH] = Served(content)
    with pytest.raises(DownloadError, match=cause):
        fetch_all(tmp_path, said, KNOWN)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_refusals(mirror: Mirror, tmp_path: Path, said: list[str], status: int) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT, status=status)
    with pytest.raises(DownloadError, match=rf"auxiliary/some.pt cannot be fetched: .*{status}") as error:
        fetch_all(tmp_path, said, KNOWN)
    assert error.value.remedy
    assert names(tmp_path) == set()


def test_offline(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.close()
    with pytest.raises(DownloadError, match="cannot be reached") as error:
        fetch_all(tmp_path, said, KNOWN)
    assert "HF_ENDPOINT" in error.value.remedy


def test_the_second_source_when_the_first_one_is_gone(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files["/elsewhere.pt"] = Served(CONTENT)
    fetch_all(tmp_path, said, replace(KNOWN, sources=(*KNOWN.sources, WebFile(f"{mirror.url}/elsewhere.pt"))))
    assert read_card(tmp_path / KNOWN.target).source == f"{mirror.url}/elsewhere.pt"


def test_a_broken_file_makes_room(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / KNOWN.target
    path.parent.mkdir()
    path.write_bytes(LFS_POINTER)
    mirror.files[HUB_PATH] = Served(CONTENT)
    fetch_all(tmp_path, said, KNOWN)
    assert path.read_bytes() == CONTENT
    assert path.with_name("some.pt.broken").read_bytes() == LFS_POINTER
    assert "Git-LFS pointer" in said[0]


def test_two_downloads_do_not_collide(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT)
    said: list[list[str]] = [[], []]
    runs = [threading.Thread(target=download, args=([KNOWN], tmp_path, {}, each.append)) for each in said]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(mirror.gets(HUB_PATH)) == 1
    assert (tmp_path / KNOWN.target).read_bytes() == CONTENT


def test_a_disk_that_is_too_small(
    mirror: Mirror, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files[HUB_PATH] = Served(CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000_000})())
    with pytest.raises(DiskFullError, match="10.0 MB free"):
        fetch_all(tmp_path, said, KNOWN)
    assert mirror.gets(HUB_PATH) == []


def test_a_file_that_has_to_be_copied_by_hand(tmp_path: Path, said: list[str]) -> None:
    fetch_all(tmp_path, said, replace(KNOWN, sources=()))
    assert "--import" in said[0]
    assert names(tmp_path) == set()


def test_a_published_unet_gets_its_resolution(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(weights(**small_unet().state_dict()))
    fetch_all(tmp_path, said, UNET)
    card = read_card(tmp_path / UNET.target)
    assert (card.kind, card.release, card.resolution, card.num_frames, card.mask) == ("unet", "1.6", 512, 16, "mask")
    with pytest.raises(WeightsMismatchError, match="512 x 512.*256 x 256"):
        load_unet(tmp_path / UNET.target, resolution=256)


def test_another_release_is_not_written_over(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    mirror.files[HUB_PATH] = Served(weights(**small_unet().state_dict()))
    fetch_all(tmp_path, said, UNET)
    before = (tmp_path / UNET.target).read_bytes()
    with pytest.raises(WeightsMismatchError, match="is of release 1.6.*release 1.5 was asked for") as error:
        fetch_all(tmp_path, said, replace(UNET, release="1.5"))
    assert "--dir" in error.value.remedy
    assert (tmp_path / UNET.target).read_bytes() == before


def test_a_file_without_a_card_is_identified(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    content = weights(**small_unet().state_dict())
    (tmp_path / UNET.target).write_bytes(content)
    mirror.files[HUB_PATH] = Served(weights(**{"a": torch.zeros(3)}))
    with pytest.raises(WeightsMismatchError, match="is another file"):
        fetch_all(tmp_path, said, UNET)
    mirror.files[HUB_PATH] = Served(content)
    fetch_all(tmp_path, said, UNET)
    assert read_card(tmp_path / UNET.target).resolution == 512
    assert mirror.gets(HUB_PATH) == []


def test_a_card_without_a_release_is_completed(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    content = weights(**small_unet().state_dict())
    (tmp_path / UNET.target).write_bytes(content)
    write_sidecar(tmp_path / UNET.target, WeightsCard("unet"))
    mirror.files[HUB_PATH] = Served(content)
    fetch_all(tmp_path, said, UNET)
    assert read_card(tmp_path / UNET.target).release == "1.6"


def test_a_file_without_a_card_is_kept_when_nobody_answers(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    (tmp_path / UNET.target).write_bytes(weights(**small_unet().state_dict()))
    mirror.close()
    fetch_all(tmp_path, said, UNET)
    assert "cannot be told now" in said[0]
    assert read_card(tmp_path / UNET.target) is None


def test_a_repository_that_gives_the_unet_of_another_release(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    plain = replace(small_unet().config, use_motion_module=False)
    mirror.files[HUB_PATH] = Served(weights(**as_release_1_0(small_unet(plain).state_dict())))
    with pytest.raises(WeightsMismatchError, match="release 1.0, not of 1.6"):
        fetch_all(tmp_path, said, UNET)


def test_a_configuration_file(mirror: Mirror, tmp_path: Path, said: list[str]) -> None:
    config = next(known for known in files_for("1.6", ("inference",)) if known.target == "vae/config.json")
    address = "/stabilityai/sd-vae-ft-mse/resolve/main/config.json"
    mirror.files[address] = Served(b'{"_class_name": "AutoencoderKL"}')
    fetch_all(tmp_path, said, config)
    assert names(tmp_path) == {"vae/config.json"}
    mirror.files[address] = Served(WEB_PAGE)
    with pytest.raises(DownloadError, match="web page"):
        fetch_all(tmp_path / "other", said, config)
