"""Signers that cannot sign are refused before a run; what is signed can be checked."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from latentsync.errors import ConfigError, PackageMissingError
from latentsync.provenance.signature import Signer

c2pa = pytest.importorskip("c2pa")
pytest.importorskip("cryptography")

from tests.provenance.certificates import write_certificate, write_key  # noqa: E402  needs the packages above

SAMPLE = Path(__file__).parents[2] / "assets" / "sample_video.mp4"


def test_any_change_of_a_signed_file_shows(tmp_path):
    video = tmp_path / "a.mp4"
    shutil.copy(SAMPLE, video)
    signer = Signer(*write_certificate(tmp_path))
    signer.check(video, SAMPLE)
    signer.sign(video, "result.mp4", "made by a test", {SAMPLE: "parentOf", Path(__file__): "componentOf"})
    with c2pa.Reader(str(video)) as reader:
        store = json.loads(reader.json())
    assert store["validation_state"] == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    assert manifest["title"] == "result.mp4"
    related = {each["title"]: each["relationship"] for each in manifest["ingredients"]}
    assert related == {SAMPLE.name: "parentOf", Path(__file__).name: "componentOf"}
    actions = next(each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions"))
    opened, edited = actions["data"]["actions"]
    assert opened["action"] == "c2pa.opened"
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert edited["description"] == "made by a test"

    content = bytearray(video.read_bytes())
    content[-1000] ^= 1
    video.write_bytes(content)
    with c2pa.Reader(str(video)) as reader:
        assert json.loads(reader.json())["validation_state"] == "Invalid"


def test_a_key_of_another_certificate(tmp_path):
    certificate, _ = write_certificate(tmp_path)
    with pytest.raises(ConfigError, match="do not sign"):
        Signer(certificate, write_key(tmp_path / "other.pem")).check(tmp_path / "a.mp4", SAMPLE)


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_a_key_that_is_none(tmp_path, content):
    certificate, key = write_certificate(tmp_path)
    key.unlink()
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        Signer(certificate, key).check(tmp_path / "a.mp4", SAMPLE)


def test_a_container_that_carries_no_signature(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.mkv"):
        Signer(*write_certificate(tmp_path)).check(tmp_path / "a.mkv", SAMPLE)


def test_a_source_that_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="no single file"):
        Signer(*write_certificate(tmp_path)).check(tmp_path / "a.mp4", tmp_path)


def test_without_the_package_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(PackageMissingError) as error:
        Signer(tmp_path / "cert.pem", tmp_path / "key.pem").check(tmp_path / "a.mp4", SAMPLE)
    assert "c2pa" in error.value.message and "requirements-c2pa.txt" in error.value.remedy
