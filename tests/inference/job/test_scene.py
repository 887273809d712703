"""A scene from its file to the written result: who is changed when, what is heard, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from latentsync.cli._dub_arguments import parse_arguments
from latentsync.cli.dub import command_for, main, make_request
from latentsync.cli.scene import main as scene_main
from latentsync.errors import ConfigError
from latentsync.face.detections_file import write_detections
from latentsync.face.selection import OTHER_FACE
from latentsync.inference.excerpt_context import ExcerptContext
from latentsync.inference.job.preflight import preflight
from latentsync.inference.options import SyncOptions
from latentsync.media.audio import read_audio
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.scene.files import read_scene
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import Crowd, KnownCrowd
from tests.media.synthetic import write_wav

FRAMES, RATE = 40, 25
HEAD = """\
video: video.mkv
people: {anna: index:0, ben: index:1}
segments:
"""
ANNA = """\
- {start: 0.2, end: 0.8, person: anna, audio: anna.wav}
"""
BEN = """\
- start: 0.6
  end: 1.2
  person: ben
  audio: {file: both.wav, channel: 1, start: 0.5}
  options: {guidance_scale: 1.5}
  transition: {fade_in: 0, fade_out: 0}
"""
SCENE = HEAD + ANNA + BEN


def sine(seconds, pitch, rate=16_000):
    """(n, 1) int16."""
    samples = 0.4 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
    return np.rint(samples * 32767).astype(np.int16)[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A lossless video of two people that hums at 200 Hz, Anna's audio at 400 Hz, and Ben's at 800 Hz in a channel."""
    folder = tmp_path_factory.mktemp("scene")
    drawn = Crowd(FRAMES, centres=((64, 60), (190, 60)), sizes=(60.0, 64.0), width=256, height=128)
    faces = KnownCrowd(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    write_wav(folder / "hum.wav", sine(1.6, 200), 16_000)
    write_wav(folder / "anna.wav", sine(0.6, 400), 16_000)
    write_wav(folder / "both.wav", np.hstack([sine(3, 1600), sine(3, 800)]), 16_000)
    hum = AudioPart(folder / "hum.wav")
    write_video(folder / "video.mkv", drawn.frames(), drawn.info, EncodingOptions("ffv1"), audio=hum)
    write_checkpoints(folder / "checkpoints")
    (folder / "scene.yaml").write_text(SCENE, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))


def line(folder, output, *more, scene="scene.yaml"):
    return [
        *("--scene", str(folder / scene), "--video_out_path", str(output), "--codec", "ffv1", "--occlusion", "off"),
        *("--checkpoint_dir", str(folder / "checkpoints"), "--detector", str(folder / "faces.npz")),
        *("--inference_steps", "1", "--guidance_scale", "1", "--quiet", "--no-output-check", *more),
    ]


def pixels(path):
    return np.stack([frame.pixels for frame in VideoFile(path).frames()])


def loudness(path, pitch, start, stop):
    """Amplitude of a pitch in a stretch, in full scale."""
    part = read_audio(path)[int(start * 16_000) : int(stop * 16_000)]
    phase = np.exp(-2j * np.pi * pitch * np.arange(len(part)) / 16_000)
    return float(2 * np.abs((part * phase).mean()))


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("result") / "out.mkv"
    assert main(line(folder, output, "--report", str(output.with_suffix(".json")))) == 0
    return output


def test_everybody_and_every_gap_that_is_not_named_is_untouched(folder, result):
    changed = pixels(result) != pixels(folder / "video.mkv")
    assert len(changed) == FRAMES
    left, right = (changed[:, :, half].any(axis=(1, 2, 3)) for half in (slice(0, 127), slice(127, 256)))
    assert np.flatnonzero(left).tolist() == list(range(5, 20))
    assert np.flatnonzero(right).tolist() == list(range(15, 30))


def test_one_pass_is_the_passes_of_each(folder, result, tmp_path):
    both, source = pixels(result), pixels(folder / "video.mkv")
    halves = slice(0, 127), slice(127, 256)
    for number, segment in enumerate((ANNA, BEN)):
        (folder / "alone.yaml").write_text(HEAD + segment, encoding="utf-8")
        output = tmp_path / f"{number}.mkv"
        assert main(line(folder, output, scene="alone.yaml")) == 0
        alone, own, other = pixels(output), halves[number], halves[1 - number]
        np.testing.assert_array_equal(alone[:, :, own], both[:, :, own])
        np.testing.assert_array_equal(alone[:, :, other], source[:, :, other])


def test_what_is_heard(result):
    for pitch, start, stop in ((200, 0, 0.18), (200, 1.22, 1.58), (400, 0.22, 0.78), (800, 0.62, 1.18)):
        assert loudness(result, pitch, start, stop) == pytest.approx(0.4, abs=0.03)
    for pitch, start, stop in ((200, 0.22, 1.18), (400, 0.82, 1.6), (800, 0, 0.58), (1600, 0, 1.6)):
        assert loudness(result, pitch, start, stop) < 0.02


def test_an_excerpt_has_the_frames_and_the_audio_of_the_whole(folder, result, tmp_path, monkeypatch):
    """Also where its own look finds nobody: then the people are followed from the start of the video."""
    looks, follow = [], ExcerptContext.follow

    def finds_nobody(context, tracks, whole=False):
        looks.append(whole)
        return follow(context, tracks, whole) if whole else [Counter({OTHER_FACE: 12})] * 2

    monkeypatch.setattr(ExcerptContext, "follow", finds_nobody)
    output = tmp_path / "out.mkv"
    assert main(line(folder, output, "--excerpt", "0.49", "0.99")) == 0  # 12.25 frames: it begins with the 13th
    assert looks == [False, True]
    first, stop = 12, 24
    np.testing.assert_array_equal(pixels(output), pixels(result)[first:stop])
    part, whole = read_audio(output), read_audio(result)
    start = first * 16_000 // RATE
    assert abs(len(part) - (stop - first) * 16_000 // RATE) <= 1
    inner = slice(200, len(part) - 200)  # the resampler's own edges
    np.testing.assert_allclose(part[inner], whole[start:][inner], atol=2e-3)


def test_an_excerpt_in_a_gap_is_refused_with_the_segments(folder, tmp_path):
    words = line(folder, tmp_path / "out.mkv", "--excerpt", "1.3", "1.5")
    with pytest.raises(ConfigError, match="nobody is dubbed") as caught:
        preflight(make_request(parse_arguments(words)))
    assert "0.2-1.2 s" in caught.value.remedy


def test_one_audio_with_speakers_in_turn_is_copied_as_it_is(folder, tmp_path):
    text = "SPEAKER x 1 0 0.4 <NA> <NA> A <NA> <NA>\nSPEAKER x 1 0.8 0.6 <NA> <NA> B <NA> <NA>\n"
    (folder / "turns.rttm").write_text(text, encoding="utf-8")
    output = tmp_path / "out.mkv"
    words = line(folder, output, "--people", "A=index:1", "B=index:0", scene="turns.rttm")
    words += ["--video_path", str(folder / "video.mkv"), "--audio_path", str(folder / "both.wav")]
    checked = preflight(make_request(parse_arguments(words)))
    assert checked.mix is None and checked.heard.path == folder / "both.wav"
    first, second = checked.cast.roles[0].parts[0], checked.cast.roles[1].parts[0]
    whole = read_audio(folder / "both.wav")
    np.testing.assert_array_equal(first.waveform, whole[: int(0.4 * 16_000)])
    np.testing.assert_array_equal(second.waveform, whole[int(0.8 * 16_000) : int(1.4 * 16_000)])
    said = command_for(parse_arguments(words))
    assert "--people A=index:1 B=index:0" in said and f"--scene={folder / 'turns.rttm'}" in said


FAULTS = {
    "a person who is not there": (SCENE.replace("index:1}", "index:5}"), "'ben'"),
    "audio that is over": (SCENE.replace("start: 0.5}", "start: 7}"), "line 5"),
    "a channel that is not there": (SCENE.replace("channel: 1", "channel: 2"), "channel 2"),
    "no such preset": (SCENE.replace("{guidance_scale: 1.5}", "{preset: best}"), "line 5"),
    "no such silence": (SCENE.replace("{guidance_scale: 1.5}", "{silence: loud}"), "line 5"),
    "behind the video": (SCENE.replace("end: 1.2", "end: 2.2"), "line 5"),
}


@pytest.mark.parametrize(("text", "word"), FAULTS.values(), ids=FAULTS)
def test_faults_are_sentences(folder, tmp_path, capsys, text, word):
    (folder / "wrong.yaml").write_text(text, encoding="utf-8")
    assert main(line(folder, tmp_path / "out.mkv", scene="wrong.yaml")) not in (0, 1)
    said = capsys.readouterr().err
    assert word in said and "Traceback" not in said
    assert not list(tmp_path.glob("*.mkv"))


@pytest.mark.parametrize("flag", ["--compat 1.5", "--length loop", "--av_offset 1"])
def test_flags_that_do_not_go_with_a_scene(folder, tmp_path, flag):
    with pytest.raises(ConfigError, match=flag.split()[0]):
        preflight(make_request(parse_arguments(line(folder, tmp_path / "out.mkv", *flag.split()))))


def test_the_command_scene_checks_shows_and_converts(folder, tmp_path, capsys):
    saved = tmp_path / "scene.json"
    assert scene_main([str(folder / "scene.yaml"), "--save", str(saved)]) == 0
    shown = capsys.readouterr().out
    assert "person   ben: index:1" in shown and "0.60 to     1.20 s  ben" in shown
    assert read_scene(saved) == read_scene(folder / "scene.yaml")
    assert json.loads(saved.read_text(encoding="utf-8"))["segments"][0]["start"] == 0.2
    (folder / "late.yaml").write_text(SCENE.replace("end: 1.2", "end: 2"), encoding="utf-8")
    assert scene_main([str(folder / "late.yaml")]) == ConfigError.exit_code


def test_a_dub_without_a_scene_has_one_role_with_one_part(folder, tmp_path):
    words = line(folder, tmp_path / "out.mkv")[2:]
    words += ["--video_path", str(folder / "video.mkv"), "--audio_path", str(folder / "anna.wav")]
    checked = preflight(make_request(parse_arguments(words)))
    (role,) = checked.cast.roles
    (part,) = role.parts
    assert (part.start, part.stop, role.face) == (0, None, SyncOptions().face)
    assert checked.duration == Fraction(6, 10)
