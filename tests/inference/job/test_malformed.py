"""Malformed inputs of every kind: a dub gives a result or one sentence with an exit code, and leaves nothing behind."""

from __future__ import annotations

import logging
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from latentsync import errors
from latentsync.cli.dub import main
from latentsync.face.detections_file import write_detections
from latentsync.media.writer import write_video
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

FRAMES = 20
CODES = {0, 2, *(each.exit_code for each in vars(errors).values() if hasattr(each, "exit_code"))}  # 2: argparse's own
CONFIG = "model:\n  block_out_channels: [32, 32]\n  layers_per_block: 1\n  cross_attention_dim: 32\n"
FILES = [
    *("video.mp4", "video.mkv", "audio.wav", "audio.m4a", "faces.npz", "model.yaml"),
    *("checkpoints/latentsync_unet.pt", "checkpoints/whisper/tiny.pt"),
    *("checkpoints/vae/diffusion_pytorch_model.safetensors", "checkpoints/vae/config.json"),
]
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "2.5", "-0.0", "1e9", "1e-9", "nan", "inf", "-inf", "1/0", "1/3", "0x10", "٣", "1_0", "", " "]
)
WORDS = st.sampled_from(
    ["auto", "largest", "index:1", "index:-1", "1,1", "9,9@0.1", "9,9@1e9", "../x", "-", "ä", "a\nb"]
)
OPTIONS = [
    *("--inference_steps", "--guidance_scale", "--seed", "--batch", "--face", "--length", "--compat", "--preset"),
    *("--crf", "--codec", "--encoder_preset", "--pix_fmt", "--fps", "--av_offset", "--audio_track"),
    *("--max_hours", "--max_megapixels", "--precision", "--device", "--detector"),
]
FLAGS = st.sampled_from(["--overwrite", "--dry-run", "--copy_audio", "--deinterlace", "--no_label", "--resume"])


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(FRAMES, 128, 128, face=60)
    for name in ("video.mp4", "video.mkv"):
        write_video(folder / name, drawn.frames(), drawn.info)
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    samples = (tone(0.5, 16_000, 1) * 0.5).astype(np.int16)
    write_wav(folder / "audio.wav", samples, 16_000)
    write_wav(folder / "audio.m4a", samples, 16_000, "aac")
    (folder / "model.yaml").write_text(CONFIG)
    write_checkpoints(folder / "checkpoints")
    return folder


@st.composite
def damages(draw):
    """A function that damages the bytes of a file."""
    kind = draw(st.sampled_from(["cut", "bits", "zeros", "twice", "insert", "empty", "noise"]))
    place = draw(st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.floats(0.99, 1)))  # headers and indexes as often
    length = draw(st.sampled_from([1, 8, 100, 5000]))
    seed = draw(st.integers(0, 2**32 - 1))

    def damage(content):
        rng, at = np.random.default_rng(seed), int(place * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "empty":
            return b""
        if kind == "noise":
            return rng.bytes(length)
        if kind == "twice":
            return content[:at] + content
        if kind == "insert":
            return content[:at] + rng.bytes(length) + content[at:]
        changed = np.frombuffer(content, np.uint8).copy()
        part = changed[at : at + length]
        part[:] = 0 if kind == "zeros" else part ^ rng.integers(0, 256, len(part), np.uint8)
        return changed.tobytes()

    return damage


@st.composite
def runs(draw):
    """What is damaged (file -> how), and options that make sense or do not."""
    damaged = draw(st.dictionaries(st.sampled_from(FILES), damages(), max_size=2))
    strange = draw(st.lists(st.tuples(st.sampled_from(OPTIONS), NUMBERS | WORDS), max_size=0 if damaged else 3))
    flags = draw(st.lists(FLAGS, max_size=2, unique=True))
    video, audio = draw(st.sampled_from(["video.mp4", "video.mkv"])), draw(st.sampled_from(["audio.wav", "audio.m4a"]))
    named_config = draw(st.booleans()) or "model.yaml" in damaged
    suffix = draw(st.sampled_from([".mp4", ".mkv", ".mov", ".webm", ".avi", ".txt", ""]))
    return damaged, [f"{name}={value}" for name, value in strange], flags, video, audio, named_config, suffix


def attempt(media, folder, run, capfd, caplog) -> str:
    """Make one run; gives how it ended."""
    damaged, strange, flags, video, audio, named_config, suffix = run
    video, audio = (
        next((each for each in damaged if each.startswith(kind)), one)
        for kind, one in (("video", video), ("audio", audio))
    )
    given_files, results = folder / "given", folder / "results"
    shutil.copytree(media, given_files)
    results.mkdir()
    for name, damage in damaged.items():
        (given_files / name).write_bytes(damage((given_files / name).read_bytes()))
    before = {path: path.stat().st_mtime_ns for path in given_files.rglob("*")}
    config = ["--unet_config_path", str(given_files / "model.yaml")] if named_config else []
    arguments = [
        *("--video_path", str(given_files / video), "--audio_path", str(given_files / audio)),
        *("--checkpoint_dir", str(given_files / "checkpoints"), "--detector", str(given_files / "faces.npz")),
        *("--video_out_path", str(results / f"out{suffix}"), "--inference_steps", "1", "--guidance_scale", "1"),
        *("--no-output-check", "--device", "cpu", "--quiet", *config, *flags, *strange),
    ]
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    said = capfd.readouterr().err + caplog.text
    assert code in CODES and "Traceback" not in said, (arguments, code, said)
    assert (code == 0) or "Error: " in said or "error: " in said, (arguments, code, said)
    assert {path: path.stat().st_mtime_ns for path in given_files.rglob("*")} == before, arguments
    left = [path.name for path in results.iterdir()]
    made = [f"out{suffix}"] if code == 0 and "--dry-run" not in flags else []
    assert left == made, (arguments, code, left, said)
    shutil.rmtree(folder)
    return "a result" if code == 0 else f"exit code {code}"


def try_many(media, factory, count, capfd, caplog) -> Counter:
    ends: Counter = Counter()

    @settings(
        max_examples=count,
        derandomize=count < 100,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(runs())
    def one(run):
        ends[attempt(media, factory.mktemp("run"), run, capfd, caplog)] += 1

    one()
    return ends


@pytest.fixture(autouse=True)
def quiet(tmp_path_factory, monkeypatch, caplog):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path_factory.mktemp("cache")))
    caplog.set_level(logging.ERROR)


def test_malformed_inputs_give_a_result_or_a_sentence(media, tmp_path_factory, capfd, caplog):
    ends = try_many(media, tmp_path_factory, 25, capfd, caplog)
    assert ends["a result"] and len(ends) > 3, ends


@pytest.mark.slow
def test_two_hundred_malformed_inputs(media, tmp_path_factory, capfd, caplog):
    ends = try_many(media, tmp_path_factory, 220, capfd, caplog)  # some are drawn twice
    with capfd.disabled():
        print(f"\n{ends.total()} runs: {dict(ends)}", flush=True)
    assert ends.total() >= 200 and ends["a result"] > 10
