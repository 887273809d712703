"""A run that was killed, stopped or failed goes on, and its result is that of a run that was not interrupted."""

from __future__ import annotations

import errno
import random
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.cli._dub_arguments import parse_arguments
from latentsync.cli.dub import main, make_request
from latentsync.errors import INTERRUPTED_EXIT_CODE, DiskFullError, StoppedError
from latentsync.face.detections_file import write_detections
from latentsync.inference import latent_generator, precision
from latentsync.inference.job.dub import dub
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.request import kept_folder
from latentsync.inference.job.resume import JOURNAL, windows_kept
from latentsync.inference.kept_latents import SUFFIX, KeptLatents
from latentsync.media.writer import write_video
from latentsync.types import ArrayFrame
from tests.forked import end_of, start_module
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

FRAMES, SECONDS = 40, 2.0
WINDOWS = 4  # of 50 frames, which play forwards and backwards; they share a frame
STEPS = 2


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(FRAMES, 128, 128, face=60)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info)
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(FRAMES)})
    samples = tone(SECONDS, 16_000, 1)
    write_wav(folder / "audio.wav", (samples * np.linspace(0.1, 1, len(samples))[:, None]).astype(np.int16), 16_000)
    write_checkpoints(folder / "checkpoints")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path_factory.mktemp("cache")))


def line(media, output, *more, audio=None):
    return [
        *("--video_path", str(media / "video.mp4"), "--audio_path", str(audio or media / "audio.wav")),
        *("--checkpoint_dir", str(media / "checkpoints"), "--detector", str(media / "faces.npz")),
        *("--video_out_path", str(output), "--inference_steps", str(STEPS), "--guidance_scale", "1"),
        *("--no-output-check", "--device", "cpu", *more),
    ]


@pytest.fixture(scope="module")
def undisturbed(media, tmp_path_factory):
    """The bytes of the result of a run without --resume."""
    output = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    assert main(line(media, output, "--quiet")) == 0
    return output.read_bytes()


class Network:
    """Counts the windows that are sampled."""

    def __init__(self, monkeypatch):
        self.windows, real = 0, latent_generator.sample

        def counting(denoiser, conditioning, audio, *others):
            self.windows += len(audio)
            return real(denoiser, conditioning, audio, *others)

        monkeypatch.setattr(latent_generator, "sample", counting)


@pytest.fixture
def network(monkeypatch):
    return Network(monkeypatch)


def stop_after(media, output, windows, *more):
    """A run with --resume that is stopped in the first step of a window, when ``windows`` are finished."""
    control, steps = RunControl(), 0
    real = control.step_done

    def step_done(count):
        nonlocal steps
        steps += count
        if steps > windows * STEPS:
            control.stop()
        real(count)

    control.step_done = step_done
    with pytest.raises(StoppedError, match=f"{windows} finished windows are kept"):
        dub(make_request(parse_arguments(line(media, output, "--resume", *more))), control=control)
    assert windows_kept(kept_folder(output)) == windows


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def stopped(media, tmp_path_factory):
    """A folder with three finished windows, of a run that was stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    stop_after(media, folder / "out.mp4", 3)
    assert names(folder) == [".out.mp4.resume", ".out.mp4.resume.lock"]
    return folder


@pytest.fixture
def output(stopped, tmp_path):
    """A result whose run was stopped; where it lies does not matter."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out.mp4"


def test_a_run_that_was_stopped_goes_on_and_leaves_nothing(media, output, undisturbed, network, capsys):
    assert main(line(media, output, "--resume")) == 0
    assert network.windows == WINDOWS - 3
    assert "3 windows are those of a run that was interrupted" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed
    assert names(output.parent) == ["out.mp4"]


def test_a_run_that_is_not_interrupted_gives_the_same_with_it(media, tmp_path, undisturbed):
    """Files of the user in a folder of that name stay."""
    output = tmp_path / "out.mp4"
    kept_folder(output).mkdir()
    (kept_folder(output) / "mine.txt").write_text("mine")
    assert main(line(media, output, "--resume", "--quiet")) == 0
    assert output.read_bytes() == undisturbed
    assert names(tmp_path) == [".out.mp4.resume", "out.mp4"]
    assert names(kept_folder(output)) == ["mine.txt"]


def test_posterior_draws_are_those_of_the_windows(media, tmp_path):
    """With --compat the latents are drawn, window after window."""
    whole, output = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    assert main(line(media, whole, "--compat", "1.5", "--quiet")) == 0
    stop_after(media, output, 2, "--compat", "1.5")
    assert main(line(media, output, "--compat", "1.5", "--resume", "--quiet")) == 0
    assert output.read_bytes() == whole.read_bytes()


def test_what_is_damaged_is_made_again(media, output, undisturbed, network, capsys):
    first, second, third = sorted(kept_folder(output).glob(f"*{SUFFIX}"))
    third.write_bytes(first.read_bytes())
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(second.read_bytes()[:-9] + bytes([second.read_bytes()[-9] ^ 1]) + second.read_bytes()[-8:])
    assert main(line(media, output, "--resume")) == 0
    assert network.windows == WINDOWS
    assert "kept windows were damaged and were made again: 0, 1, 2" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed
    assert names(output.parent) == ["out.mp4"]


@pytest.mark.parametrize("journal", [b"{", b"[]", None])
def test_without_its_journal_nothing_is_trusted(media, output, network, capsys, journal):
    (kept_folder(output) / JOURNAL).unlink()
    if journal is not None:
        (kept_folder(output) / JOURNAL).write_bytes(journal)
    assert main(line(media, output, "--resume")) == 0
    assert network.windows == WINDOWS
    assert "of another run (no journal); this one starts anew" in capsys.readouterr().err


def test_another_job_starts_anew_and_says_why(media, output, network, capsys):
    samples = tone(SECONDS, 16_000, 1) // 2
    other = write_wav(output.with_name("other.wav"), samples.astype(np.int16), 16_000)
    assert main(line(media, output, "--seed", "5", "--resume", audio=other)) == 0
    assert network.windows == WINDOWS
    assert "of another run (another audio, other options); this one starts anew" in capsys.readouterr().err
    assert names(output.parent) == ["other.wav", "out.mp4"]


def test_a_last_step_that_fails_loses_nothing_and_may_be_another(media, output, network, monkeypatch, capsys):
    real = Path.replace

    def full(path, target):
        if Path(target) == output:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", full)
    assert main(line(media, output, "--resume", "--quiet")) == DiskFullError.exit_code
    said = capsys.readouterr().err
    assert f"{WINDOWS} windows are finished; go on with" in said
    monkeypatch.setattr(Path, "replace", real)
    network.windows = 0
    assert main(line(media, output, "--resume", "--quiet", "--crf", "30")) == 0
    assert network.windows == 0
    assert names(output.parent) == ["out.mp4"]


def test_two_runs_of_one_result_do_not_share(media, output, undisturbed, capsys):
    """The second one, which begins while the first is at work, keeps nothing."""
    codes = []

    class Control(RunControl):
        def step_done(self, windows):
            if not codes:
                codes.append(None)
                codes.append(main(line(media, output, "--resume", "--overwrite")))
            super().step_done(windows)

    request = make_request(parse_arguments(line(media, output, "--resume", "--overwrite")))
    dub(request, control=Control())
    assert codes[1] == 0
    assert "another run works on" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed
    assert names(output.parent) == ["out.mp4"]


def test_windows_that_cannot_be_kept_cost_a_note(media, tmp_path, undisturbed, monkeypatch, capsys):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("latentsync.inference.kept_latents.atomic_file", full)
    output = tmp_path / "out.mp4"
    assert main(line(media, output, "--resume")) == 0
    assert "could not be kept" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed


def test_without_resume_it_is_said_that_it_would_go_on(media, output, network, capsys):
    assert main(line(media, output, "--dry-run")) == 0
    assert "3 windows are finished by a run that was interrupted; --resume would go on" in capsys.readouterr().out
    assert windows_kept(kept_folder(output)) == 3
    assert main(line(media, output)) == 0
    assert "--resume would go on" in capsys.readouterr().err
    assert network.windows == WINDOWS
    assert names(output.parent) == ["out.mp4"]  # the result is there, so nobody will go on


def test_the_dry_run_says_what_is_kept_and_how_much(media, output, tmp_path, capsys):
    assert main(line(media, tmp_path / "new.mp4", "--dry-run", "--resume")) == 0
    said = capsys.readouterr().out
    assert str(kept_folder(tmp_path / "new.mp4")) in said
    assert names(tmp_path) == [".out.mp4.resume", ".out.mp4.resume.lock"]
    bound = float(said.split("take up to ")[1].split(" MB")[0]) * 1e6
    largest = max(path.stat().st_size for path in kept_folder(output).glob(f"*{SUFFIX}"))
    assert largest * WINDOWS <= bound + 0.05e6 <= 1.1 * largest * WINDOWS + 0.1e6


def test_whoever_interrupts_is_told_how_to_go_on(media, tmp_path, monkeypatch, capsys):
    """The command names the same files from any folder, and the seed that was drawn."""
    output = tmp_path / "a b.mp4"
    real = KeptLatents.write

    def interrupt(*given):
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(KeptLatents, "write", interrupt)
    monkeypatch.chdir(media)
    given = line(Path(), output, "--seed", "-1", "--resume", "--face", "index:0", "--excerpt", "0", "3/2")
    parsed = parse_arguments(given)
    monkeypatch.setattr("latentsync.cli.dub.parse_arguments", lambda _: parsed)
    assert main(given) == INTERRUPTED_EXIT_CODE
    said = capsys.readouterr().err
    assert "Stopped." in said and "1 windows are finished" in said
    words = shlex.split(said[said.index("`") + 1 : said.rindex("`")])
    again = parse_arguments(words[words.index("dub") + 1 :])
    here = {name: media / getattr(parsed, name) for name in ("video_path", "audio_path", "checkpoint_dir")}
    assert vars(again) == vars(parsed) | here | {"detector": str(media / "faces.npz")}


# What is killed where: the place, and the largest number of its call.
PLACES = {
    "latentsync.inference.kept_latents.KeptLatents.write": WINDOWS,
    "latentsync.inference.job.resume._opened": 1,
    "latentsync.inference.job.resume._remove": 2,
    "latentsync.media.video_track.VideoTrack.encode": 45,
    "latentsync.media.video_track.VideoTrack.flush": 2,  # the first is that of the preflight
    "pathlib.Path.replace": WINDOWS,
    "pathlib.Path.chmod": WINDOWS,
}
KILLED = """
import importlib, os, signal
place, number = {place!r}, {number}
*where, name = place.split(".")
owner = importlib.import_module(".".join(where[:-1])) if where[-1][0].isupper() else None
owner = getattr(owner, where[-1]) if owner else importlib.import_module(".".join(where))
real, calls = getattr(owner, name), 0

def wrapped(*given, **named):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)

setattr(owner, name, wrapped)
"""


def kill_and_resume(media, folder, undisturbed, place, number):
    output = folder / "out.mp4"
    given = line(media, output, "--resume", "--overwrite", "--quiet")
    threads = f"import torch; torch.set_num_threads({torch.get_num_threads()})"
    killed = start_module("scripts.inference", given, before=threads + KILLED.format(place=place, number=number))
    assert end_of(killed) == -signal.SIGKILL, f"{place} was not called {number} times"
    assert main(given) == 0
    assert output.read_bytes() == undisturbed
    assert names(folder) == ["out.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("place", "number"),
    [("pathlib.Path.replace", 3), ("latentsync.media.video_track.VideoTrack.encode", 30)],
)
def test_a_run_that_was_killed_goes_on(media, tmp_path, undisturbed, place, number):
    kill_and_resume(media, tmp_path, undisturbed, place, number)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("attempt", range(20))
def test_a_run_that_was_killed_anywhere_goes_on(media, tmp_path, undisturbed, attempt):
    draw = random.Random(attempt)
    place = sorted(PLACES)[attempt % len(PLACES)]
    kill_and_resume(media, tmp_path, undisturbed, place, draw.randint(1, PLACES[place]))


def test_a_run_that_is_resumed_computes_as_it_began(media, tmp_path, network, monkeypatch):
    def decide(dtype):
        monkeypatch.setattr(precision, "cpu_precision", lambda unet, resolution: dtype)

    output, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    assert main(line(media, whole, "--quiet", "--precision", "bf16")) == 0
    decide(torch.bfloat16)
    stop_after(media, output, 3)
    decide(torch.float32)  # another decision than that of the run that began
    network.windows = 0
    report = dub(make_request(parse_arguments(line(media, output, "--resume"))))
    assert report.precision == "bfloat16" and any("--precision fp32" in note for note in report.notes)
    assert network.windows == WINDOWS - 3
    assert output.read_bytes() == whole.read_bytes()
    exact = dub(make_request(parse_arguments(line(media, tmp_path / "exact.mp4", "--compat", "1.5"))))
    assert exact.precision == "float32"
