"""A batch with a stand-in for the dub: done once, failures named, retries, kills, several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentsync.cli import batch as command
from latentsync.errors import INTERRUPTED_EXIT_CODE, ConfigError, NoFaceError, OutOfMemoryError
from latentsync.inference.job.folder import JobFolder, JobState, State
from latentsync.service import runner
from latentsync.service.batch import jobs
from tests.service.batch.stand_in import ROOT, run, summary, write_jobs

# A process that runs the command line with a dub that copies its audio, takes a moment, and notes in a log and in the
# result which attempt it was. A stand-in for the whole module, whose libraries take seconds to import.
PROGRAM = """
import os, secrets, sys, time
from types import ModuleType, SimpleNamespace
from latentsync.errors import VideoError
def dub(request, control, networks):
    if b"broken" in request.video.read_bytes():
        raise VideoError(f"{request.video} cannot be decoded.", remedy="Take another.")
    time.sleep(0.03)
    assert not request.output.exists() or request.overwrite, request.output
    attempt = f"{request.output.stem} {secrets.token_hex(4)}"
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{attempt}\\n")
    part = request.output.with_suffix(".part")
    part.write_text(f"{request.audio.read_text()}: {attempt}")
    part.rename(request.output)
    return SimpleNamespace(to_json=lambda: "{}")
module = sys.modules["latentsync.inference.job.dub"] = ModuleType("dub")
module.dub = dub
from latentsync.service.batch import run
run.Batch.__init__.__kwdefaults__["make_networks"] = lambda: None
from latentsync.__main__ import run
run("batch", sys.argv[1:])
"""


def test_each_is_done_once_and_known_by_its_content(files, dubbed):
    assert run(files) == 0
    assert run(files) == 0 and dubbed.names() == ["0", "1", "2", "3"]
    assert summary(files)["skipped"] == 4
    (files / "2.wav").write_text("another sentence")
    assert run(files) == 0 and dubbed.names()[4:] == ["2"], "what it was made of has changed"
    assert run(files, "--seed", "5") == 0 and len(dubbed.requests) == 9, "and so have the options"
    (files / "out" / "1.mp4").unlink()
    assert run(files, "--seed", "5") == 0 and dubbed.names()[9:] == ["1"]
    assert not [path for path in (files / "out").iterdir() if path.suffix not in (".mp4", ".csv", ".json", ".html", "")]


def test_a_file_of_somebody_else_is_not_replaced(files, dubbed):
    assert run(files) == 0
    (files / "out" / "0.mp4").write_text("edited by hand")

    def refuse(request):
        if request.output.exists() and not request.overwrite:
            raise ConfigError("It is there already.")

    dubbed.before = refuse
    assert run(files) == 1
    assert (files / "out" / "0.mp4").read_text() == "edited by hand"
    assert [row["error"] for row in summary(files)["rows"]] == ["It is there already.", "", "", ""]


@pytest.mark.parametrize("error", [NoFaceError("1 has no face."), ValueError("unforeseen")])
def test_one_that_fails_ends_no_other(files, dubbed, error, capsys):
    def fail(request):
        if request.output.stem == "1":
            raise error

    dubbed.before = fail
    write_jobs(files, [*(json.loads(line) for line in (files / "jobs.jsonl").read_text().splitlines()),
                       {"video": "none.mp4", "audio": "0.wav", "output": "none.mp4"},
                       {"video": "0.mp4", "audio": "0.wav", "output": "0.mp4"},
                       {"video": "0.mp4", "audio": "0.wav", "output": "x.mp4", "guidance": 2}])  # fmt: skip
    assert run(files) == 1
    rows = summary(files)["rows"]
    assert [row["state"] for row in rows] == ["done", "failed", "done", "done", "failed", "failed", "failed"]
    assert str(error) in rows[1]["error"] and rows[1]["exit_code"] == getattr(error, "exit_code", 1)
    assert "none.mp4 cannot be read" in rows[4]["error"] and "Another job writes" in rows[5]["error"]
    assert "no option 'guidance'" in rows[6]["error"]
    assert "3 done, 0 were there already, 4 not done" in capsys.readouterr().out
    traces = list((files / "out" / ".jobs").glob("*/traceback.txt"))
    assert len(traces) == (not hasattr(error, "exit_code"))
    dubbed.before = lambda request: None
    assert run(files) == 1 and summary(files)["rows"][1]["state"] == "done", "a new run tries what failed again"


def test_what_lacked_memory_is_tried_again(files, dubbed):
    def lack(request):
        if request.output.stem == "0" or (request.output.stem == "1" and dubbed.names().count("1") == 1):
            raise OutOfMemoryError("Not even one window fits.")

    dubbed.before = lack
    assert run(files) == 1
    rows = summary(files)["rows"]
    assert [(row["state"], row["attempts"]) for row in rows[:2]] == [("failed", 3), ("done", 2)]


def test_a_job_that_kills_its_process_is_given_up(files, dubbed):
    name = jobs._name({"output": "0.mp4"})
    assert run(files) == 0
    folder = JobFolder(files / "out" / ".jobs" / name)
    done = folder.read()
    killed = JobState(State.RUNNING, done.made_of, 3, "of before", before=done.result, result=done.result)
    folder.write(killed)
    assert run(files) == 1
    assert "killed 3 times" in summary(files)["rows"][0]["error"] and len(dubbed.requests) == 4
    folder.write(JobState(State.RUNNING, done.made_of, 1, "of before", before=None))
    assert run(files) == 0 and len(dubbed.requests) == 4, "killed between the result and the journal"


def test_ctrl_c_leaves_a_summary(files, dubbed, capsys):
    def interrupt(request):
        if request.output.stem == "2":
            raise KeyboardInterrupt

    dubbed.before = interrupt
    assert run(files) == INTERRUPTED_EXIT_CODE
    assert [row["state"] for row in summary(files)["rows"]] == ["done", "done", "waiting", "waiting"]
    assert "goes on from here" in capsys.readouterr().err


def test_options_of_jobs_and_tables(files, dubbed, tmp_path):
    rows = ["video,audio,output,face,resume", "0.mp4,1.wav,,index:1,", "1.mp4,1.wav,b.mkv,,"]
    (files / "jobs.csv").write_text("\n".join(rows))
    assert command.main(["--jobs", str(files / "jobs.csv"), "--out", str(files / "o"), "--seed", "3", "--resume"]) == 0
    first, second = dubbed.requests
    assert first.output == files / "o" / "0__1.mp4" and second.output == files / "o" / "b.mkv"
    assert first.video == files / "0.mp4" and first.options.face == "index:1" and second.options.face == "largest"
    assert first.options.seed == second.options.seed == 3
    assert first.resume and first.kept_folder.parent.parent == files / "o" / ".jobs"
    words = ["--videos", str(files), "--audios", str(files), "--out", str(files / "p")]
    assert command.main(words) == 0 and len(dubbed.requests) == 6


@pytest.mark.parametrize(
    "text, words",
    [("nonsense\n", "line 1, is no JSON"), ("[1]\n", "line 1, is no object")],
)
def test_a_file_that_lists_no_jobs(files, capsys, text, words):
    (files / "jobs.jsonl").write_text(text)
    assert run(files) == ConfigError.exit_code
    assert words in capsys.readouterr().err


def test_an_option_that_no_dub_takes_is_refused_before_the_work(files, dubbed, capsys):
    assert run(files, "--no_such_option", "3") == ConfigError.exit_code
    assert "no_such_option" in capsys.readouterr().err and not dubbed.requests


def test_killed_twice_and_shared_by_two_processes_each_is_done_once(tmp_path):
    """5 % of the jobs are broken; BATCH_JOBS says how many there are (40)."""
    count = int(os.environ.get("BATCH_JOBS", 40))
    broken = set(range(7, count, 20))
    rows = []
    for number in range(count):
        (tmp_path / f"{number}.mp4").write_text("broken" if number in broken else "video")
        (tmp_path / f"{number}.wav").write_text(f"audio {number}")
        rows.append({"video": f"{number}.mp4", "audio": f"{number}.wav", "output": f"{number}.mkv"})
    write_jobs(tmp_path, rows)
    log = tmp_path / "log"
    log.touch()
    surroundings = os.environ | {"LOG": str(log), "PYTHONPATH": str(ROOT)}
    words = ["--jobs", str(tmp_path / "jobs.jsonl"), "--out", str(tmp_path / "out")]

    def begin():
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=surroundings, text=True, **pipes)

    for done in (count // 8, count // 2):
        with begin() as process:
            while process.poll() is None and len(log.read_text().splitlines()) < done:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    with begin() as one, begin() as other:
        said = [process.communicate()[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (1, 1), said
    attempts = log.read_text().splitlines()
    whole = [number for number in range(count) if number not in broken]
    results = [(tmp_path / "out" / f"{number}.mkv").read_text() for number in whole]
    assert {result.partition(": ")[2] for result in results} <= set(attempts)
    assert all(result.startswith(f"audio {number}: ") for number, result in zip(whole, results, strict=True))
    assert len(attempts) <= len(whole) + 2, "nothing is done again but what was under work when the process was killed"
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]
    failed = {Path(row["output"]).stem for row in rows if row["state"] == "failed"}
    assert failed == {str(number) for number in broken}


def test_priorities_come_first_then_deadlines_and_what_is_too_late_is_named(files, dubbed):
    rows = [{"video": f"{n}.mp4", "audio": f"{n}.wav", "output": f"{n}.mp4"} for n in range(4)]
    rows[0] |= {"deadline": "2001-01-01T00:00"}
    rows[2] |= {"deadline": "2999-01-01T00:00+02:00"}
    rows[3] |= {"priority": 2}
    wrong = [rows[1] | {"output": "x.mp4", "priority": "soon"}, rows[1] | {"output": "y.mp4", "deadline": "x"}]
    write_jobs(files, [*rows, *wrong])
    assert run(files) == 1 and dubbed.names() == ["3", "2", "1"]
    errors = [row["error"] for row in summary(files)["rows"]]
    assert "deadline, 2001-01-01 00:00" in errors[0] and "had passed" in errors[0] and errors[1:4] == ["", "", ""]
    assert "'soon' is no priority" in errors[4] and "'x' is no date and time" in errors[5]


def test_what_was_done_after_its_deadline_is_late(files, dubbed, monkeypatch):
    clock = [datetime(2027, 1, 31, 6).timestamp()]
    played = SimpleNamespace(time=lambda: clock[0], monotonic=time.monotonic)
    monkeypatch.setattr(runner, "time", played)
    dubbed.before = lambda request: clock.append(clock.pop() + 60)
    assert run(files, "--deadline", "2027-01-31T06:02:30") == 1
    content = summary(files)
    assert [row["state"] for row in content["rows"]] == ["done", "done", "done", "failed"]
    assert [row["late"] for row in content["rows"]] == [False, False, True, False] and content["late"] == 1


def test_the_page_names_what_failed_first_and_shows_names_as_text(files, dubbed):
    write_jobs(files, [{"video": "0.mp4", "audio": "0.wav", "output": "0.mp4"},
                       {"video": "<b>.mp4", "audio": "0.wav", "output": "<b>.mp4"}])  # fmt: skip
    assert run(files) == 1
    page = (files / "out" / "summary.html").read_text()
    assert "1 of 2 jobs are done; 0 were there already; 1 are not" in page
    assert page.index("&lt;b&gt;.mp4 cannot be read") < page.index("0.mp4</td>") and "<b>" not in page


def test_the_same_job_on_another_device_is_there_already(files, dubbed):
    assert run(files, "--device", "cpu") == 0 and run(files, "--device", "cuda:1") == 0
    assert len(dubbed.requests) == 4
