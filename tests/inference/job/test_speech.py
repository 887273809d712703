"""What is left alone of a dub, from the command line to the report."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from latentsync.cli._dub_arguments import parse_arguments
from latentsync.cli.dub import command_for, main, make_request
from latentsync.errors import ConfigError, StoppedError
from latentsync.face.detections_file import write_detections
from latentsync.inference.job.dub import dub
from latentsync.inference.job.preflight import preflight
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.request import kept_folder
from latentsync.inference.job.resume import windows_kept
from latentsync.inference.silence import SKIPPED
from latentsync.inference.visibility import OCCLUDED
from latentsync.media.writer import write_video
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

FRAMES = 40


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A video without sound, and audio of 2.4 s with a pause from 0.8 to 1.8 s."""
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(FRAMES, 128, 128, face=60)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info)
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    samples = tone(2.4, 16_000, 1)
    samples[12_800:28_800] = 0
    write_wav(folder / "audio.wav", samples, 16_000)
    write_checkpoints(folder / "checkpoints")
    return folder


def judge_by_level(patch, folder):
    """A tone is no voice, so the level has to judge."""
    patch.setitem(sys.modules, "silero_vad", None)
    patch.setenv("LATENTSYNC_CACHE", str(folder / "cache"))


@pytest.fixture(autouse=True)
def by_level(monkeypatch, tmp_path):
    judge_by_level(monkeypatch, tmp_path)


def line(media, output, *more):
    return [
        *("--video_path", str(media / "video.mp4"), "--audio_path", str(media / "audio.wav")),
        *("--video_out_path", str(output), "--checkpoint_dir", str(media / "checkpoints")),
        *("--detector", str(media / "faces.npz"), "--inference_steps", "1", "--guidance_scale", "1", "--quiet"),
        *("--no-output-check", *more),
    ]


def request(media, tmp_path, *more):
    return make_request(parse_arguments(line(media, tmp_path / "out.mp4", *more)))


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A pause, two stretches, and a mask: the left half is before the face for the first half of the source."""
    path, drawn = tmp_path_factory.mktemp("things") / "things.mkv", DrawnVideo(FRAMES, 128, 128, face=60)
    masks = np.zeros((FRAMES, 128, 128, 3), np.uint8)
    masks[: FRAMES // 2, :, :64] = 255
    write_video(path, (ArrayFrame(k, k / drawn.info.fps, mask) for k, mask in enumerate(masks)), drawn.info)
    return ("--silence", "close", "--skip", "0.2-0.4", "2-2.2", "--occlusion", str(path), "--batch", "1")


@pytest.fixture(scope="module")
def whole(media, chosen, tmp_path_factory):
    """The bytes of a result, and its report."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        judge_by_level(patch, folder)
        assert main(line(media, folder / "out.mp4", *chosen, "--report", str(folder / "report.json"))) == 0
    return (folder / "out.mp4").read_bytes(), json.loads((folder / "report.json").read_text())


def test_the_report_says_what_was_left_alone_and_who_found_the_pauses(whole):
    written = whole[1]
    assert written["speech"] == {
        "mode": "close",
        "judge": "level",
        "quiet": [[1.0, 1.6]],
        "skipped": [[0.2, 0.4], [2.0, 2.2]],
    }
    assert any("silero-vad is not installed" in note for note in written["notes"])
    assert [(span["first"], span["last"], span["reason"]) for span in written["passed_through"]] == [
        (5, 9, SKIPPED),
        (50, 54, SKIPPED),
    ]
    assert {SKIPPED, OCCLUDED} <= {span["reason"] for span in written["seen"]}


def test_a_run_that_is_stopped_and_goes_on_leaves_the_same_alone(media, chosen, whole, tmp_path):
    halted = tmp_path / "halted.mp4"
    control = RunControl(lambda stage, done, total: control.stop() if windows_kept(kept_folder(halted)) else None)
    with pytest.raises(StoppedError):
        dub(make_request(parse_arguments(line(media, halted, *chosen, "--resume"))), control=control)
    assert windows_kept(kept_folder(halted)) > 0
    assert main(line(media, halted, *chosen, "--resume")) == 0
    assert halted.read_bytes() == whole[0]


def test_nobody_looks_for_pauses_unless_asked(media, tmp_path):
    checked = preflight(request(media, tmp_path))
    assert checked.speech.judge == ""
    assert not checked.speech.quiet.all


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        (("--skip", "2.4-3"), "the result is over at 2.40 s"),
        (("--skip", "0-3"), "All of the result"),
        (("--skip", "0-1", "--skip", "0.5-1.5", "--excerpt", "0.4", "1.2"), "All of this excerpt"),
        (("--silence", "original"), "cannot know where it speaks"),
        (("--silence", "close", "--compat", "1.5"), "No release"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(media, tmp_path, chosen, what):
    with pytest.raises(ConfigError, match=what) as refused:
        preflight(request(media, tmp_path, *chosen))
    assert refused.value.remedy


def test_the_estimate_counts_what_is_left_for_the_network(media, tmp_path):
    windows = [preflight(request(media, tmp_path, *more)).cost.windows for more in ((), ("--skip", "0-1.6"))]
    assert windows == [4, 2]


@pytest.mark.parametrize(("said", "quiet"), [((0.0, 0.5), ["1.12-1.48"]), ((1.3, 1.6), [])])
def test_original_follows_the_sound_of_the_source(media, tmp_path, said, quiet):
    """The audio pauses from 0.8 to 1.8 s; when the source speaks, only its own sound knows."""
    own = np.zeros((25_600, 1), np.int16)
    start, stop = (round(second * 16_000) for second in said)
    own[start:stop] = tone(2, 16_000, 1)[start:stop]
    write_wav(tmp_path / "own.wav", own, 16_000)
    spoken, drawn = tmp_path / "spoken.mkv", DrawnVideo(FRAMES, 128, 128, face=60)
    write_video(spoken, drawn.frames(), drawn.info, audio=tmp_path / "own.wav")
    asked = replace(request(media, tmp_path, "--silence", "original"), video=spoken)
    checked = preflight(asked)
    assert [str(stretch) for stretch in checked.speech.quiet.all] == quiet
    assert any("the source speaks itself" in note for note in checked.notes) == (not quiet)


def test_the_command_that_goes_on_names_the_stretches(media, tmp_path):
    asked = parse_arguments(line(media, tmp_path / "out.mp4", "--skip", "1-2", "3.5-4", "--silence", "close"))
    command = command_for(asked)
    assert "--skip 1-2 3.5-4" in command
    assert "--silence=close" in command
