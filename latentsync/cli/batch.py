"""Dub many videos: what is done is skipped, one that fails ends no other, and being killed loses nothing.

    latentsync batch --jobs jobs.jsonl --out night/ --preset fast
    latentsync batch --jobs jobs.csv --out night/ --device cuda:0,cuda:1
    latentsync batch --videos films/ --audios speech/ --out night/

A job is a line of JSON, {"video": "a.mp4", "audio": "a.wav", "output": "a.mp4", "face": "index:1"}, or a row of CSV
with such columns. Names are relative to the file of the jobs, outputs to --out. Every further option of a dub may stand
in a job, and on the command line for all of them. With --videos and --audios files of one name belong together. The
same command goes on with a batch that was stopped. summary.csv and summary.json in --out name every job.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latentsync.atomic import write_text
from latentsync.cli import dub
from latentsync.errors import INTERRUPTED_EXIT_CODE, ConfigError, LatentSyncError, OutputError
from latentsync.places import PACKAGE
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.service.batch import Batch, BatchJob

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"}
SHORT = {"video": "video_path", "audio": "audio_path", "output": "video_out_path"}
NOT_HERE = {"help", "dry_run", "quiet", "sample"}  # options of a single dub


def parse_arguments(arguments: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and those of its words that are for every dub."""
    parser = command_parser("batch", __doc__)
    parser.allow_abbrev = False
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--jobs", type=Path, metavar="FILE", help="the jobs, .jsonl or .csv")
    what.add_argument("--videos", type=Path, metavar="FOLDER", help="videos; their audio is in --audios")
    parser.add_argument("--audios", type=Path, metavar="FOLDER", help="audio files, or videos with audio")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="results, the summary, what is kept")
    parser.add_argument("--device", default="auto", help="auto, cpu, ...; with commas: a process for each (auto)")
    parser.add_argument("--attempts", type=int, default=3, help="of a job that lacks memory or is killed (3)")
    parser.add_argument("--worker_of", metavar="RUN", help=argparse.SUPPRESS)  # another device of the same run
    options, common = parser.parse_known_args(arguments)
    if (options.videos is None) != (options.audios is None):
        parser.error("--videos and --audios belong together")
    return options, common


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when every job is done, 1 if one failed, 130 when it was stopped, or that of an error."""
    words = sys.argv[1:] if arguments is None else arguments
    options, common = parse_arguments(words)
    try:
        rows = _rows_of_file(options.jobs) if options.jobs is not None else _rows_of_folders(options)
        return _run(options, common, rows, words)
    except LatentSyncError as error:
        return report(error, "Error: ")


def _run(options: argparse.Namespace, common: list[str], rows: list[dict[str, Any]], words: list[str]) -> int:
    from latentsync.runtime.malloc import keep_freed_memory
    from latentsync.service.batch import Batch

    keep_freed_memory()
    devices = [name.strip() for name in options.device.split(",")]
    jobs = make_jobs(rows, options, common, devices[0])
    batch = Batch(
        jobs,
        options.out,
        run=options.worker_of or "",
        attempts=options.attempts,
        say=lambda text: print(for_terminal(text), flush=True),
    )
    if options.worker_of:
        batch.work()
        return 0
    try:
        with _others(devices[1:], words, batch.run):
            batch.work()
    except KeyboardInterrupt:
        _write_summary(batch, options.out)
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    return _write_summary(batch, options.out)


@contextmanager
def _others(devices: Sequence[str], words: list[str], run: str) -> Iterator[None]:
    """A process for each further device, while the block lasts and until nothing is left to be done."""
    surroundings = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    }
    command = [sys.executable, "-m", "latentsync", "batch", *words, "--worker_of", run]
    processes = [subprocess.Popen([*command, "--device", device], env=surroundings) for device in devices]
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.wait()


def _write_summary(batch: Batch, folder: Path) -> int:
    """Write what became of the jobs, name the failed ones; 1 if there is one that is not done."""
    from latentsync.service.batch import Outcome, summary

    outcomes = batch.outcomes()
    content = summary(outcomes)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(each.name for each in fields(Outcome))
    writer.writerows(astuple(outcome) for outcome in outcomes)
    try:
        write_text(folder / "summary.csv", table.getvalue(), errors="backslashreplace")
        text = json.dumps(content, indent=1, ensure_ascii=False)
        write_text(folder / "summary.json", text + "\n", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"The summary cannot be written: {error}.", remedy="Choose another --out.") from error
    failed = content["jobs"] - content["done"]
    new = content["done"] - content["skipped"]
    print(f"{new} done, {content['skipped']} were there already, {failed} not done: {folder / 'summary.csv'}")
    return 1 if failed else 0


def make_jobs(
    rows: list[dict[str, Any]], options: argparse.Namespace, common: list[str], device: str
) -> list[BatchJob]:
    """The job of each row; one that makes no sense has its reason. Raises ``ConfigError`` for ``common`` options that
    no dub takes."""
    from latentsync.service.batch import BatchJob

    parser = _strict_parser()
    _parse(parser, [*_words(parser, {"video": "v", "audio": "a", "output": "o.mp4"}, Path(), Path()), *common])
    base = options.jobs.absolute().parent if options.jobs is not None else Path.cwd()
    jobs: list[BatchJob] = []
    seen: set[Path] = set()
    names: set[str] = set()
    for number, row in enumerate(rows, start=1):
        name = _name(row)
        name = name if name not in names else f"{name}-{number}"
        names.add(name)
        try:
            words = _words(parser, row, base, options.out)
            request = dub.make_request(_parse(parser, [*common, "--device", device, *words]))
            if request.output.absolute() in seen:
                raise ConfigError(f"Another job writes {request.output}.", remedy="Give each an output of its own.")
            seen.add(request.output.absolute())
            jobs.append(BatchJob(name, request))
        except LatentSyncError as error:
            jobs.append(BatchJob(name, None, error))
    return jobs


def _strict_parser() -> argparse.ArgumentParser:
    """That of a dub, which raises ``ConfigError`` for what it does not take."""
    parser = dub.make_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"A job cannot be understood: {message}.", remedy="See `latentsync dub --help`.")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    return parser.parse_args(words)


def _words(parser: argparse.ArgumentParser, row: dict[str, Any], base: Path, out: Path) -> list[str]:
    """The command line of a dub that a row stands for; files relative to ``base``, the result to ``out``."""
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
            values = [(out if name == "video_out_path" else base) / str(each) for each in values]
        option = known[name].option_strings[0]
        words += [f"{option}={values[0]}"] if len(values) == 1 else [option, *map(str, values)]
    return words


def _name(row: dict[str, Any]) -> str:
    """Of the job's folder: readable, and different for different results."""
    output = str(row.get("output") or row.get("video_out_path"))
    readable = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in Path(output).stem)[:60]
    return f"{readable}-{blake2b(output.encode(errors='surrogateescape'), digest_size=6).hexdigest()}"


def _rows_of_file(path: Path) -> list[dict[str, Any]]:
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


def _rows_of_folders(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A job for each video that has audio of its name. Raises ``ConfigError`` if there is none."""
    found = _files(options.audios, VIDEO_SUFFIXES) + _files(options.audios, AUDIO_SUFFIXES)
    audios = {path.stem: path for path in found}
    rows = [
        {"video": str(video.absolute()), "audio": str(audios[video.stem].absolute()), "output": f"{video.stem}.mp4"}
        for video in _files(options.videos, VIDEO_SUFFIXES)
        if video.stem in audios
    ]
    if not rows:
        raise ConfigError(
            f"No video in {options.videos} has audio of its name in {options.audios}.",
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
