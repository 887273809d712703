"""What programs see of the page: its API by name, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from latentsync.inference.options import PRESETS
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import MediaLimits
from latentsync.media.video import VideoFile
from tests.media.hostile.uploads import gif_bomb, huge_frames, huge_png, playlist, ten_hours, web_page
from tests.media.synthetic import tone, write_clip, write_wav
from tests.page.stage import SECOND_CHECKPOINT, STEPS, StageNetworks, green_people, stage, wait_until

PAGE_DOC = Path(__file__).parents[2] / "docs" / "page.md"
TIMEOUT = 120  # s; the machine may be busy


def client_of(address, downloads=False):
    return Client(address, verbose=False, download_files=downloads, httpx_kwargs={"timeout": TIMEOUT})


@pytest.fixture
def client(served, tmp_path):
    return client_of(served[0], str(tmp_path / "downloads"))


def call(client, example, name="/dub", video=None, audio=None, **options):
    video, audio = handle_file(str(video or example.video)), handle_file(str(audio or example.audio))
    return client.submit(video, audio, api_name=name, **options).result(timeout=TIMEOUT)


def test_a_dub_by_name(client, example, page_folder):
    result, words, figures = call(client, example, face="240,100@0")
    assert green_people(Path(result)) == {"right"}
    assert VideoFile(result).info.n_frames == 50
    assert "50 frames, 2.0 s" in words and "Every frame was dubbed" in words
    assert figures["frames"] == 50 and figures["output"] == "two_dubbed.mp4"
    assert str(page_folder) not in json.dumps(figures)


def test_a_preview_by_name(client, example):
    result, words, figures = call(client, example, "/preview", moment=1.2)
    assert figures["frames"] == 25 and VideoFile(result).info.duration == 1
    assert "Preview from 0.7 s" in words


def test_a_mask_of_ones_own_by_name(client, example, tmp_path, page_folder):
    """Black is painted: here what is left of the middle of the canvas."""
    mask = np.zeros((64, 64), np.uint8)
    assert green_people(Path(call(client, example, "/preview", mask_file=saved(tmp_path, "none.png", mask))[0]))
    result, _, figures = call(client, example, "/preview", mask_file=saved(tmp_path, "all.png", mask + 255))
    assert not green_people(Path(result))
    assert figures["options"]["paste"]["mask"] == "all.png" and str(page_folder) not in json.dumps(figures)
    with pytest.raises(AppError, match=r"The mask wide\.png is 64 x 32 px, not square"):
        call(client, example, "/preview", mask_file=saved(tmp_path, "wide.png", mask[:32]))


def saved(folder, name, picture):
    cv2.imwrite(str(folder / name), picture)
    return handle_file(str(folder / name))


def test_the_api_is_what_the_readme_says(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/dub", "/preview"}
    names = [parameter["parameter_name"] for parameter in named["/dub"]["parameters"]]
    assert names == [
        "video",
        "audio",
        "checkpoint",
        "preset",
        "steps",
        "guidance_scale",
        "seed",
        "length",
        "quality",
        "face",
        "mask",
        "silence",
        "skip",
        "sync_gate",
        "occlusion",
        "mask_file",
        "scene",
    ]
    assert [value["label"] for value in named["/dub"]["returns"]] == ["Result", "Report", "Figures"]
    assert all(endpoint["description"] for endpoint in named.values())
    (presets,) = [each["type"] for each in named["/dub"]["parameters"] if each["parameter_name"] == "preset"]
    assert presets["enum"] == list(PRESETS)


def test_the_example_of_the_readme_runs_as_it_is(served, example, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(from gradio_client.*?)```", PAGE_DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert code.count("http://127.0.0.1:7860") == 1
    (tmp_path / "in.mp4").write_bytes(example.video.read_bytes())
    (tmp_path / "speech.wav").write_bytes(example.audio.read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("http://127.0.0.1:7860", served[0]), names)  # our own text
    assert Path(names["video"]).name == "in_dubbed.mp4" and VideoFile(names["video"]).info.n_frames == 50
    assert "50 frames" in names["report"] and names["figures"]["frames"] == 50


def test_a_seed_may_be_drawn_and_is_told(client, example):
    given = call(client, example, seed=5)
    drawn = [call(client, example, seed=-1) for _ in range(2)]
    assert given[2]["options"]["seed"] == 5 and "seed 5" in given[1]
    seeds = {figures["options"]["seed"] for _, _, figures in drawn}
    assert len(seeds) == 2 and min(seeds) >= 0
    assert all(f"seed {figures['options']['seed']}" in words for _, words, figures in drawn)


def test_networks_are_loaded_once_and_again_for_another_checkpoint(client, example):
    call(client, example)
    before = len(StageNetworks.loads)
    call(client, example)
    assert len(StageNetworks.loads) == before
    call(client, example, checkpoint=SECOND_CHECKPOINT)
    assert StageNetworks.loads[before:] != [] and StageNetworks.loads[-1] != WeightPaths.builtin()
    with pytest.raises(AppError, match="checkpoint|choices"):
        call(client, example, checkpoint="../../other")


def test_a_job_that_is_cancelled_stops_working(served, client, example):
    StageNetworks.seconds, start = 0.5, StageNetworks.steps  # 20 s, unless it is stopped
    job = client.submit(handle_file(str(example.video)), handle_file(str(example.audio)), api_name="/dub")
    wait_until(lambda: StageNetworks.steps > start)
    job.cancel()
    wait_until(lambda: not len(served[1]))
    stopped = StageNetworks.steps
    StageNetworks.seconds = 0.0
    result, _, _ = call(client, example)  # after the one that was stopped
    assert StageNetworks.steps - stopped <= 4 * STEPS + 2 and stopped - start < 4 * STEPS
    assert green_people(Path(result))


HOSTILE = {
    "10,000 x 10,000 pixels": (huge_frames, "evil.mp4"),
    "the same as PNG": (huge_png, "evil.mp4"),
    "GIF of gigabytes": (gif_bomb, "evil.mp4"),
    "ten hours": (ten_hours, "evil.mp4"),
    "HTML": (web_page, "evil.mp4"),
    "playlist": (playlist, "evil.mp4"),
    "sound": (lambda path: write_wav(path, tone(1.0), codec="aac"), "evil.m4a"),
    "name with tags": (web_page, "<img src=x onerror=alert(1)>.mp4"),
}


@pytest.mark.parametrize("make, name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_videos_are_refused_in_a_sentence(client, example, tmp_path, page_folder, make, name):
    video = make(tmp_path / name)
    with pytest.raises(AppError) as refused:
        call(client, example, video=video)
    sentence = str(refused.value)
    assert "evil" in sentence or "onerror" in sentence
    assert sentence.rstrip().endswith(".") and "Traceback" not in sentence and str(page_folder) not in sentence
    assert "<img" not in sentence
    assert not [path for path in page_folder.rglob("*_dubbed*") if path.suffix == ".part"]


def test_a_picture_as_the_sound(client, example):
    with pytest.raises(AppError, match="no sound track"):
        call(client, example, audio=example.video)


@pytest.mark.parametrize(
    "name", ["../../../evil.mp4", "..\\..\\evil.mp4", "/etc/evil.mp4", "a\0b.mp4", "." * 300 + ".mp4"]
)
def test_names_that_lead_elsewhere(served, page_folder, name):
    """Whatever a name says, the file lies below the page's folder, or nowhere."""
    boundary = "boundary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        f"Content-Type: video/mp4\r\n\r\nnothing\r\n--{boundary}--\r\n"
    ).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = httpx.post(f"{served[0]}gradio_api/upload", content=body, headers=headers, timeout=TIMEOUT)
    if answer.status_code == 200:
        (path,) = answer.json()
        assert Path(path).resolve().is_relative_to(page_folder) and Path(path).is_file()
    assert not list(page_folder.parent.glob("evil*")) and not Path("/etc/evil.mp4").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "http://127.0.0.1/video.mp4"])
def test_files_that_were_not_uploaded(served, page_folder, path):
    address = served[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    first = ["built-in models", "builtin", 0, 0, 0, "pingpong", "as the source", "largest"]
    settings = [*first, "face", "generate", "", "off", "auto"]
    event = httpx.post(f"{address}gradio_api/call/dub", json={"data": [file, file, *settings]}, timeout=TIMEOUT)
    answer = httpx.get(f"{address}gradio_api/call/dub/{event.json()['event_id']}", timeout=TIMEOUT)
    assert "event: error" in answer.text and "event: complete" not in answer.text
    assert "root:" not in answer.text
    assert httpx.get(f"{address}gradio_api/file={path}", timeout=TIMEOUT).status_code in (403, 404)


def test_the_page_binds_to_this_machine_and_says_its_limits_at_once(served):
    address = served[0]
    assert address.startswith("http://127.0.0.1:")
    config = httpx.get(f"{address}config", timeout=TIMEOUT).text
    assert "10 minutes" in config and "500 MB" in config and "Built-in models" in config
    assert httpx.get(address, timeout=TIMEOUT).status_code == 200


def test_a_queue_with_an_end_and_files_with_a_limit(example, tmp_path, monkeypatch, held):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with stage(example, MediaLimits(bytes=10**6), queue_length=2) as (address, _):
        client = client_of(address)
        files = [handle_file(str(example.video)), handle_file(str(example.audio))]
        jobs = [client.submit(*files, api_name="/dub") for _ in range(2)]
        wait_until(lambda: any(job.done() for job in jobs))
        (refused,) = [job for job in jobs if job.done()]
        with pytest.raises(AppError, match="Your last dub is not done yet. Wait for it, or stop it."):
            refused.result()
        other = client_of(address)  # from the same address, which has half the places
        with pytest.raises(AppError, match="1 of your jobs wait or run already; the other places are for others."):
            other.submit(*files, api_name="/dub").result(timeout=TIMEOUT)
        answer = httpx.post(
            f"{address}gradio_api/upload", files={"files": ("a.mp4", bytes(2 * 10**6))}, timeout=TIMEOUT
        )
        assert answer.status_code == 413
        held.set()
    assert not list(tmp_path.glob("latentsync_page_*"))  # nothing stays behind


def test_a_video_without_a_detector_says_what_is_missing(client, example, tmp_path):
    stranger = write_clip(tmp_path / "stranger.mp4", 10)
    with pytest.raises(AppError, match="No face detector|face"):
        call(client, example, video=stranger)
