"""A batch of text files with a stand-in for the dub."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from latentsync.cli import batch as command

ROOT = Path(__file__).parents[3]


def write_jobs(folder, rows):
    (folder / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(files, *more):
    return command.main(["--jobs", str(files / "jobs.jsonl"), "--out", str(files / "out"), *more])


def summary(files):
    content = json.loads((files / "out" / "summary.json").read_text())
    with (files / "out" / "summary.csv").open(newline="") as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == [row["state"] for row in content["rows"]]
    return content
