"""What a batch will cost, and which deadlines it will miss."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentsync.cli import batch as command
from latentsync.errors import ConfigError, VideoError
from latentsync.inference.job.cost import rough_cost
from latentsync.inference.job.folder import JobState, State
from latentsync.inference.job.preflight import preflight
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.stretches import Stretch
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.service.batch.jobs import BatchJob
from latentsync.service.batch.outlook import look_ahead
from latentsync.service.batch.results import SharedFolder


def cost_of(request):
    if request.video.stem == "broken":
        raise VideoError("It cannot be decoded.")
    return SimpleNamespace(seconds=65.0, start_seconds=5.0, disk_bytes=10**6)  # 5 s of them once


def make_jobs(count, *, broken=()):
    videos = [Path("broken.mp4" if number in broken else "a.mp4") for number in range(count)]
    return [BatchJob(f"job {n}", DubRequest(video, Path("a.wav"), Path(f"{n}.mp4"))) for n, video in enumerate(videos)]


def test_costs_of_all_and_of_a_sample(tmp_path):
    results = SharedFolder(tmp_path)
    all_of_them = look_ahead(make_jobs(20, broken={4}), results, 2, None, cost_of)
    assert (all_of_them.seconds, list(all_of_them.faults)) == (2 * 5 + 19 * 60, ["job 4"])
    assert "20 jobs; 20 to do: about 10 min on 2 devices, results about 19 MB." in all_of_them.describe(2)
    assert "1 of 20 cannot be dubbed, such as job 4: It cannot be decoded." in all_of_them.describe(2)
    asked = []
    sampled = look_ahead(make_jobs(1000), results, 1, 50, lambda request: asked.append(request) or cost_of(request))
    assert len(asked) == 50 and sampled.seconds == 60_005 and "estimated from 50 of them" in sampled.describe(1)
    known = BatchJob("far", make_jobs(1)[0].request, urls={"video": "memory://b/a.mp4"})
    assert "cannot be told" in look_ahead([known], results, 1, None, cost_of).describe(1)
    nowhere = replace(known, urls={"video": "nowhere://b/a.mp4"})
    assert "nowhere" in look_ahead([nowhere], results, 1, None, cost_of).faults["far"].message
    wrong = BatchJob("x", None, ConfigError("It makes no sense."))
    assert look_ahead([wrong], results, 1, None, cost_of).faults == {"x": wrong.fault}


def test_what_is_there_costs_nothing(tmp_path):
    results, jobs = SharedFolder(tmp_path), make_jobs(3)
    jobs[1] = replace(jobs[1], request=replace(jobs[1].request, output=tmp_path / "1.mp4"))
    (tmp_path / "1.mp4").write_text("result")
    with results.folder(jobs[1]).hold():
        results.folder(jobs[1]).write(JobState(State.DONE, result=results.stamp(jobs[1])))
    found = look_ahead(jobs, results, 1, None, cost_of)
    assert found.there == 1 and found.seconds == 125 and found.describe(1).startswith("3 jobs, 1 are there already; 2")


def test_deadlines_that_will_be_missed_are_named(tmp_path):
    jobs = [replace(job, deadline=time.time() + 150) for job in make_jobs(6)]
    assert look_ahead(jobs, SharedFolder(tmp_path), 1, None, cost_of).late == ("job 2", "job 3", "job 4", "job 5")
    late = look_ahead(jobs, SharedFolder(tmp_path), 2, None, cost_of)
    assert late.late == ("job 4", "job 5") and "2 may miss their deadlines, the first one job 4." in late.describe(2)


@pytest.fixture(scope="module")
def sample():
    return DubRequest(SAMPLE_VIDEO, SAMPLE_AUDIO, Path("out.mp4"), device="cpu", detector=str(SAMPLE_FACES))


def test_the_rough_cost_of_a_dub_is_that_of_its_preflight(sample):
    rough, checked = rough_cost(sample), preflight(sample).cost
    assert abs(rough.frames - checked.frames) <= 2 and abs(rough.windows - checked.windows) <= 1
    with pytest.raises(VideoError):
        rough_cost(replace(sample, video=SAMPLE_AUDIO))
    for options, words in (
        (SyncOptions(face="9999,1"), "outside the frame"),
        (SyncOptions(skip=(Stretch(Fraction(60), Fraction(61)),)), "the result is over"),
    ):
        with pytest.raises(ConfigError, match=words):
            rough_cost(replace(sample, options=options))


def test_a_dry_run_looks_into_every_job_and_writes_nothing(files, dubbed, capsys):
    words = ["--jobs", str(files / "jobs.jsonl"), "--out", str(files / "out"), "--dry-run"]
    assert command.main(words) == 1 and not dubbed.requests and not (files / "out").exists()
    said = capsys.readouterr().out
    assert all(f"{n}.mp4 " in said for n in range(4)) and "4 jobs; what 4 will cost cannot be told." in said
