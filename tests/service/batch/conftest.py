"""Four jobs, and a stand-in for the dub that notes what it was asked for."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from latentsync.service import runner
from tests.service.batch.stand_in import write_jobs


@pytest.fixture
def files(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text(f"video {number}")
        (tmp_path / f"{number}.wav").write_text(f"audio {number}")
    rows = [{"video": f"{n}.mp4", "audio": f"{n}.wav", "output": f"{n}.mp4"} for n in range(4)]
    write_jobs(tmp_path, rows)
    return tmp_path


@pytest.fixture
def dubbed(monkeypatch):
    """What a stand-in for the dub was asked for, and a hook that may raise."""
    made = SimpleNamespace(requests=[], before=lambda request: None)

    def dub(request, control, networks):
        made.requests.append(request)
        made.before(request)
        assert request.overwrite or not request.output.exists()
        request.output.write_text(f"of {request.audio.read_text()}, {time.monotonic_ns()}")
        return SimpleNamespace(to_json=lambda: '{"frames": 1}')

    monkeypatch.setattr(runner, "dub", dub)
    made.names = lambda: [request.output.stem for request in made.requests]
    return made
