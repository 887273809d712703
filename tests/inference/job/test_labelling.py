"""A result says of itself that it is AI-modified, in its metadata and, signed, in its content credentials."""

from __future__ import annotations

import json

import av
import pytest

from latentsync.checkpoint.files import fingerprint, sha256_file
from latentsync.cli.dub import main
from latentsync.errors import ConfigError, LicenceError
from latentsync.face.detections_file import write_detections
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

FRAMES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video, its faces, audio and tiny weights."""
    folder = tmp_path_factory.mktemp("labelling")
    write_checkpoints(folder / "checkpoints")
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    faces = KnownFaces(drawn)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info, EncodingOptions(crf=10))
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    write_wav(folder / "audio.wav", tone(FRAMES / 25, 44100, 2), 44100)
    return folder


def dub(folder, output, *more):
    return main(
        [
            *("--video_path", str(folder / "video.mp4"), "--audio_path", str(folder / "audio.wav")),
            *("--video_out_path", str(output), "--checkpoint_dir", str(folder / "checkpoints"), *more),
            *("--detector", str(folder / "faces.npz"), "--inference_steps", "1", "--guidance_scale", "1.0"),
            *("--quiet", "--no-output-check"),
        ]
    )


def comment(path):
    with av.open(str(path)) as container:
        return {name.lower(): value for name, value in container.metadata.items()}.get("comment")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_every_container_takes_the_label(tmp_path, suffix):
    drawn = DrawnVideo(2, 64, 64, face=40)
    write_video(tmp_path / f"a{suffix}", drawn.frames(), drawn.info, tags={"comment": "AI-modified: ä"})
    assert comment(tmp_path / f"a{suffix}") == "AI-modified: ä"


def test_a_result_names_what_made_it(folder, tmp_path):
    report = tmp_path / "report.json"
    assert dub(folder, tmp_path / "a.mp4", "--report", str(report)) == 0
    said = comment(tmp_path / "a.mp4")
    assert said == json.loads(report.read_text())["label"]
    assert said.startswith("AI-modified video") and said.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert "release 1.5" in said and fingerprint(folder / "checkpoints" / "latentsync_unet.pt") in said


def test_what_the_source_says_of_itself_stays(folder, tmp_path):
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    write_video(tmp_path / "video.mp4", drawn.frames(), drawn.info, EncodingOptions(crf=10), tags={"comment": "theirs"})
    for name in ("checkpoints", "audio.wav", "faces.npz"):
        (tmp_path / name).symlink_to(folder / name)
    assert dub(tmp_path, tmp_path / "a.mp4") == 0
    ours, theirs = comment(tmp_path / "a.mp4").split("\n")
    assert ours.startswith("AI-modified video") and theirs == "theirs"


def test_a_signed_result_without_the_label(folder, tmp_path):
    c2pa = pytest.importorskip("c2pa")
    from tests.provenance.certificates import write_certificate  # needs what the line above needs

    certificate, key = write_certificate(tmp_path)
    output = tmp_path / "a.mp4"
    assert dub(folder, output, "--no_label", "--c2pa", str(certificate), str(key)) == 0
    assert comment(output) is None
    assert VideoFile(output).info.n_frames == FRAMES
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "cert.pem", "key.pem"}
    with c2pa.Reader(str(output)) as reader:
        store = json.loads(reader.json())
    assert store["validation_state"] == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    related = {each["title"]: each["relationship"] for each in manifest["ingredients"]}
    assert related == {"video.mp4": "parentOf", "audio.wav": "componentOf"}


def test_a_signer_that_cannot_sign_is_refused_before_the_work(folder, tmp_path, capsys):
    certificate = tmp_path / "cert.pem"
    certificate.write_text("no certificate")
    code = dub(folder, tmp_path / "a.mp4", "--c2pa", str(certificate), str(certificate))
    assert code == ConfigError.exit_code, capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


def test_weights_that_are_not_known_to_allow_commercial_use(folder, tmp_path, capsys):
    assert dub(folder, tmp_path / "a.mp4", "--commercial_only", "--dry-run") == LicenceError.exit_code
    said = capsys.readouterr().err
    assert "latentsync_unet.pt (OpenRAIL++" in said
    assert "whisper" not in said, "MIT"


def test_a_checksum_that_is_known_is_named(folder):
    from latentsync.provenance.label import ai_label

    path = folder / "checkpoints" / "latentsync_unet.pt"
    label = ai_label({"unet": {"path": str(path), "release": None, "sha256": sha256_file(path)}})["comment"]
    assert f"latentsync_unet.pt, SHA-256 {sha256_file(path)}" in label
