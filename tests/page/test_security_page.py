"""The numbers of docs/security.md are those of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentsync.cli import page as program
from latentsync.media.limits import MediaLimits
from latentsync.page import jobs, login, uploads
from latentsync.page.routes import OPEN
from latentsync.page.scene_values import MOST_BYTES, MOST_SEGMENTS
from latentsync.page.server import KEEP_SECONDS
from latentsync.page.storage import StorageLimits, UploadLimits
from latentsync.web import listener

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8").split())
MEDIA, STORAGE, UPLOADS = MediaLimits(), StorageLimits(), UploadLimits()
SAID = {
    "files": f"{MEDIA.bytes / 1e6:.0f} MB, {MEDIA.seconds / 60:.0f} minutes, {MEDIA.pixels / 1e6:.1f} megapixels a "
    f"frame, {MEDIA.fps} frames a second",
    "a visitor's room": f"| {STORAGE.per_visitor / 1e9:.0f} GB | `--visitor_gb` |",
    "everybody's room": f"| {STORAGE.in_all / 1e9:.0f} GB | `--total_gb` |",
    "the reserve": f"| {STORAGE.reserve / 1e9:.0f} GB | `--reserve_gb` |",
    "an upload": f"{UPLOADS.seconds / 60:.0f} minutes, {UPLOADS.idle_seconds:.0f} s between two pieces of it; "
    f"{UPLOADS.at_once} at once | `--upload_minutes` |",
    "other requests": f"any other request has {uploads.MOST_JSON / 2**20:.0f} MB and {uploads.JSON_SECONDS:.0f} s",
    "jobs": f"{jobs.QUEUE_LENGTH}, of one visitor {jobs.QUEUE_LENGTH // 2}",
    "looks": f"{jobs.LOOK_SECONDS:.0f} s; {jobs.LOOKS_WAITING} files wait, of one visitor {jobs.LOOKS_WAITING // 2}",
    "surveys": f"who is seen when | {jobs.SURVEY_SECONDS / 60:.0f} minutes",
    "scenes": f"| {MOST_SEGMENTS} segments; a file of it {MOST_BYTES / 2**20:.0f} MB |",
    "how long": f"files are kept | {KEEP_SECONDS / 3600:.0f} hours",
    "heads": f"within {listener.HEAD_SECONDS:.0f} s; {listener.MOST_CONNECTIONS} connections",
    "passwords": f"after {login.MOST_FAILURES} wrong passwords for a name from one address, none is looked at for "
    f"{login.FAILURE_SECONDS:.0f} s",
    "routes": f"{len(OPEN)} routes are answered",
}


@pytest.mark.parametrize("sentence", SAID.values(), ids=SAID)
def test_a_number_is_the_programs(sentence):
    assert sentence in PAGE


def test_the_options_are_the_programs():
    options = program.parse_arguments([])
    names = ["auth", "allow_host", "host", "visitor_gb", "total_gb", "reserve_gb", "share", "upload_minutes"]
    assert all(hasattr(options, name) for name in names)
    assert options.host == "127.0.0.1" and (options.visitor_gb, options.total_gb, options.reserve_gb) == (2, 20, 1)
