"""From files to a file with tiny networks: results, and what is said when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from latentsync import errors
from latentsync.cli.dub import main
from latentsync.face.align import FaceAligner
from latentsync.face.detections_file import read_detections, write_detections
from latentsync.inference.job.networks import Networks
from latentsync.media.color import plane_view
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame
from tests.forked import end_of, start_module
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import read_pcm, tone, write_wav
from tests.memory import peak_megabytes

ROOT = Path(__file__).parents[3]
FRAMES = 30
FAST = ["--inference_steps", "2", "--guidance_scale", "1.0", "--quiet", "--no-output-check"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A drawn video with its faces in a file, and stereo audio at 44.1 kHz."""
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info, EncodingOptions(crf=10))
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    write_wav(folder / "audio.wav", tone(1.4, 44100, 2), 44100)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))


def arguments(media, checkpoints, output, *more, video=None, audio=None, faces=None):
    return [
        *("--video_path", str(video or media / "video.mp4"), "--audio_path", str(audio or media / "audio.wav")),
        *("--video_out_path", str(output), "--checkpoint_dir", str(checkpoints)),
        *("--detector", str(faces or media / "faces.npz"), *FAST, *more),
    ]


def digest(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_dub(media, checkpoints, tmp_path):
    before = digest(media), digest(checkpoints)
    (tmp_path / "temp").mkdir()
    (tmp_path / "temp" / "mine").write_text("kept")
    output, report = tmp_path / "out.mkv", tmp_path / "report.json"
    code = main(arguments(media, checkpoints, output, "--report", str(report), "--codec", "ffv1"))
    assert code == 0
    assert (digest(media), digest(checkpoints)) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mkv", "report.json", "temp"]

    result, source = VideoFile(output), VideoFile(media / "video.mp4")
    assert result.info.n_frames == 35 and result.info.fps == 25  # 1.4 s of audio, longer than the 30 frames
    samples, rate = read_pcm(output)
    expected, _ = read_pcm(media / "audio.wav")
    assert rate == 44100 and np.array_equal(samples, expected)
    (first,), (original,) = list(result.frames(0, 1)), list(source.frames(0, 1))
    changed = np.abs(first.pixels.astype(int) - original.pixels).max(-1) > 24
    assert changed[100:180, 60:140].mean() > 0.1 and changed[:60].mean() == 0

    account = json.loads(report.read_text())
    assert account["frames"] == 35 and account["frames_passed_through"] == 0
    assert account["weights"]["unet"]["release"] == "1.5"
    for facts in account["weights"].values():
        assert facts["sha256"] == hashlib.sha256(Path(facts["path"]).read_bytes()).hexdigest()
    assert {"decode", "align", "generate", "paste", "audio", "load"} <= account["seconds_by_stage"].keys()


def test_a_ten_bit_video_stays_one_and_keeps_every_sample_but_those_of_the_mouth(media, checkpoints, tmp_path):
    source = VideoFile(media / "video.mp4")
    video = tmp_path / "in.mkv"
    deep = replace(source.info, pix_fmt="yuv420p10le")
    shaded = (ArrayFrame(f.index, f.time, f.pixels) for f in source.frames())
    write_video(video, shaded, deep, EncodingOptions("ffv1"))
    output = tmp_path / "out.mkv"
    assert main(arguments(media, checkpoints, output, "--codec", "ffv1", video=video)) == 0
    assert VideoFile(output).info.pix_fmt == "yuv420p10le"
    with av.open(str(video)) as before, av.open(str(output)) as after:
        for old, new in zip(before.decode(video=0), after.decode(video=0), strict=False):
            for number, scale in enumerate((1, 2, 2)):
                a, b = (plane_view(frame.planes[number], bits=10) for frame in (old, new))
                same = a == b
                assert same[: 60 // scale].all() and same[:, : 20 // scale].all() and same[:, 180 // scale :].all()
                assert not same[100 // scale : 180 // scale, 60 // scale : 140 // scale].all()
    lossy = tmp_path / "out.mp4"
    assert (
        main(arguments(media, checkpoints, lossy, "--codec", "hevc", "--encoder_preset", "veryfast", video=video)) == 0
    )
    assert VideoFile(lossy).info.pix_fmt == "yuv420p10le"
    assert main(arguments(media, checkpoints, lossy, "--pix_fmt", "yuv420p10le", "--overwrite", video=video)) == 0
    assert (VideoFile(lossy).info.codec, VideoFile(lossy).info.pix_fmt) == ("h264", "yuv420p10le")


def test_the_same_bytes_twice(media, checkpoints, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        assert main(arguments(media, checkpoints, tmp_path / name)) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("name", ["a b (1).mp4", "视频.mov", "-x.mp4", "q'uote\".mkv", "n" * 180 + ".mkv"])
def test_any_name(media, checkpoints, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    video, audio = Path("in" + name), Path("s" + name[:100] + ".wav")
    shutil.copy(media / "video.mp4", video)
    shutil.copy(media / "audio.wav", audio)
    line = arguments(media, checkpoints, "x", video=video, audio=audio)
    line[line.index("--video_out_path") : line.index("--video_out_path") + 2] = [f"--video_out_path={name}"]
    assert main(line) == 0
    assert VideoFile(Path(name)).info.n_frames == 35


def test_a_name_that_is_no_text(media, checkpoints, tmp_path, capsys):
    """Names in an older Chinese encoding come so out of archives; the report is JSON all the same."""
    video, output = (Path(os.fsdecode(os.fsencode(tmp_path) + name)) for name in (b"/\xca\xd3.mp4", b"/\xc6\xb5.mp4"))
    shutil.copy(media / "video.mp4", video)
    report = tmp_path / "report.json"
    assert main(arguments(media, checkpoints, output, "--dry-run", video=video)) == 0
    assert main(arguments(media, checkpoints, output, "--report", str(report), video=video)) == 0
    assert VideoFile(output).info.n_frames == 35
    assert json.loads(report.read_text(encoding="utf-8"))["video"] == str(video)


def test_faces_that_cannot_be_kept_cost_a_note(media, checkpoints, tmp_path, monkeypatch):
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    monkeypatch.setattr("latentsync.inference.job.networks.load_detector", lambda *_: KnownFaces(drawn))
    monkeypatch.setenv("LATENTSYNC_CACHE", str(media / "audio.wav"))  # a file where a folder should be
    report = tmp_path / "report.json"
    line = arguments(media, checkpoints, tmp_path / "out.mp4", "--report", str(report), faces="auto")
    assert main(line) == 0
    assert any("could not be kept" in note for note in json.loads(report.read_text())["notes"])


def test_dry_run_writes_nothing(media, checkpoints, tmp_path, capsys):
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4", "--dry-run")) == 0
    assert list(tmp_path.iterdir()) == []
    assert "35 frames" in capsys.readouterr().out


def broken(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


# What is broken, how, the error's exit code and a word of its sentence.
FAILURES = [
    ("video", lambda m, t: t / "nowhere.mp4", errors.VideoError, "nowhere.mp4"),
    ("video", lambda m, t: broken(t, "v.mp4", b""), errors.VideoError, "empty"),
    ("video", lambda m, t: broken(t, "v.mp4", b"<!DOCTYPE html><html>"), errors.VideoError, "web page"),
    ("video", lambda m, t: broken(t, "v.mp4", b"some words " * 99), errors.VideoError, "v.mp4"),
    ("video", lambda m, t: broken(t, "v.mp4", (m / "video.mp4").read_bytes()[:3000]), errors.VideoError, "v.mp4"),
    ("video", lambda m, t: m / "audio.wav", errors.NoVideoStreamError, "audio.wav"),
    ("video", lambda m, t: "https://example.org/v.mp4", errors.VideoError, "address"),
    ("audio", lambda m, t: "https://example.org/a.wav", errors.AudioError, "address"),
    ("audio", lambda m, t: t / "nowhere.wav", errors.AudioError, "nowhere.wav"),
    ("audio", lambda m, t: m / "video.mp4", errors.NoAudioStreamError, "sound"),
    (
        "audio",
        lambda m, t: broken(t, "a.wav", b"version https://git-lfs.github.com/spec/v1\n"),
        errors.AudioError,
        "LFS",
    ),
    ("audio", lambda m, t: broken(t, "a.wav", (m / "audio.wav").read_bytes()[:44]), errors.AudioError, "a.wav"),
    ("faces", lambda m, t: broken(t, "f.npz", b"nothing"), errors.ConfigError, "f.npz"),
]


@pytest.mark.parametrize(("what", "make", "error", "word"), FAILURES)
def test_bad_inputs_are_refused_before_a_network_is_loaded(
    media, checkpoints, tmp_path, capsys, monkeypatch, what, make, error, word
):
    monkeypatch.setattr(Networks, "pipeline", lambda *arguments: pytest.fail("networks were loaded"))
    bad = make(media, tmp_path)
    before = digest(tmp_path)
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4", **{what: bad})) == error.exit_code
    message = capsys.readouterr().err
    assert word in message and "->" in message and "Traceback" not in message
    assert digest(tmp_path) == before


def test_no_face_in_any_frame(media, checkpoints, tmp_path, capsys):
    write_detections(tmp_path / "none.npz", {k: [] for k in range(FRAMES)})
    line = arguments(media, checkpoints, tmp_path / "out.mp4", faces=tmp_path / "none.npz")
    assert main(line) == errors.NoFaceError.exit_code
    assert "no usable face" in capsys.readouterr().err and not (tmp_path / "out.mp4").exists()


def test_a_choice_that_nobody_fits_is_no_dub(media, checkpoints, tmp_path, capsys):
    """It is found out before a network is loaded, and the reason is told."""
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4", "--face", "index:1")) == 40
    message = capsys.readouterr().err
    assert "not the chosen face" in message and "--face" in message and list(tmp_path.glob("*.mp4")) == []
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4", "--face", "index:0")) == 0


def test_a_face_that_is_too_small_in_every_frame_is_no_dub(checkpoints, tmp_path, capsys):
    drawn = DrawnVideo(8, 200, 200, face=25)
    write_video(tmp_path / "in.mkv", drawn.frames(), drawn.info)
    faces = KnownFaces(drawn)
    write_detections(tmp_path / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(8)})
    write_wav(tmp_path / "audio.wav", tone(0.32), 16_000)
    inputs = {"video": tmp_path / "in.mkv", "audio": tmp_path / "audio.wav", "faces": tmp_path / "faces.npz"}
    assert main(arguments(None, checkpoints, tmp_path / "out.mp4", **inputs)) == errors.NoFaceError.exit_code
    assert "too small" in capsys.readouterr().err and not (tmp_path / "out.mp4").exists()


def test_what_untrained_networks_give_is_refused(media, checkpoints, tmp_path, capsys):
    line = arguments(media, checkpoints, tmp_path / "out.mp4")
    line.remove("--no-output-check")
    assert main(line) == errors.GenerationError.exit_code
    assert "noise in window 0" in capsys.readouterr().err and list(tmp_path.glob("*.mp4")) == []


@pytest.mark.parametrize("name", ["latentsync_unet.pt", "vae/diffusion_pytorch_model.safetensors", "whisper/tiny.pt"])
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda p: p.unlink(), errors.WeightsMissingError),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), errors.WeightsCorruptError),
        (
            lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            errors.WeightsCorruptError,
        ),
        (lambda p: p.write_text("<!DOCTYPE html><title>404</title>"), errors.WeightsCorruptError),
    ],
)
def test_damaged_weights(media, checkpoints, tmp_path, capsys, name, damage, error):
    copy = shutil.copytree(checkpoints, tmp_path / "checkpoints")
    damage(copy / name)
    assert main(arguments(media, copy, tmp_path / "out.mp4")) == error.exit_code
    assert not (tmp_path / "out.mp4").exists() and "Traceback" not in capsys.readouterr().err


def test_foreign_weights(media, checkpoints, tmp_path, capsys):
    copy = shutil.copytree(checkpoints, tmp_path / "checkpoints")
    shutil.copy(copy / "whisper" / "tiny.pt", copy / "latentsync_unet.pt")
    (copy / "latentsync_unet.pt.json").unlink()
    config = ROOT / "configs" / "unet" / "stage2.yaml"
    code = main(arguments(media, copy, tmp_path / "out.mp4", "--unet_config_path", str(config)))
    assert code == errors.WeightsCorruptError.exit_code and "latentsync_unet.pt" in capsys.readouterr().err


def test_a_configuration_of_another_resolution_is_refused(media, checkpoints, tmp_path, capsys):
    config = ROOT / "configs" / "unet" / "stage2_512.yaml"
    code = main(arguments(media, checkpoints, tmp_path / "out.mp4", "--unet_config_path", str(config)))
    assert code == errors.WeightsMismatchError.exit_code
    assert "64" in (message := capsys.readouterr().err) and "512" in message


def test_outputs_that_cannot_be(media, checkpoints, tmp_path, capsys):
    existing = broken(tmp_path, "there.mp4", b"mine")
    cases = [existing, tmp_path / "no folder" / "out.mp4", media / "video.mp4", tmp_path / "out.xyz"]
    for output in cases:
        assert main(arguments(media, checkpoints, output)) in (50, 52), output
    before = digest(media), digest(checkpoints)
    weights = checkpoints / "latentsync_unet.pt"
    for report in (media / "video.mp4", weights, tmp_path / "no folder" / "r.json", tmp_path, tmp_path / "new.mp4"):
        assert main(arguments(media, checkpoints, tmp_path / "new.mp4", "--report", str(report))) == 50, report
    assert (digest(media), digest(checkpoints)) == before and not (tmp_path / "new.mp4").exists()
    assert existing.read_bytes() == b"mine"
    assert main(arguments(media, checkpoints, existing, "--overwrite")) == 0


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        (["--device", "cuda:77"], 62, "cuda:77"),
        (["--device", ""], 62, "Use auto, cpu"),
        (["--precision", "int8"], 62, "int8"),
        (["--batch", "none"], 3, "'none'"),
        (["--batch", "0"], 3, "'0'"),
        (["--batch", "-1"], 3, "'-1'"),
        (["--face", "him"], 3, "'him'"),
        (["--face", "nan,1@0"], 3, "'nan,1@0'"),
        (["--face", "201,20@0"], 3, "outside the frame, which is 200 x 200"),
        (["--face", "100,100@1.5"], 3, "the video of 1.20 s is over"),
        (["--inference_steps", "0"], 3, "0 denoising steps"),
        (["--guidance_scale", "nan"], 3, "nan"),
        (["--seed", "-2"], 3, "-2"),
        (["--seed", str(2**64)], 3, str(2**64)),
        (["--excerpt", "1", "1"], 3, "no stretch of time"),
        (["--detector", "retinaface"], 3, "'retinaface'"),
        (["--detector", "nowhere.npz"], 3, "nowhere.npz"),
        (["--detector", "face-alignment"], 11, "missing for face-alignment"),
        (["--unet_config_path", "nowhere.yaml"], 3, "nowhere.yaml"),
        (["--unet_config_path", str(ROOT / "configs" / "preprocess.yaml")], 3, "'input_dir'"),
        (["--crf", "99"], 52, "99"),
        (["--encoder_preset", "quick"], 52, "'quick'"),
        (["--pix_fmt", "yuv999"], 52, "'yuv999'"),
        (["--mask", "x"], 3, "no mask x"),
        (["--compat", "2"], 2, "--compat"),
        (["--inference_steps", "x"], 2, "--inference_steps"),
        (["--excerpt", "0", "1/0"], 2, "1/0"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense(media, checkpoints, tmp_path, capsys, option, code, words):
    try:
        given = main(arguments(media, checkpoints, tmp_path / "out.mp4", *option))
    except SystemExit as stop:
        given = stop.code
    said = capsys.readouterr().err
    assert given == code and words in said and "Traceback" not in said
    assert code == 2 or "->" in said
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_another_kind_is_no_u_net(media, checkpoints, tmp_path, capsys):
    other = ROOT / "checkpoints" / "builtin" / "syncnet.safetensors"
    code = main(arguments(media, checkpoints, tmp_path / "out.mp4", "--inference_ckpt_path", str(other)))
    assert code == errors.WeightsMismatchError.exit_code
    assert "'syncnet'" in (said := capsys.readouterr().err) and "'unet'" in said


def test_a_folder_that_may_not_be_written_to(media, checkpoints, tmp_path, capsys, monkeypatch):
    """As for a user who is not root, whom folders without permission do not stop."""
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and allowed(path, mode))
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4")) == errors.OutputError.exit_code
    assert "not writable" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_random_seed_is_another_each_time_and_is_told(media, checkpoints, tmp_path):
    seeds = []
    for name in ("a", "b"):
        output, report = tmp_path / f"{name}.mp4", tmp_path / f"{name}.json"
        assert main(arguments(media, checkpoints, output, "--seed", "-1", "--report", str(report))) == 0
        seeds.append(json.loads(report.read_text())["options"]["seed"])
    assert seeds[0] != seeds[1] and min(seeds) >= 0


def test_a_full_disk(media, checkpoints, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4")) == errors.DiskFullError.exit_code


def test_the_network_is_not_needed(media, checkpoints, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert main(arguments(media, checkpoints, tmp_path / "out.mp4")) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_nothing(media, checkpoints, tmp_path, number):
    write_wav(tmp_path / "long.wav", tone(60.0), 16_000)
    output = tmp_path / "out" / "result.mp4"
    output.parent.mkdir()
    line = arguments(media, checkpoints, output, "--inference_steps", "20", audio=tmp_path / "long.wav")
    process = start_module("scripts.inference", line, said=tmp_path / "said")
    try:
        while process.is_alive() and not any(path.stat().st_size for path in output.parent.iterdir()):
            time.sleep(0.02)
        os.kill(process.pid, number)
        code = end_of(process)
    finally:
        process.kill()
    message = (tmp_path / "said").read_text()
    assert code == errors.INTERRUPTED_EXIT_CODE, message
    assert list(output.parent.iterdir()) == [] and "Traceback" not in message


def test_length_and_drift_of_a_variable_rate(media, checkpoints, tmp_path):
    output = tmp_path / "out.mp4"
    assert main(arguments(media, checkpoints, output, "--length", "speed")) == 0
    info = VideoFile(output).info
    assert abs(info.duration - Fraction(14, 10)) <= 1 / info.fps


def test_transparency_is_kept(checkpoints, tmp_path):
    """The alpha plane of a ProRes 4444 clip comes out as it went in."""
    drawn = DrawnVideo(8, 200, 200, face=90)
    alpha = np.add.outer(np.arange(200), np.arange(200)).astype(np.uint8)
    frames = [replace(frame, alpha=alpha) for frame in drawn.frames()]
    info = replace(drawn.info, has_alpha=True, pix_fmt="yuva444p10le")
    video, output = tmp_path / "in.mov", tmp_path / "out.mov"
    write_video(video, iter(frames), info, EncodingOptions(codec="prores"))
    faces = KnownFaces(drawn)
    write_detections(tmp_path / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(8)})
    write_wav(tmp_path / "audio.wav", tone(0.32), 16_000)
    line = arguments(None, checkpoints, output, video=video, audio=tmp_path / "audio.wav", faces=tmp_path / "faces.npz")
    assert main(line) == 0
    before, after = (list(VideoFile(path).frames()) for path in (video, output))
    assert len(after) == 8
    assert all(np.array_equal(a.alpha, b.alpha) for a, b in zip(after, before, strict=True))


def test_two_runs_at_once_in_one_folder(media, checkpoints, tmp_path):
    """Neither sees the other's files, and both give what one alone gives."""
    assert main(arguments(media, checkpoints, tmp_path / "alone.mp4")) == 0
    lines = [arguments(media, checkpoints, tmp_path / f"{k}.mp4") for k in range(2)]
    runs = [start_module("scripts.inference", line) for line in lines]
    assert [end_of(run) for run in runs] == [0, 0]
    assert len({(tmp_path / name).read_bytes() for name in ("alone.mp4", "0.mp4", "1.mp4")}) == 1
    assert len(list(tmp_path.glob("*.mp4"))) == 3


def test_memory_does_not_grow_with_the_length(checkpoints, tmp_path):
    """Three times the audio: the peak of the process stays (benchmarks/pipeline_memory.py has 10 min of 1080p).

    After 4 s as many frames as ever wait between the stages; after 2 s not yet.
    """
    drawn = DrawnVideo(FRAMES, 640, 640, face=250)
    write_video(tmp_path / "video.mp4", drawn.frames(), drawn.info, EncodingOptions(preset="ultrafast"))
    faces = KnownFaces(drawn)
    known = {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)}
    write_detections(tmp_path / "faces.npz", known)
    quick, peaks = ["--inference_steps", "1", "--encoder_preset", "ultrafast"], []
    for seconds in (4.0, 12.0):
        write_wav(tmp_path / "audio.wav", tone(seconds), 16_000)
        line = arguments(tmp_path, checkpoints, tmp_path / f"{seconds}.mp4", *quick)
        peaks.append(peak_megabytes(f"from latentsync.cli.dub import main\nassert main({line!r}) == 0"))
    assert peaks[1] - peaks[0] < 100, f"{peaks} MB; the 200 frames more are 123 MB as planes, 246 MB as RGB"


# Containers, codecs and folders of pictures: whatever FFmpeg reads is accepted.
@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov", ".webm"])
def test_containers(media, checkpoints, tmp_path, suffix):
    video = tmp_path / f"in{suffix}"
    write_video(video, VideoFile(media / "video.mp4").frames(), VideoFile(media / "video.mp4").info)
    assert main(arguments(media, checkpoints, tmp_path / f"out{suffix}", video=video)) == 0
    assert VideoFile(tmp_path / f"out{suffix}").info.n_frames == 35


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "channels"),
    [
        (".mp3", "libmp3lame", 8000, 1),
        (".m4a", "aac", 48000, 2),
        (".flac", "flac", 96000, 2),
        (".ogg", "libopus", 48000, 2),
        (".wav", "pcm_s16le", 48000, 6),
    ],
)
def test_sounds(media, checkpoints, tmp_path, suffix, codec, rate, channels):
    audio = write_wav(tmp_path / f"audio{suffix}", tone(1.0, rate, channels), rate, codec)
    assert main(arguments(media, checkpoints, tmp_path / "out.mkv", audio=audio)) == 0
    assert abs(VideoFile(tmp_path / "out.mkv").info.n_frames - 25) <= 2  # lossy codecs pad the ends


def test_a_picture_and_a_folder_of_pictures(media, checkpoints, tmp_path):
    drawn = DrawnVideo(FRAMES, 200, 200, face=90)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k:03d}.png"), drawn.draw(k)[..., ::-1])
    for k, source in enumerate((folder, folder / "000.png")):
        assert main(arguments(media, checkpoints, tmp_path / f"{k}.mp4", video=source)) == 0
        assert VideoFile(tmp_path / f"{k}.mp4").info.n_frames == 35


# -- what files bring along -------------------------------------------------------------------------------------------


def account_of(arguments_of_run, report):
    assert main([*arguments_of_run, "--report", str(report)]) == 0
    return json.loads(report.read_text())


def first_sound(path, level=0.02):
    """Seconds at which a file's audio begins to be heard."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        begin = float((stream.start_time or 0) * stream.time_base)
    samples, rate = read_pcm(path)
    full = 1.0 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
    return begin + np.flatnonzero(np.abs(samples[:, 0] / full) > level)[0] / rate


@pytest.fixture(scope="module")
def late(media, tmp_path_factory):
    """The video with audio that begins 0.4 s after it, and a second track that begins with it."""
    path = tmp_path_factory.mktemp("late") / "late.mkv"
    write_wav(path.with_suffix(".wav"), tone(0.8, 16000, 1), 16000)
    with av.open(str(media / "video.mp4")) as video, av.open(str(path), "w") as out:
        sounds = [av.open(str(path.with_suffix(".wav"))) for _ in range(2)]
        pairs = [
            (c, c.streams[0], out.add_stream_from_template(c.streams[0]), d)
            for c, d in ((video, 0), (sounds[0], Fraction(2, 5)), (sounds[1], 0))
        ]
        for source, stream, copy, delay in pairs:
            for packet in source.demux(stream):
                if packet.size:
                    packet.pts += round(delay / packet.time_base)
                    packet.dts = packet.dts + round(delay / packet.time_base)
                    packet.stream = copy
                    out.mux(packet)
        for sound in sounds:
            sound.close()
    return path


@pytest.mark.parametrize(
    ("more", "begins", "frames"),
    [
        (["--audio_track", "0"], 0.4, 30),
        (["--audio_track", "1"], 0.0, 20),
        (["--audio_track", "0", "--av_offset", "0.2"], 0.6, 35),
        (["--audio_track", "0", "--av_offset=-0.4"], 0.0, 20),
        (["--audio_track", "1", "--av_offset", "1/5"], 0.2, 25),
    ],
)
def test_audio_keeps_its_place_beside_its_video(media, late, checkpoints, tmp_path, more, begins, frames):
    output = tmp_path / "out.mkv"
    account = account_of(arguments(media, checkpoints, output, *more, video=late, audio=late), tmp_path / "r.json")
    assert account["frames"] == frames
    assert first_sound(output) == pytest.approx(begins, abs=0.02)
    assert any("keeps that place" in note for note in account["notes"]) == (more[1] == "0")


def test_audio_that_is_encoded_is_told_of_before_the_work(media, checkpoints, tmp_path, capsys):
    mp3 = write_wav(tmp_path / "s.mp3", tone(1.0, 44100, 1), 44100, "libmp3lame")
    for more, told in (([], True), (["--copy_audio"], False)):
        assert main(arguments(media, checkpoints, tmp_path / "o.mp4", "--dry-run", *more, audio=mp3)) == 0
        assert ("--copy_audio keeps it" in capsys.readouterr().out) == told


def test_a_release_that_is_reproduced_ignores_the_place_of_the_audio(media, late, checkpoints, tmp_path):
    line = arguments(
        media, checkpoints, tmp_path / "o.mkv", "--audio_track", "0", "--compat", "1.5", video=late, audio=late
    )
    assert account_of(line, tmp_path / "r.json")["frames"] == 20


def test_an_offset_that_makes_no_sense(media, checkpoints, tmp_path, capsys):
    for offset, code, words in (("1e15", 30, "lasts more than 4 hours"), ("-2", 3, "smaller --av_offset")):
        assert main(arguments(media, checkpoints, tmp_path / "o.mp4", f"--av_offset={offset}")) == code
        assert words in capsys.readouterr().err


def test_an_audio_track_that_is_not_there(media, late, checkpoints, tmp_path, capsys):
    assert main(arguments(media, checkpoints, tmp_path / "o.mp4", "--audio_track", "2", audio=late)) == 30
    assert "--audio_track from 0 to 1" in capsys.readouterr().err


def test_the_mouth_follows_what_drives_it_and_the_mix_is_heard(media, checkpoints, tmp_path):
    mix = write_wav(tmp_path / "mix.wav", tone(1.0, 44100, 2, 700.0), 44100)
    speech = write_wav(tmp_path / "speech.wav", tone(1.7, 16000, 1, 150.0), 16000)
    frames = {}
    for name, audio, more in (("driven", mix, ["--drive", str(speech)]), ("spoken", speech, []), ("mixed", mix, [])):
        line = arguments(media, checkpoints, tmp_path / f"{name}.mkv", "--codec", "ffv1", *more, audio=audio)
        assert main(line) == 0
        frames[name] = [frame.pixels for frame in VideoFile(tmp_path / f"{name}.mkv").frames()]
    assert len(frames["driven"]) == 25
    np.testing.assert_array_equal(read_pcm(tmp_path / "driven.mkv")[0], read_pcm(mix)[0])
    apart = [
        np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames["driven"], frames[name], strict=False)])
        for name in ("spoken", "mixed")
    ]
    assert apart[0] < apart[1]


def test_damage_in_mid_video_is_bridged_with_a_note(checkpoints, tmp_path):
    drawn = DrawnVideo(100, 200, 200, face=90)
    video = tmp_path / "video.mp4"
    write_video(video, drawn.frames(), drawn.info, EncodingOptions(crf=10, preset="ultrafast"))
    faces = KnownFaces(drawn)
    write_detections(tmp_path / "f.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(100)})
    sound = write_wav(tmp_path / "s.wav", tone(4.0, 16000, 1), 16000)
    data = bytearray(video.read_bytes())
    start = data.find(b"mdat")
    stretch = slice(start + (len(data) - start) // 2, start + (len(data) - start) * 17 // 20)
    data[stretch] = np.random.default_rng(0).integers(0, 256, stretch.stop - stretch.start, np.uint8).tobytes()
    video.write_bytes(data)
    line = arguments(
        None,
        checkpoints,
        tmp_path / "o.mp4",
        "--inference_steps",
        "1",
        video=video,
        audio=sound,
        faces=tmp_path / "f.npz",
    )
    account = account_of(line, tmp_path / "r.json")
    assert account["frames"] == 100
    assert any("cannot be decoded from" in note for note in account["notes"])


def test_a_rate_for_pictures(media, checkpoints, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(12):
        cv2.imwrite(str(folder / f"f{k + 1}.png"), DrawnVideo(12, 200, 200, face=90).draw(k)[..., ::-1])
    account = account_of(
        arguments(media, checkpoints, tmp_path / "o.mp4", "--fps", "10", video=folder), tmp_path / "r.json"
    )
    assert (account["fps"], account["frames"]) == (10.0, 14)
    assert main(arguments(media, checkpoints, tmp_path / "p.mp4", "--fps", "10")) == 3
    assert "Leave out --fps" in capsys.readouterr().err


def test_the_network_sees_the_face_of_square_pixels(media, checkpoints, tmp_path, monkeypatch):
    seen = {}
    crop = FaceAligner.crop

    def watched(self, frame, matrix):
        face = crop(self, frame, matrix)
        seen[frame.shape[1], frame.index] = face.pixels
        return face

    monkeypatch.setattr(FaceAligner, "crop", watched)
    square = VideoFile(media / "video.mp4")
    narrow = tmp_path / "narrow.mp4"
    info = replace(square.info, width=100, sample_aspect_ratio=Fraction(2))
    small = (
        ArrayFrame(f.index, f.time, cv2.resize(f.pixels, (100, 200), interpolation=cv2.INTER_AREA))
        for f in square.frames()
    )
    write_video(narrow, small, info, EncodingOptions(crf=4, pix_fmt="yuv420p"))
    faces = read_detections(media / "faces.npz")
    box, point = np.float32([0.5, 1, 0.5, 1]), np.float32([0.5, 1])
    squeezed = {
        k: [replace(face, box=face.box * box, landmarks=face.landmarks * point) for face in each]
        for k, each in faces.items()
    }
    write_detections(tmp_path / "narrow.npz", squeezed)
    assert main(arguments(media, checkpoints, tmp_path / "a.mp4")) == 0
    assert main(arguments(media, checkpoints, tmp_path / "b.mp4", video=narrow, faces=tmp_path / "narrow.npz")) == 0
    assert all(np.abs(seen[200, k] - seen[100, k]).mean() < 0.05 for k in range(FRAMES))
    assert VideoFile(tmp_path / "b.mp4").info.sample_aspect_ratio == 2
