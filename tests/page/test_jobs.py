"""Jobs without a page around them."""

from __future__ import annotations

import pytest

from latentsync.errors import StoppedError
from latentsync.page.jobs import JobRequest, Outcome, Waiting
from tests.page.stage import StageNetworks


def test_only_the_visitor_who_asks_for_it_is_stopped(served, example, tmp_path):
    studio = served[1]
    StageNetworks.seconds = 0.1
    wish = JobRequest(example.video, example.audio, checkpoint=next(iter(studio.weights)))

    job = studio.perform(wish, tmp_path, "Ann")
    next(job)
    studio.stop("Ann")
    with pytest.raises(StoppedError):
        list(job)

    job = studio.perform(wish, tmp_path, "Ann")
    next(job)
    studio.stop("Ben")
    StageNetworks.seconds = 0.0
    assert isinstance(list(job)[-1], Outcome)


def test_jobs_wait_for_each_other_and_may_leave_the_queue(served, example, tmp_path):
    studio = served[1]
    StageNetworks.seconds = 0.1
    wish = JobRequest(example.video, example.audio, checkpoint=next(iter(studio.weights)))
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first, second, third = (studio.perform(wish, folder, folder.name) for folder in folders)
    assert not isinstance(next(first), Waiting)
    assert next(second) == Waiting(1) and next(third) == Waiting(2)

    studio.stop("b")
    with pytest.raises(StoppedError):
        next(second)
    assert next(third) == Waiting(1)
    StageNetworks.seconds = 0.0
    assert [isinstance(list(job)[-1], Outcome) for job in (first, third)] == [True, True]
    assert not list(folders[1].iterdir())
