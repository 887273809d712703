"""The jobs of a batch: what is asked for, in which order, and where the files are that lie at addresses; read from a
file or two folders, where each stands for the command line of a dub.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.inference.job.request import DubRequest

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"}
SHORT = {"video": "video_path", "audio": "audio_path", "output": "video_out_path"}
NOT_HERE = {"help", "dry_run", "quiet", "sample"}  # options of a single dub
FETCHED = {"video_path": "video", "audio_path": "audio", "drive": "drive"}  # may be addresses -> fields of a request
PLAN = {"priority", "deadline"}  # columns that say when a job is done, not how


@dataclass(frozen=True, slots=True)
class BatchJob:
    """``name`` is that of its folder. ``request``: None if it could not be understood, for the reason ``fault``.

    ``urls``: fields of the request, such as 'video', whose files are fetched from an address first. ``output_url``:
    where the result goes if not to ``request.output``. Jobs of a higher ``priority`` come first, among these the ones
    of an earlier ``deadline`` (seconds of ``time.time``), after which the job is not begun any more.
    """

    name: str
    request: DubRequest | None
    fault: LatentSyncError | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    output_url: str = ""
    priority: float = 0.0
    deadline: float | None = None

    @property
    def output(self) -> str:
        """Where the result is; empty for a job that could not be understood."""
        return self.output_url or ("" if self.request is None else str(self.request.output))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the summary. ``skipped``: it was there already, of the same files, options and weights. ``late``: done
    after its deadline."""

    name: str
    state: str
    output: str
    seconds: float
    attempts: int
    skipped: bool
    late: bool
    error: str
    remedy: str
    exit_code: int


def in_order(jobs: Iterable[BatchJob]) -> list[BatchJob]:
    """By priority, then by deadline, then as given."""
    return sorted(jobs, key=lambda job: (-job.priority, math.inf if job.deadline is None else job.deadline))


@dataclass(frozen=True, slots=True)
class DubCommand:
    """The command line of a dub: its parser, and the request that its arguments mean."""

    parser: argparse.ArgumentParser
    make_request: Callable[[argparse.Namespace], DubRequest]

    def request(self, words: list[str]) -> DubRequest:
        """Raises ``ConfigError`` for what a dub does not take."""
        return self.make_request(self.parser.parse_args(words))

    def __post_init__(self) -> None:
        def refuse(message: str) -> NoReturn:
            raise ConfigError(f"A job cannot be understood: {message}.", remedy="See `latentsync dub --help`.")

        self.parser.error = refuse  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Places:
    """Inputs are relative to ``base``, results to the folder ``out``, or to the address ``out_url`` if there is one."""

    base: Path
    out: Path
    out_url: str = ""


def is_url(text: str) -> bool:
    """Whether it is an address that fsspec may know, rather than a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isalnum()


def make_jobs(
    rows: list[dict[str, Any]],
    places: Places,
    command: DubCommand,
    common: list[str],
    device: str,
    deadline: float | None,
) -> list[BatchJob]:
    """The job of each row; one that makes no sense has its reason. ``deadline``: of jobs that name none.

    Raises ``ConfigError`` for ``common`` options that no dub takes.
    """
    parser = command.parser
    trial = _words(parser, {"video": "v", "audio": "a", "output": "o.mp4"}, Places(Path(), Path()))
    parser.parse_args([*trial, *common])
    jobs: list[BatchJob] = []
    seen: set[Path] = set()
    names: set[str] = set()
    for number, row in enumerate(rows, start=1):
        name = _name(row)
        name = name if name not in names else f"{name}-{number}"
        names.add(name)
        try:
            words = _words(parser, {key: value for key, value in row.items() if key not in PLAN}, places)
            request = command.request([*common, "--device", device, *words])
            if request.output.absolute() in seen:
                raise ConfigError(f"Another job writes {request.output}.", remedy="Give each an output of its own.")
            seen.add(request.output.absolute())
            jobs.append(
                BatchJob(
                    name,
                    request,
                    urls={field: str(row[key]) for key, field in _fetched(row).items()},
                    output_url=f"{places.out_url}/{_output(row)}" if places.out_url else "",
                    priority=_priority(row.get("priority")),
                    deadline=read_deadline(row["deadline"]) if row.get("deadline") else deadline,
                )
            )
        except LatentSyncError as error:
            jobs.append(BatchJob(name, None, error))
    return jobs


def _words(parser: argparse.ArgumentParser, row: dict[str, Any], places: Places) -> list[str]:
    """The command line of a dub that a row stands for."""
    known = {action.dest: action for action in parser._actions if action.dest not in NOT_HERE}
    words: list[str] = []
    for key, value in row.items():
        name = SHORT.get(key, key)
        if value in (None, "", False):
            continue
        if name not in known:
            raise ConfigError(f"There is no option '{key}' of a dub.", remedy="See `latentsync dub --help`.")
        values = [] if value is True else value if isinstance(value, list) else [value]
        if known[name].type is Path or name == "adapter" or (name == "detector" and Path(str(value)).suffix):
            values = [(places.out if name == "video_out_path" else places.base) / str(each) for each in values]
        option = known[name].option_strings[0]
        words += [f"{option}={values[0]}"] if len(values) == 1 else [option, *map(str, values)]
    return words


def _fetched(row: dict[str, Any]) -> dict[str, str]:
    """Keys of a row whose files lie at addresses, with the fields of the request."""
    named = {key: SHORT.get(key, key) for key, value in row.items() if is_url(str(value))}
    return {key: FETCHED[name] for key, name in named.items() if name in FETCHED}


def _priority(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"'{value}' is no priority.", remedy="Give a number; higher ones come first.") from error


def read_deadline(text: Any) -> float:
    """Seconds of ``time.time`` from a date and time; of this machine's zone unless it names one."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OSError, OverflowError) as error:
        raise ConfigError(f"'{text}' is no date and time.", remedy="Write it as 2027-01-31T06:00.") from error


def _output(row: dict[str, Any]) -> str:
    return str(row.get("output") or row.get("video_out_path"))


def _name(row: dict[str, Any]) -> str:
    """Of the job's folder: readable, and different for different results."""
    output = _output(row)
    readable = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in Path(output).stem)[:60]
    return f"{readable}-{blake2b(output.encode(errors='surrogateescape'), digest_size=6).hexdigest()}"


def rows_of_file(path: Path) -> list[dict[str, Any]]:
    """The jobs of a file. Raises ``ConfigError`` if it cannot be read; a line of its own that is wrong is one job's."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", remedy="Name a .jsonl or .csv file.") from error
    if path.suffix.lower() == ".csv":
        return [_with_output(dict(row)) for row in csv.DictReader(text.splitlines())]
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}, is no JSON: {error}.", remedy="Mend it there.") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}, is no object.", remedy='Write {"video": ..., "audio": ...}.')
        rows.append(_with_output(row))
    return rows


def rows_of_folders(videos: Path, audios: Path) -> list[dict[str, Any]]:
    """A job for each video that has audio of its name. Raises ``ConfigError`` if there is none."""
    found = _files(audios, VIDEO_SUFFIXES) + _files(audios, AUDIO_SUFFIXES)
    by_name = {path.stem: path for path in found}
    rows = [
        {"video": str(video.absolute()), "audio": str(by_name[video.stem].absolute()), "output": f"{video.stem}.mp4"}
        for video in _files(videos, VIDEO_SUFFIXES)
        if video.stem in by_name
    ]
    if not rows:
        raise ConfigError(
            f"No video in {videos} has audio of its name in {audios}.",
            remedy="Rename them, or list the jobs in a file (--jobs).",
        )
    return rows


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}.", remedy="Name a folder.") from error


def _with_output(row: dict[str, Any]) -> dict[str, Any]:
    """A job that names no result gets one of its files' names."""
    if row.get("output") or row.get("video_out_path"):
        return row
    video, audio = (str(row.get(key) or row.get(SHORT[key]) or "") for key in ("video", "audio"))
    return row | {"output": f"{Path(video).stem}__{Path(audio).stem}.mp4"}
