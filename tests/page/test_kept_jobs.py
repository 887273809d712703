"""Jobs whose visitors go away and come back, without a page around them."""

from __future__ import annotations

import pytest

from latentsync.errors import StoppedError, VideoError
from latentsync.page.fair_queue import RepeatedError, Visitor, Waiting
from latentsync.page.kept_jobs import JobGoneError, JobResult, KeptJobs
from latentsync.page.request import JobRequest
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import VisitorFolders
from tests.media.hostile.uploads import web_page
from tests.page.stage import below, wait_until

ANN, AGAIN = Visitor("address 192.0.2.1", "first page"), Visitor("address 198.51.100.1", "second page")
GRACE = 100.0


@pytest.fixture
def kept(clock):
    return KeptJobs(GRACE, clock)


@pytest.fixture
def jobs(served, kept, clock, monkeypatch):
    monkeypatch.setattr(served[1], "kept", kept)
    yield served[1]
    clock.now += 10 * GRACE
    kept.end_left()
    wait_until(lambda: not len(served[1]))


@pytest.fixture
def begin(jobs, kept, example, tmp_path):
    """Begin a job for a visitor, and give its name."""
    folders = VisitorFolders(Storage(tmp_path, StorageLimits(reserve=0)), keep_seconds=1000)

    def work(visitor=ANN, video=example.video):
        request = JobRequest(video, example.audio, checkpoint=next(iter(jobs.weights)))
        return kept.keep(jobs.begin(request, folders, visitor))

    return work


def results_in(folder):
    return [path for path in below(folder / "jobs") if path.suffix == ".mp4"]


def test_names_are_long_and_never_the_same(begin, held):
    names = [begin(Visitor(str(number), "")) for number in range(3)]
    assert len(set(names)) == 3 and all(len(name) >= 32 for name in names)


def test_a_job_goes_on_when_nobody_follows_it_and_is_found_again(begin, jobs, kept, tmp_path, held):
    name = begin()
    first = kept.follow(name, ANN)
    next(first)
    first.close()
    assert kept.find(name, AGAIN).awaits_its_visitor
    held.set()
    wait_until(lambda: not len(jobs))
    *_, result = kept.follow(name, AGAIN)
    assert isinstance(result, JobResult) and results_in(tmp_path) == [result.video]
    assert not kept.find(name, AGAIN).awaits_its_visitor


def test_a_job_that_is_left_for_too_long_ends_and_its_files_go(begin, jobs, kept, clock, tmp_path, held):
    name = begin()
    following = kept.follow(name, ANN)
    next(following)
    clock.now += 10 * GRACE
    kept.end_left()
    next(following)  # somebody follows it, however long it takes
    following.close()
    clock.now += GRACE - 1
    kept.end_left()
    assert len(jobs) == 1
    clock.now += 2
    kept.end_left()
    assert len(jobs) == 0
    with pytest.raises(JobGoneError):
        kept.find(name, ANN)
    held.set()
    wait_until(lambda: not [path for path in below(tmp_path / "jobs") if path.name.startswith("job_")])


def test_a_job_that_waits_is_left_as_well(begin, jobs, kept, clock, held):
    names = [begin(Visitor(f"address {number}", "")) for number in range(2)]
    assert next(kept.follow(names[1], ANN)) == Waiting(1)
    clock.now += GRACE + 1
    kept.end_left()
    assert len(jobs) == 0


def test_the_time_to_come_back_for_a_result_begins_with_it(begin, jobs, kept, clock, tmp_path, held):
    name = begin()
    clock.now += GRACE - 1  # as long as the work takes
    held.set()
    wait_until(lambda: not len(jobs))
    clock.now += GRACE - 1
    kept.end_left()
    assert kept.find(name, AGAIN)
    clock.now += 2
    kept.end_left()
    assert not results_in(tmp_path)


def test_a_result_that_was_seen_stays_as_long_as_its_files(begin, kept, clock, tmp_path):
    name = begin()
    *_, result = kept.follow(name, ANN)
    clock.now += 10 * GRACE
    kept.end_left()
    *_, again = kept.follow(name, AGAIN)
    assert again == result and results_in(tmp_path) == [result.video]
    result.video.unlink()
    with pytest.raises(JobGoneError):
        next(kept.follow(name, ANN))
    kept.end_left()
    assert not kept._kept


def test_no_more_results_than_a_number_can_be_opened_again(begin, kept, monkeypatch, tmp_path):
    monkeypatch.setattr("latentsync.page.kept_jobs.MOST_SEEN", 1)
    names = [begin(Visitor(str(number), "")) for number in range(2)]
    for name in names:
        list(kept.follow(name, ANN))
    kept.end_left()
    assert list(kept._kept) == names[1:] and len(results_in(tmp_path)) == 2


def test_what_went_wrong_is_said_to_who_comes_back_and_then_forgotten(begin, jobs, kept, tmp_path):
    name = begin(video=web_page(tmp_path / "in.mp4"))
    wait_until(lambda: not len(jobs))
    with pytest.raises(VideoError, match="web page"):
        list(kept.follow(name, AGAIN))
    with pytest.raises(JobGoneError):
        list(kept.follow(name, AGAIN))


def test_the_page_that_was_opened_again_stops_the_job_and_may_not_begin_another(begin, jobs, kept, held):
    name = begin()
    kept.follow(name, ANN).close()
    following = kept.follow(name, AGAIN)
    next(following)
    with pytest.raises(RepeatedError):
        begin(AGAIN)
    jobs.stop(ANN.session)
    next(following)
    jobs.stop(AGAIN.session)
    with pytest.raises(StoppedError):
        next(following)
    with pytest.raises(JobGoneError):
        kept.find(name, AGAIN)


def test_two_pages_follow_one_job_and_either_may_leave_or_stop_it(begin, jobs, kept, clock, held):
    name = begin()
    pages = [kept.follow(name, visitor) for visitor in (ANN, AGAIN)]
    for page in pages:
        next(page)
    pages[1].close()
    clock.now += GRACE + 1
    kept.end_left()
    next(pages[0])
    jobs.stop(ANN.session)
    with pytest.raises(StoppedError):
        next(pages[0])


def test_a_job_that_one_page_stops_while_it_waits_is_stopped_for_the_other(begin, jobs, kept, held):
    begin(Visitor("first in the queue", ""))
    name = begin()
    pages = [kept.follow(name, visitor) for visitor in (ANN, AGAIN)]
    assert [next(page) for page in pages] == [Waiting(1)] * 2
    jobs.stop(AGAIN.session)
    for page in pages:
        with pytest.raises(StoppedError):
            list(page)


@pytest.mark.parametrize("visitor, may", [("account anna", True), ("account ben", False), ("address 192.0.2.1", False)])
def test_behind_a_login_only_the_owner_comes_back(begin, kept, visitor, may, held):
    name = begin(Visitor("account anna", "page"))
    if may:
        assert kept.find(name, Visitor(visitor, "other page"))
    else:
        with pytest.raises(JobGoneError):
            next(kept.follow(name, Visitor(visitor, "other page")))
        with pytest.raises(JobGoneError):
            kept.find(name, Visitor(visitor, "page"))


@pytest.mark.parametrize("name", ["", "A" * 32, "../..", "\ud800"])
def test_a_name_that_was_made_up_is_nobodys(kept, name):
    with pytest.raises(JobGoneError, match="not here any more"):
        next(kept.follow(name, ANN))
