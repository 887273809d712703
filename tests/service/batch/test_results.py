"""Inputs and results at addresses, with the file systems of fsspec that need no network."""

from __future__ import annotations

import json

import fsspec
import pytest

from latentsync.cli import batch as command
from latentsync.errors import ConfigError, PackageMissingError, StoreError
from latentsync.service import runner
from latentsync.service.batch import results
from tests.service.batch.stand_in import write_jobs


@pytest.fixture
def store():
    files = fsspec.filesystem("memory")
    files.store.clear()
    for number in range(3):
        files.pipe(f"/in/{number}.mp4", b"video")
    yield files
    files.store.clear()


@pytest.fixture
def far(files):
    rows = [{"video": f"memory://in/{n}.mp4", "audio": f"{n}.wav", "output": f"sub/{n}.mp4"} for n in range(3)]
    write_jobs(files, [*rows, rows[0] | {"video": "memory://in/none.mp4", "output": "none.mp4"}])
    return files


def run(files, *more):
    return command.main(["--jobs", str(files / "jobs.jsonl"), "--out", "memory://night/", *more])


def rows_of(store):
    return json.loads(store.cat("/night/summary.json"))["rows"]


def test_everything_may_lie_in_a_store(far, store, dubbed, capsys):
    assert run(far) == 1
    assert store.cat("/night/sub/1.mp4").startswith(b"of audio 1,")
    assert [row["state"] for row in rows_of(store)] == ["done", "done", "done", "failed"]
    assert rows_of(store)[1]["output"] == "memory://night/sub/1.mp4"
    assert "memory://in/none.mp4 is not there" in rows_of(store)[3]["error"]
    assert all(not request.output.exists() and not request.video.exists() for request in dubbed.requests)
    assert store.exists("/night/summary.html") and len(store.glob("/night/.jobs/*/report.json")) == 3
    assert run(far) == 1 and len(dubbed.requests) == 3, "what is done is known by its content"
    store.pipe("/in/1.mp4", b"another video")
    assert run(far) == 1 and dubbed.names()[3:] == ["1"]
    store.pipe("/night/sub/2.mp4", b"of somebody else")
    assert run(far) == 1 and store.cat("/night/sub/2.mp4") == b"of somebody else"
    assert "is there already" in rows_of(store)[2]["error"]
    assert run(far, "--overwrite") == 1 and store.cat("/night/sub/2.mp4").startswith(b"of audio 2,")


def test_results_here_of_inputs_there(far, store, dubbed):
    assert command.main(["--jobs", str(far / "jobs.jsonl"), "--out", (far / "out").as_uri()]) == 1
    assert (far / "out" / "sub" / "1.mp4").read_text().startswith("of audio 1,")


def test_a_store_that_does_not_answer_is_asked_again(far, store, dubbed, monkeypatch):
    put, failed = type(store).put_file, []

    def fail_once(self, *arguments, **options):
        if not failed:
            failed.append(1)
            raise ConnectionResetError("Connection reset by peer.")
        return put(self, *arguments, **options)

    monkeypatch.setattr(type(store), "put_file", fail_once)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    assert run(far) == 1
    assert [row["attempts"] for row in rows_of(store)] == [2, 1, 1, 0]


def test_a_store_that_is_none_is_named(far, monkeypatch, capsys):
    words = ["--jobs", str(far / "jobs.jsonl"), "--out"]
    assert command.main([*words, "nonsense://x/y"]) == StoreError.exit_code
    assert "nonsense" in capsys.readouterr().err

    def missing(url):
        absent = ModuleNotFoundError("No module named 's3fs'", name="s3fs")
        raise ImportError("Install s3fs to access S3") from absent  # as fsspec says it

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    assert command.main([*words, "s3://x/y"]) == PackageMissingError.exit_code
    assert "needs the package s3fs" in (said := capsys.readouterr().err) and "requirements-s3.txt" in said
    assert command.main([*words, "abfs://x/y"]) == ConfigError.exit_code
    assert command.main([*words, "memory://x", "--device", "cpu,cpu"]) == ConfigError.exit_code


def test_a_folder_at_an_address_behaves_as_one_on_the_disk(tmp_path):
    folder = results.ObjectStore(tmp_path.as_uri())
    folder.require_usable()
    folder.write("a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text" and not list((tmp_path / ".jobs").iterdir())
    size, number = results.stamp_url((tmp_path / "a.txt").as_uri())
    (tmp_path / "a.txt").write_text("tex?")
    assert size == 4 and results.stamp_url((tmp_path / "a.txt").as_uri())[1] != number
    assert results.stamp_url((tmp_path / "b.txt").as_uri()) is None
