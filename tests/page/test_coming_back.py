"""The page in a real browser that loses its connection, is loaded again, or is closed: the job lives."""

from __future__ import annotations

from contextlib import closing

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.page.browser import TIMEOUT, chromium, lasting_context, leave
from tests.page.line import line_to
from tests.page.stage import StageNetworks, stage, wait_until

expect.set_options(timeout=TIMEOUT)

LOOK_OUT = """text => {  // for what is shown for some seconds only
  const look = () => { window.seen ||= document.body.textContent.includes(text); };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def lasting(browser):
    with closing(lasting_context(browser)) as context:
        yield context


@pytest.fixture
def context(lasting, served):
    yield lasting
    lasting.set_offline(False)
    for page in lasting.pages:
        leave(page)
    StageNetworks.go_on.set()
    wait_until(lambda: not len(served[1]))  # of what was left, for the next test


def visit(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#run")
    return page


def begin(page: Page, example) -> str:
    """Start a dub that stands still, and give the address of the page then."""
    page.set_input_files("#video input[type=file]", str(example.video))
    page.set_input_files("#audio input[type=file]", str(example.audio))
    expect(page.locator("#people img")).to_have_count(2)
    expect(page.locator("#audio")).to_contain_text("0:02")
    expect(page.locator("#scene .person img")).to_have_count(2)  # what is below the faces has its place
    page.locator("#people button.thumbnail-item").nth(1).click()
    expect(page.locator("#face input")).to_have_value("Person 2, from 0.0 s")
    page.click("#run")
    expect(page.locator(".status.running")).to_contain_text("Dubbing")
    page.wait_for_function("location.hash.startsWith('#job=')")
    return page.url


def expect_result(page: Page):
    expect(page.locator(".status.done")).to_be_visible()
    expect(page.locator("#report")).to_contain_text("50 frames, 2.0 s")
    for player in ("#source", "#result"):
        page.wait_for_function("id => document.querySelector(`${id} video`)?.readyState >= 2", arg=player)


def nobody_follows(jobs) -> bool:
    return all(not kept.sessions for kept in jobs.kept._kept.values())


def test_a_page_that_is_loaded_again_has_its_job_and_its_settings(context, served, example, held):
    page = visit(context, served[0])
    page.get_by_text("More settings").click()
    page.locator("#steps input").fill("7")
    address = begin(page, example)
    page.reload()
    expect(page.locator(".status.running")).to_contain_text("Dubbing")
    assert page.url == address and len(served[1]) == 1
    expect(page.locator("#face input")).to_have_value("Person 2, from 0.0 s")
    expect(page.locator("#audio")).to_contain_text("0:02")
    page.get_by_text("More settings").click()
    expect(page.locator("#steps input")).to_have_value("7")
    held.set()
    expect_result(page)
    page.reload()  # what was seen is there again
    expect_result(page)


def test_a_browser_that_is_offline_for_a_while(context, served, example, held):
    page = visit(context, served[0])
    begin(page, example)
    context.set_offline(True)
    held.set()
    wait_until(lambda: not len(served[1]))  # it is done meanwhile
    page.wait_for_timeout(1000)  # what is under way arrives, and asks for a video that it does not get
    context.set_offline(False)
    expect_result(page)


def test_a_connection_that_breaks_and_comes_back(context, served, example, held):
    with line_to(served[0]) as line:
        page = visit(context, line.address)
        address = begin(page, example)
        page.evaluate(LOOK_OUT, "Connection to the server was lost.")
        line.cut()
        wait_until(lambda: nobody_follows(served[1]))
        page.wait_for_function("window.seen")
        held.set()
        wait_until(lambda: not len(served[1]))
        line.mend()
        expect_result(page)
        assert page.url == address


@pytest.mark.parametrize("by", ["the address", "the browser"])
def test_a_page_that_is_closed_and_opened_again(context, served, example, held, by):
    page = visit(context, served[0])
    address = begin(page, example)
    page.close()
    wait_until(lambda: nobody_follows(served[1]))
    held.set()
    page = visit(context, address if by == "the address" else served[0])
    expect_result(page)
    assert page.url == address


def test_a_page_that_is_opened_again_can_stop_its_job(context, served, example, held):
    page = visit(context, served[0])
    begin(page, example)
    page.reload()
    expect(page.locator(".status.running")).to_contain_text("Dubbing")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped")
    page.wait_for_function("location.hash === ''")
    held.set()
    wait_until(lambda: not len(served[1]))
    page.reload()
    expect(page.locator("#status")).to_contain_text("Nothing is running.")


@pytest.mark.slow
def test_a_new_page_of_a_browser_whose_job_is_followed_or_seen_begins_anew(context, served, example, held):
    first = visit(context, served[0])
    address = begin(first, example)
    second = visit(context, served[0])
    expect(second.locator("#status")).to_contain_text("Nothing is running.")
    held.set()
    expect_result(first)
    second.reload()
    expect(second.locator("#status")).to_contain_text("Nothing is running.")
    second.goto(address)
    expect_result(second)


def test_another_visitor_has_nothing_of_it(browser, context, served, example, held):
    begin(visit(context, served[0]), example)
    other = browser.new_context()
    other.set_default_timeout(TIMEOUT)
    page = visit(other, served[0])
    expect(page.locator("#status")).to_contain_text("Nothing is running.")
    page = visit(other, f"{served[0]}#job={'A' * 32}")
    expect(page.locator("#status")).to_contain_text("The job of this address is not here any more.")
    other.close()


def test_who_leaves_for_good_frees_the_machine_and_the_files(context, example, tmp_path, monkeypatch, held):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with stage(example, grace_seconds=0.0) as (address, jobs):
        page = visit(context, address)
        page.set_input_files("#video input[type=file]", str(example.video))
        page.set_input_files("#audio input[type=file]", str(example.audio))
        expect(page.locator("#people img")).to_have_count(2)
        page.click("#run")
        expect(page.locator(".status.running")).to_contain_text("Dubbing")
        left = page.url
        page.close()
        wait_until(lambda: not len(jobs))
        held.set()
        wait_until(lambda: not list(tmp_path.glob("*/jobs/*/job_*")))
        page = visit(context, left)
        expect(page.locator("#status")).to_contain_text("The job of this address is not here any more.")


def test_a_connection_that_says_nothing_more_is_noticed(context, example, tmp_path, monkeypatch, held):
    """As those of a phone that has slept: neither side is told that it is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("latentsync.page.script.STALE_SECONDS", 2)
    monkeypatch.setattr("latentsync.page.handlers.BEAT_SECONDS", 1)
    with stage(example) as (address, jobs), line_to(address) as line:
        page = visit(context, line.address)
        begin(page, example)
        line.hush()
        held.set()
        expect_result(page)
