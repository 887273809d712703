"""Every kind of source on the page in a real browser: the result plays, and nothing is said to be wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from latentsync.media.video import VideoFile
from latentsync.page.fair_queue import Visitor
from latentsync.page.request import JobRequest
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import VisitorFolders
from tests.media.synthetic import tone, write_clip
from tests.page.browser import TIMEOUT, chromium
from tests.page.firefox import firefox
from tests.page.stage import FPS, draw, green_people

expect.set_options(timeout=TIMEOUT)
FRAMES = 25
HLG = {"color_primaries": 9, "color_trc": 18, "colorspace": 9}


def with_clear_edge(pixels: np.ndarray) -> np.ndarray:
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    return np.dstack([pixels, alpha])


def with_odd_edges(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge")


@dataclass(frozen=True)
class Kind:
    """How a source is written: the end of its name, its codec, and what is done to its frames before."""

    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    change: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels
    settings: dict[str, Any] | None = None

    def write(self, folder: Path) -> Path:
        frames = (self.change(draw(number)) for number in range(FRAMES))
        opus = {"sound_codec": "libopus", "sound_rate": 48_000} if self.suffix == ".webm" else {}
        audio = tone(1.0, 48_000 if opus else 16_000)
        settings = {"fps": FPS, "sound": audio, **opus, **(self.settings or {})}
        return write_clip(folder / f"two{self.suffix}", frames, codec=self.codec, pix_fmt=self.pix_fmt, **settings)


KINDS = {
    "H.264 in MP4": Kind(".mp4", "libx264"),
    "HEVC in MOV": Kind(".mov", "libx265", settings={"options": {"x265-params": "log-level=none"}}),
    "VP9 in WebM": Kind(".webm", "libvpx-vp9", settings={"options": {"deadline": "realtime", "cpu-used": "8"}}),
    "MPEG-4 in AVI": Kind(".avi", "mpeg4", settings={"options": {"qscale": "2"}}),
    "MJPEG in MKV": Kind(".mkv", "mjpeg", "yuvj420p"),
    "ProRes with alpha": Kind(".mov", "prores_ks", "yuva444p10le", with_clear_edge),
    "odd size": Kind(".mkv", "libvpx-vp9", "yuv420p", with_odd_edges, {"options": {"cpu-used": "8"}}),
    "4:4:4": Kind(".mp4", "libx264", "yuv444p"),
    "4:2:2": Kind(".mp4", "libx264", "yuv422p"),
    "10 bits, HLG": Kind(
        ".mov", "libx265", "yuv420p10le", settings={"options": {"x265-params": "log-level=none"}, **HLG}
    ),
    "variable rate": Kind(
        ".mp4", "libx264", settings={"times": [Fraction(n, 25) + Fraction(n % 3, 300) for n in range(FRAMES)]}
    ),
    "interlaced": Kind(".mp4", "libx264", settings={"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}}),
}
NOTED = {
    "ProRes with alpha": "what is transparent in the source is black",
    "odd size": "321 x 201 pixels are odd",
    "4:2:2": "the colors of the source are 4:2:2",
    "10 bits, HLG": "BT.709",
}
EVERY_TIME = ("HEVC in MOV", "ProRes with alpha", "odd size")

# What a player of the page shows: its size, how bright it is on average, and how loud what it holds is.
SHOWN = """async (player) => {
  const video = document.querySelector(`${player} video`);
  const canvas = Object.assign(document.createElement("canvas"), {width: 32, height: 20});
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0, 32, 20);
  const pixels = drawing.getImageData(0, 0, 32, 20).data;
  const file = await (await fetch(video.src)).arrayBuffer();
  const audio = (await new OfflineAudioContext(1, 1, 48000).decodeAudioData(file)).getChannelData(0);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {width: video.videoWidth, height: video.videoHeight, error: video.error, brightness: mean(pixels),
          loudness: Math.sqrt(mean(audio.map((value) => value * value))), source: video.src};
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, served, example, monkeypatch):
    """A page that knows where the faces are in every kind of the same video."""
    monkeypatch.setattr(served[1], "_detector", lambda video: str(example.faces))
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    page.goto(served[0])
    page.wait_for_selector("#run")
    yield page
    context.close()


def watch_errors(page: Page) -> None:
    """Have the page keep what Gradio calls an error."""
    page.evaluate("""() => {
      window.errors = [];
      new MutationObserver(() => {
        for (const toast of document.querySelectorAll(".toast-body.error")) window.errors.push(toast.innerText);
      }).observe(document.body, {subtree: true, childList: true});
    }""")


def plays_or_says_why_not(page: Page, player: str) -> bool:
    """Whether a player shows its video; if not, it says so calmly."""
    page.wait_for_function(
        "id => document.querySelector(`${id} video`)?.videoWidth || document.querySelector(`${id}[data-unplayable]`)",
        arg=player,
    )
    said = page.locator(player).get_attribute("data-unplayable")
    assert said is None or "This browser does not play" in said
    return said is None


@pytest.mark.parametrize(
    "name", [name if name in EVERY_TIME else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_the_result_of_every_kind_plays(page, example, tmp_path, programs, name):
    source = KINDS[name].write(tmp_path)
    watch_errors(page)
    page.set_input_files("#video input[type=file]", str(source))
    page.set_input_files("#audio input[type=file]", str(example.audio))
    expect(page.locator("#people img")).to_have_count(2)
    plays_or_says_why_not(page, "#video")
    page.click("#run")
    expect(page.locator(".status.done")).to_be_visible()
    assert plays_or_says_why_not(page, "#result")
    plays_or_says_why_not(page, "#source")
    page.click("#play")
    page.wait_for_function("document.querySelector('#result video').currentTime > 0")
    shown = page.evaluate(SHOWN, "#result")
    assert (shown["width"], shown["height"]) == ((322, 202) if name == "odd size" else (320, 200))
    assert shown["error"] is None and shown["brightness"] > 30 and shown["loudness"] > 0.05
    assert shown["source"].endswith("two_dubbed.mp4")
    assert page.evaluate("window.errors") == [] and programs() == ""
    with page.expect_download() as waiting:
        page.click("#get-video")
    result = tmp_path / "result.mp4"
    waiting.value.save_as(result)
    info = VideoFile(result).info
    assert (info.codec, info.audio[0].codec) == ("h264", "aac")
    assert info.pix_fmt == ("yuvj420p" if name == "MJPEG in MKV" else "yuv420p")  # of full range, as the source
    assert info.color.transfer not in (16, 18)  # 8 bits are no HDR
    assert len(green_people(result)) == 1
    report = page.locator("#report").inner_text()
    assert NOTED.get(name, "") in report and "--" not in report


@pytest.mark.slow
def test_every_result_plays_in_firefox(served, example, tmp_path, page_folder, monkeypatch):
    """Its page is opened at the addresses of jobs that are done."""
    address, jobs = served
    monkeypatch.setattr(jobs, "_detector", lambda video: str(example.faces))
    folder = next(path for path in page_folder.glob("latentsync_page_*") if path.is_dir())
    folders = VisitorFolders(Storage(folder, StorageLimits(reserve=0)), keep_seconds=1000)
    with firefox(tmp_path / "profile") as browser:
        for number, (name, kind) in enumerate(KINDS.items()):
            place = folder / f"kind_{number}"
            place.mkdir()
            audio = shutil.copy(example.audio, place)
            request = JobRequest(kind.write(place), Path(audio), checkpoint=next(iter(jobs.weights)))
            job = jobs.kept.keep(jobs.begin(request, folders, Visitor("address", name)))
            browser.open(f"{address}#job={job}")
            browser.wait_for("document.querySelector('.status.done')")
            browser.wait_for("document.querySelector('#result video')?.readyState >= 2")
            shown = browser.run(SHOWN, "#result")
            assert isinstance(shown, dict), (name, shown)
            assert (shown["width"], shown["height"]) == ((322, 202) if name == "odd size" else (320, 200)), name
            assert shown["error"] is None and shown["brightness"] > 30 and shown["loudness"] > 0.05, name
            assert not browser.run("async () => document.querySelector('#result[data-unplayable]') !== null"), name
