"""The page in a real browser: what a visitor does, from upload to download."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from latentsync.media.video import VideoFile
from latentsync.scene.files import read_scene
from tests.media.hostile.uploads import web_page
from tests.media.synthetic import tone, write_clip, write_wav
from tests.page.browser import SIZE, TIMEOUT, chromium, lasting_context, leave
from tests.page.stage import StageNetworks, below, green_people, wait_until

expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def contexts(browser: Browser, served):
    """Of two visitors. They stay, since the page is in their caches; nothing may be asked of another server."""
    asked = []
    contexts = [lasting_context(browser) for _ in range(2)]
    for context in contexts:
        context.on("request", lambda request: asked.append(request.url))
    yield contexts
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith((served[0], "data:", "blob:"))]


@pytest.fixture
def visit(contexts, served):
    """Opens the page, each time of a test as another visitor who was never here."""
    pages = []

    def open_page(viewport=SIZE, color_scheme="light") -> Page:
        page = contexts[len(pages)].new_page()
        pages.append(page)
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        page.goto(served[0])
        page.wait_for_selector("#run")
        return page

    yield open_page
    for page in pages:
        leave(page)


@pytest.fixture(scope="class")
def page_with_files(contexts, served, example):
    """A page to which video and audio were brought."""
    page = contexts[0].new_page()
    page.goto(served[0])
    bring(page, example)
    yield page
    leave(page)


def bring(page: Page, example):
    """Upload a video and a sound, and wait for the faces and what is below them: then nothing moves any more."""
    page.set_input_files("#video input[type=file]", str(example.video))
    page.set_input_files("#audio input[type=file]", str(example.audio))
    expect(page.locator("#people img")).to_have_count(2)
    expect(page.locator("#audio")).to_contain_text("0:02")
    expect(page.locator("#scene .person img")).to_have_count(2)


def pick(page: Page, number: int):
    page.locator("#people button.thumbnail-item").nth(number - 1).click()
    expect(page.locator("#face input")).to_have_value(f"Person {number}, from 0.0 s")


def finish(page: Page, button: str, words: str):
    page.click(button)
    expect(page.locator("#report")).to_contain_text(words)
    expect(page.locator(".status.done")).to_be_visible()


def download(page: Page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click("#get-video")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_from_upload_to_download(visit, example, tmp_path):
    page = visit()
    expect(page.locator("#models")).to_contain_text("Built-in models")
    bring(page, example)
    pick(page, 2)
    finish(page, "#try", "25 frames, 1.0 s")
    loads = len(StageNetworks.loads)
    finish(page, "#run", "50 frames, 2.0 s")
    assert len(StageNetworks.loads) == loads
    for player in ("#source", "#result"):
        page.wait_for_function("id => document.querySelector(`${id} video`)?.readyState >= 2", arg=player)
    page.click("#play")
    page.wait_for_function("document.querySelector('#result video').currentTime > 0")
    result = download(page, tmp_path)
    assert result.name == "two_dubbed.mp4"
    assert VideoFile(result).info.n_frames == 50 and green_people(result) == {"right"}


def test_two_people_have_a_sound_each(visit, example, tmp_path):
    page = visit(viewport={"width": 390, "height": 844})
    page.set_input_files("#video input[type=file]", str(example.video))
    expect(page.locator("#scene .person img")).to_have_count(2)
    for number, seconds in enumerate((1.2, 0.8)):  # one after the other
        page.set_input_files(f"#bring-{number}", str(write_wav(tmp_path / f"{number}.wav", tone(seconds))))
        expect(page.locator("#scene .bar")).to_have_count(number + 1)
    assert [page.locator(f"#{name}").input_value() for name in ("start-1", "end-1")] == ["1.2", "2"]
    page.locator("#bar-1").press("ArrowLeft")
    expect(page.locator("#start-1")).to_have_value("1.16")
    expect(page.locator("#scene-account")).to_contain_text("2 segments")
    page.locator("#scene summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(PALE) == page.evaluate(UNNAMED) == []
    finish(page, "#run", "60 frames, 2.4 s")
    result = VideoFile(download(page, tmp_path))
    changed = [green_people(result.info.path, at) for at in (10, 40, 55)]
    assert changed == [{"left"}, {"right"}, set()]


# Whether the scene file that can be saved has these words.
SAVED = """(words) => {
  const text = atob(document.querySelector("#scene-account a.save").href.split(",")[1]);
  return words.every((each) => text.includes(each)); }"""


@pytest.mark.slow
def test_a_scene_of_another_program_is_opened_mended_moved_saved_and_there_again(visit, example, tmp_path):
    turns = tmp_path / "talk.srt"
    turns.write_text("1\n00:00:00,000 --> 00:00:01,000\nAnna: a\n\n2\n00:00:01,200 --> 00:00:02,000\nBen: b\n")
    page = visit()
    bring(page, example)
    page.set_input_files("#scene [data-open]", str(turns))
    expect(page.locator("#scene-account .wrong")).to_contain_text("Which face is Anna?")
    for name, person in (("Anna", "Person 2"), ("Ben", "Person 1")):
        page.get_by_label(f"Face of {name}").select_option(person)
        expect(page.get_by_label(f"Face of {name}")).to_have_count(0)
    expect(page.locator("#scene-account")).to_contain_text("2 segments")
    box, lane = page.locator("#bar-1").bounding_box(), page.locator("#scene .lane").first.bounding_box()
    where = box["x"] + box["width"] / 2, box["y"] + 10
    page.mouse.move(*where)
    page.mouse.down()
    page.mouse.move(where[0] + lane["width"] / 6, where[1], steps=3)  # 0.4 s later
    page.mouse.up()
    expect(page.locator("#start-1")).to_have_value("1.6")
    page.locator("#end-0").fill("0.8")
    page.locator("#end-0").press("Tab")
    page.wait_for_function(SAVED, arg=["end: 0.8", "start: 1.6"])
    with page.expect_download() as waiting:
        page.get_by_text("Save the scene file").click()
    waiting.value.save_as(tmp_path / "scene.yaml")
    saved = read_scene(tmp_path / "scene.yaml")
    assert [each.name for each in saved.speakers()] == ["Ben", "Anna"] and saved.segments[0].end == Fraction(4, 5)
    finish(page, "#run", "60 frames, 2.4 s")
    page.reload()
    expect(page.locator("#scene .bar")).to_have_count(2)
    expect(page.locator("#end-0")).to_have_value("0.8")


class TestOnePage:
    """One visitor does one thing after another."""

    def test_stop_ends_the_work_and_the_page_goes_on(self, page_with_files, served, page_folder, held):
        page, start = page_with_files, StageNetworks.steps
        page.click("#run")
        wait_until(lambda: StageNetworks.steps > start)
        expect(page.locator(".status.running")).to_contain_text("Dubbing")
        page.click("#stop")
        expect(page.locator("#status")).to_contain_text("Stopped")
        held.set()
        wait_until(lambda: not len(served[1]))
        assert StageNetworks.steps <= start + 2  # of 40: a step for each thread
        wait_until(lambda: not [path for path in below(page_folder) if path.suffix == ".part"])
        expect(page.locator("#stop")).to_be_disabled()
        finish(page, "#run", "50 frames")

    def test_a_double_click_is_one_job(self, page_with_files, served, held):
        page = page_with_files
        page.dblclick("#run")
        expect(page.locator(".status.running")).to_contain_text("Dubbing")
        with page.expect_response("**/queue/join*"):
            page.click("#try")
        # The second of two clicks is refused by the browser or, if it was quicker than that, by the server as well.
        expect(page.get_by_text("Your last job is not done yet. Wait for it, or stop it.").last).to_be_visible()
        assert len(served[1]) == 1
        expect(page.locator(".status.running")).to_contain_text("Dubbing")
        held.set()
        expect(page.locator(".status.done")).to_be_visible()

    def test_an_emptied_number_has_its_default(self, page_with_files, held):
        page = page_with_files
        page.get_by_text("More settings").click()
        for field in ("#steps", "#guidance", "#seed"):
            page.locator(f"{field} input").fill("")
        page.click("#run")
        expect(page.locator(".status.running")).to_contain_text("Dubbing")
        held.set()
        expect(page.locator(".status.done")).to_be_visible()
        expect(page.locator("#report")).to_contain_text("seed 1247")
        page.locator("#steps input").fill("3.5")
        page.click("#run")
        expect(page.locator(".status.failed")).to_contain_text("Steps: 3.5 is not possible. Give a whole number")


def test_an_error_is_a_sentence_and_the_page_lives_on(visit, example, tmp_path):
    page = visit()
    page.click("#run")
    expect(page.locator(".status.failed")).to_contain_text("A video and a sound are needed")
    page.set_input_files("#video input[type=file]", str(web_page(tmp_path / "film.mp4")))
    expect(page.locator("#people-line")).to_contain_text("film.mp4 is a web page, not a media file.")
    page.set_input_files("#audio input[type=file]", str(example.audio))
    expect(page.locator("#audio")).to_contain_text("0:02")
    page.click("#run")
    expect(page.locator(".status.failed")).to_contain_text("Download the file itself.")
    assert "Traceback" not in page.content()
    page.get_by_text("Two people").click()
    expect(page.locator("#people img")).to_have_count(2)
    expect(page.locator(".status.failed")).to_have_count(0)  # it was about another file


# What of a name the upload lets through.
HOSTILE = "__bold__ ~~gone~~ [link](www.example.org) a@example.org <img src=x onerror=alert(1)>"


def test_names_of_files_are_never_read_as_markup(visit, example, tmp_path):
    page, scripts = visit(), []
    page.on("dialog", lambda dialog: (scripts.append(dialog.message), dialog.dismiss()))
    page.set_input_files(
        "#video input[type=file]",
        {"name": f"{HOSTILE}.mp4", "mimeType": "video/mp4", "buffer": web_page(tmp_path / "a").read_bytes()},
    )
    expect(page.locator("#people-line")).to_contain_text("is a web page, not a media file.")
    assert "__bold__ ~~gone~~ [link](www.example.org) a@example.org" in page.locator("#people-line").inner_text()
    assert page.locator("#people-line").locator("img, em, del, a, script, .katex").count() == 0
    page = visit()
    page.set_input_files("#video input[type=file]", str(example.video))
    expect(page.locator("#people img")).to_have_count(2)
    silent = write_wav(tmp_path / "silent.wav", 0 * tone(2.0))
    page.set_input_files(
        "#audio input[type=file]", {"name": f"{HOSTILE}.wav", "mimeType": "audio/wav", "buffer": silent.read_bytes()}
    )
    expect(page.locator("#audio")).to_contain_text("0:02")
    finish(page, "#run", "is silent")
    assert (
        "__bold__ ~~gone~~ [link](www.example.org) a@example.org" in page.locator("#report").inner_text()
        and "/tmp" not in page.locator("#report").inner_text()
    )
    for place in ("#people-line", "#report", "#status"):
        inside = page.locator(place)
        assert inside.locator("img, em, del, a, script, .katex").count() == 0
        assert "bold" not in "".join(inside.locator("strong").all_inner_texts())
    assert scripts == []


def test_a_sound_that_is_none_is_said_beside_it(visit, tmp_path):
    page = visit()
    page.set_input_files("#audio input[type=file]", str(web_page(tmp_path / "sound.wav")))
    expect(page.locator("#audio-line")).to_contain_text("Not taken. sound.wav is a web page")
    page.get_by_text("Two people").click()
    expect(page.locator("#audio-line")).to_contain_text("What is to be said.")


LATE_STREAMS = """
(() => {
  const plain = window.fetch;
  const late = () => new TransformStream({transform: async (piece, controller) => {
    await new Promise((go) => setTimeout(go, 700));
    controller.enqueue(piece);
  }});
  window.fetch = async (...request) => {
    const answer = await plain(...request);
    const isStream = String(request[0].url ?? request[0]).includes("queue/data");
    return isStream ? new Response(answer.body.pipeThrough(late()), answer) : answer;
  };
})()
"""


def test_what_is_asked_while_the_end_of_a_stream_is_on_its_way_is_answered(contexts, served, tmp_path):
    """What the page asks when it is loaded has been answered when the file arrives; the browser learns of it later."""
    page = contexts[0].new_page()
    page.add_init_script(LATE_STREAMS)
    page.goto(served[0])
    page.set_input_files("#audio input[type=file]", str(web_page(tmp_path / "sound.wav")))
    expect(page.locator("#audio-line")).to_contain_text("Not taken. sound.wav is a web page")
    leave(page)


def test_the_sound_of_a_film(visit, example, tmp_path):
    film = write_clip(tmp_path / "film.mp4", 50, sound=tone(2.0))
    page = visit()
    page.set_input_files("#video input[type=file]", str(example.video))
    with page.expect_file_chooser() as waiting:
        page.click("#audio-source")
    waiting.value.set_files(str(film))
    expect(page.locator("#audio")).to_contain_text("0:02")
    expect(page.locator("#people img")).to_have_count(2)
    finish(page, "#run", " frames, 2.0 s")  # 50, and what the encoder of the sound adds


def test_who_waits_is_told_and_may_stop(visit, example, served, held):
    first, second = visit(), visit()
    for page in (first, second):
        bring(page, example)
    first.click("#run")
    expect(first.locator(".status.running")).to_contain_text("Dubbing")
    second.click("#run")
    expect(second.locator(".status.running")).to_contain_text("Waiting for another job to end")
    second.click("#stop")
    expect(second.locator("#status")).to_contain_text("Stopped")
    assert len(served[1]) == 1
    held.set()
    expect(first.locator(".status.done")).to_be_visible()


def test_two_visitors_at_once(visit, example, tmp_path):
    pages = [visit(), visit()]
    for number, page in enumerate(pages, 1):
        bring(page, example)
        pick(page, number)
    StageNetworks.seconds = 0.02
    for page in pages:
        page.click("#run")
    results = []
    for number, page in enumerate(pages):
        expect(page.locator(".status.done")).to_be_visible()
        (tmp_path / str(number)).mkdir()
        results.append(download(page, tmp_path / str(number)))
    assert [green_people(result) for result in results] == [{"left"}, {"right"}]
    addresses = [page.locator("#result video").get_attribute("src") for page in pages]
    assert Path(addresses[0]).parents[1] != Path(addresses[1]).parents[1]


# Texts whose contrast with what they stand on is below 4.5 : 1; what cannot be used now is left out (WCAG 2.2, 1.4.3).
PALE = """() => {
  const light = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const pale = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || e.closest("[disabled], script, style")) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    let ground = e;
    while (ground && numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const under = ground ? numbers(getComputedStyle(ground).backgroundColor).slice(0, 3) : [255, 255, 255];
    const two = [light(numbers(getComputedStyle(e).color).slice(0, 3)), light(under)];
    if ((Math.max(...two) + 0.05) / (Math.min(...two) + 0.05) < 4.5) pale.push(e.outerHTML.slice(0, 200));
  }
  return pale; }"""
UNNAMED = """() => [...document.querySelectorAll("input, textarea, select, button, [role=button], [role=slider]")]
  .filter((e) => e.checkVisibility() && e.type !== "file")
  .filter((e) => !(e.ariaLabel || e.title || e.innerText?.trim() || e.labels?.length))
  .map((e) => e.outerHTML.slice(0, 200))"""


def expect_colors(page: Page, dark: bool):
    page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=dark)


def expect_legible(page: Page):
    """Once colors that change have changed."""
    with suppress(TimeoutError):
        page.wait_for_function(f"() => ({PALE})().length === 0")
    assert page.evaluate(PALE) == []


def test_every_text_is_legible(visit, example):
    page = visit()
    expect_colors(page, dark=False)
    expect_legible(page)
    bring(page, example)
    page.get_by_text("More settings").click()
    finish(page, "#try", "25 frames")
    expect_legible(page)
    page.emulate_media(color_scheme="dark")
    expect_colors(page, dark=True)
    expect_legible(page)


def test_phone_dark_and_keyboard(visit, example):
    page = visit(viewport={"width": 390, "height": 844}, color_scheme="dark")
    expect_colors(page, dark=True)
    expect_legible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    page.get_by_text("More settings").click()
    assert page.evaluate(UNNAMED) == []
    expect(page.locator("#play")).to_be_hidden()  # there is nothing to compare yet
    bring(page, example)
    page.locator("#people button.thumbnail-item").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#face input")).to_have_value("Person 2, from 0.0 s")
    page.locator("#try").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".status.done")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached |= set(
            page.evaluate("""() => {
            const ids = [];
            for (let e = document.activeElement; e; e = e.parentElement) if (e.id) ids.push(e.id);
            return ids; }""")
        )
    settings = {"people", "face", "preset", "length", "more", "checkpoint", "steps", "guidance", "seed", "quality"}
    assert settings | {"video", "audio", "audio-source", "examples", "moment", "try", "run"} <= reached
    assert {"play", "get-video", "get-report"} <= reached
