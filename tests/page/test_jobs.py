"""Jobs without a page around them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Event, Thread

import pytest

from latentsync.errors import AudioError, StoppedError, VideoError
from latentsync.inference.job.folder import JobFolder, State, stamp
from latentsync.page.fair_queue import RepeatedError, Visitor, Waiting
from latentsync.page.jobs import JobRequest, JobResult
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import VisitorFolders
from tests.media.hostile.uploads import web_page
from tests.page.stage import StageNetworks, wait_until

ANN, BEN, CY = (Visitor(name, f"{name}'s page") for name in ("Ann", "Ben", "Cy"))


@pytest.fixture
def folders(tmp_path):
    return VisitorFolders(Storage(tmp_path, StorageLimits(reserve=0)), keep_seconds=1000)


@pytest.fixture
def jobs(served):
    return served[1]


@pytest.fixture
def request_(jobs, example):
    return JobRequest(example.video, example.audio, checkpoint=next(iter(jobs.weights)))


def files_of(tmp_path):
    """Files and folders of jobs; a folder that goes while it is looked into has none."""
    found = []
    for folder, folders, files in os.walk(tmp_path / "jobs"):
        found += [Path(folder) / name for name in (*files, *(name for name in folders if name.startswith("job_")))]
    return found


def test_only_the_visitor_who_asks_for_it_is_stopped(jobs, request_, folders, held):
    job = jobs.perform(request_, folders, ANN)
    next(job)
    jobs.stop(ANN.session)
    with pytest.raises(StoppedError):
        list(job)

    job = jobs.perform(request_, folders, ANN)
    next(job)
    jobs.stop(BEN.session)
    held.set()
    assert isinstance(list(job)[-1], JobResult)


def test_jobs_wait_for_each_other_and_may_leave_the_queue(jobs, request_, folders, held):
    first, second, third = (jobs.perform(request_, folders, visitor) for visitor in (ANN, BEN, CY))
    assert not isinstance(next(first), Waiting)
    assert next(second) == Waiting(1) and next(third) == Waiting(2)

    jobs.stop(BEN.session)
    with pytest.raises(StoppedError):
        next(second)
    assert next(third) == Waiting(1)
    held.set()
    results = [list(job)[-1] for job in (first, third)]
    assert all(isinstance(result, JobResult) for result in results)
    assert {path.parent for path in folders._root.rglob("*.mp4")} == {result.video.parent for result in results}


def test_a_second_click_is_refused_and_the_first_goes_on(jobs, request_, folders, held):
    first = jobs.perform(request_, folders, ANN)
    next(first)
    with pytest.raises(RepeatedError, match="Your last job is not done yet"):
        next(jobs.perform(request_, folders, ANN))
    assert len(jobs) == 1
    held.set()
    assert isinstance(list(first)[-1], JobResult)


@pytest.mark.parametrize("end", ["close", "stop"])
def test_no_folder_stays_of_a_job_without_a_result(jobs, request_, folders, tmp_path, end, held):
    start = StageNetworks.steps
    job = jobs.perform(request_, folders, ANN)
    next(job)
    wait_until(lambda: StageNetworks.steps > start)
    assert len(files_of(tmp_path)) > 0
    if end == "stop":
        jobs.stop(ANN.session)
        with pytest.raises(StoppedError):
            list(job)
    else:
        job.close()
    held.set()
    wait_until(lambda: not files_of(tmp_path))


def test_no_folder_is_made_for_what_only_waits_or_is_refused(jobs, request_, folders, tmp_path, held):
    first = jobs.perform(request_, folders, ANN)
    next(first)
    second = jobs.perform(request_, folders, BEN)
    assert isinstance(next(second), Waiting)
    with pytest.raises(RepeatedError):
        next(jobs.perform(request_, folders, BEN))
    wait_until(lambda: len([path for path in files_of(tmp_path) if path.is_dir()]) == 1)
    second.close()
    first.close()
    held.set()
    wait_until(lambda: not files_of(tmp_path))


def test_a_result_that_nobody_waited_for_is_removed(jobs, request_, folders, tmp_path):
    job = jobs.perform(request_, folders, ANN)
    next(job)
    wait_until(lambda: not len(jobs))  # it is done, and has not been asked for again
    assert list((tmp_path / "jobs").rglob("*.mp4"))
    job.close()
    assert not files_of(tmp_path)


def test_a_job_that_fails_leaves_no_folder(jobs, example, folders, tmp_path):
    request = JobRequest(web_page(tmp_path / "in.mp4"), example.audio, checkpoint=next(iter(jobs.weights)))
    with pytest.raises(VideoError, match="web page"):
        list(jobs.perform(request, folders, ANN))
    assert not files_of(tmp_path)


def test_no_path_of_the_server_is_in_the_figures(jobs, request_, folders, tmp_path, example):
    result = list(jobs.perform(request_, folders, ANN))[-1]
    text = result.figures_file.read_text(encoding="utf-8")
    place = JobFolder(result.video.parent)  # the layout of every job
    assert place.report_file.read_text(encoding="utf-8") == text
    assert place.read().state is State.DONE and place.read().result == stamp(result.video)
    assert json.loads(text) == result.figures
    assert result.figures["video"] == "two.mp4" and result.figures["weights"]["unet"]["file"]
    assert str(tmp_path) not in text and str(example.video.parent) not in text
    assert not [value for value in texts_of(result.figures) if value.startswith("/")]
    assert "--" not in text and "python -m" not in text


def texts_of(value):
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in texts_of(each)]


def test_looking_into_another_file_ends_the_look_into_the_last(jobs, example, monkeypatch):
    begun, go_on, ended = Event(), Event(), []

    def slow_look(video, *rest, **settings):
        begun.set()
        go_on.wait(300)
        return []

    monkeypatch.setattr("latentsync.page.jobs.find_people", slow_look)
    checkpoint = next(iter(jobs.weights))

    def look():
        try:
            jobs.find_people(example.video, checkpoint, ANN)
        except StoppedError as error:
            ended.append(error)
            go_on.set()

    thread = Thread(target=look)
    thread.start()
    begun.wait(300)
    assert jobs.find_people(example.video, checkpoint, ANN) == []
    thread.join(300)
    assert len(ended) == 1


def test_a_look_that_takes_too_long_is_a_sentence_and_ends(jobs, example, monkeypatch):
    ended = Event()

    def look(video, *rest, limits, **settings):
        try:
            while True:  # as long as there are packets
                limits.on_packet()
        finally:
            ended.set()

    monkeypatch.setattr("latentsync.page.jobs.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("latentsync.page.jobs.find_people", look)
    with pytest.raises(VideoError, match="takes too long to look into"):
        jobs.find_people(example.video, next(iter(jobs.weights)), ANN)
    assert ended.wait(300)


def test_audio_is_measured_by_what_is_decoded(jobs, example, tmp_path):
    assert jobs.measure_audio(example.audio, ANN) == 2.0
    with pytest.raises(AudioError, match="web page"):
        jobs.measure_audio(web_page(tmp_path / "a.wav"), ANN)
