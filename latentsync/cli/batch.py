"""Dub many videos: what is done is skipped, one that fails ends no other, and being killed loses nothing.

    latentsync batch --jobs jobs.jsonl --out night/ --preset fast
    latentsync batch --jobs jobs.csv --out night/ --device cuda:0,cuda:1
    latentsync batch --videos films/ --audios speech/ --out night/ --dry-run
    latentsync batch --jobs jobs.jsonl --out s3://bucket/night --ray 10.0.0.1:6379

A job is a line of JSON, {"video": "a.mp4", "audio": "a.wav", "output": "a.mp4", "face": "index:1"}, or a row of CSV
with such columns. Names are relative to the file of the jobs, outputs to --out. Every further option of a dub may stand
in a job, and on the command line for all of them; in a job also "priority" and "deadline". With --videos and --audios
files of one name belong together. The same command goes on with a batch that was stopped. summary.html, summary.csv and
summary.json in --out name every job.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.cli._dub_arguments import make_parser
from latentsync.cli.dub import make_request
from latentsync.errors import INTERRUPTED_EXIT_CODE, ConfigError, LatentSyncError
from latentsync.places import PACKAGE
from latentsync.terminal import command_parser, for_terminal, report

if TYPE_CHECKING:
    from latentsync.service.batch.jobs import Places
    from latentsync.service.batch.results import Results
    from latentsync.service.batch.run import Batch


def parse_arguments(arguments: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and those of its words that are for every dub."""
    parser = command_parser("batch", __doc__)
    parser.allow_abbrev = False
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--jobs", type=Path, metavar="FILE", help="the jobs, .jsonl or .csv")
    what.add_argument("--videos", type=Path, metavar="FOLDER", help="videos; their audio is in --audios")
    parser.add_argument("--audios", type=Path, metavar="FOLDER", help="audio files, or videos with audio")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="results, summary; also s3://..., gs://...")
    parser.add_argument("--device", default="auto", help="auto, cpu, ...; with commas: a process for each (auto)")
    parser.add_argument("--ray", metavar="ADDRESS", help="spread over a Ray cluster; local: over this machine's GPUs")
    parser.add_argument("--attempts", type=int, default=3, help="of a job that lacks memory or is killed (3)")
    parser.add_argument("--deadline", metavar="TIME", help="begin no job after it, such as 2027-01-31T06:00")
    parser.add_argument("--dry-run", action="store_true", help="only look into all jobs and say what they will cost")
    parser.add_argument("--worker_of", metavar="RUN", help=argparse.SUPPRESS)  # another device of the same run
    options, common = parser.parse_known_args(arguments)
    if (options.videos is None) != (options.audios is None):
        parser.error("--videos and --audios belong together")
    if options.ray is not None and "," in options.device:
        parser.error("--ray finds the devices itself: --device is auto, cpu or cuda with it")
    return options, common


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when every job is done, 1 if one failed, 130 when it was stopped, or that of an error."""
    words = sys.argv[1:] if arguments is None else arguments
    options, common = parse_arguments(words)
    try:
        return _run(options, common, words)
    except LatentSyncError as error:
        return report(error, "Error: ")


def _run(options: argparse.Namespace, common: list[str], words: list[str]) -> int:
    from latentsync.runtime.memory import keep_freed_memory
    from latentsync.service.batch.jobs import DubCommand, make_jobs, read_deadline, rows_of_file, rows_of_folders
    from latentsync.service.batch.run import Batch

    keep_freed_memory()
    devices = [name.strip() for name in options.device.split(",")]
    places, results = _places(options)
    rows = rows_of_file(options.jobs) if options.jobs is not None else rows_of_folders(options.videos, options.audios)
    deadline = None if options.deadline is None else read_deadline(options.deadline)
    jobs = make_jobs(rows, places, DubCommand(make_parser(), make_request), common, devices[0], deadline)
    batch = Batch(jobs, results, run=options.worker_of or "", attempts=options.attempts, say=_say)
    if options.worker_of:
        batch.work()
        return 0
    if places.out_url and len(devices) > 1:
        raise ConfigError(f"{results} has no locks for several devices.", remedy="Use --ray local.")
    if options.dry_run:
        return _look(batch, len(devices))
    try:
        if options.ray is not None:
            _work_on_cluster(batch, options)
        else:
            _foretell(batch, len(devices))
            with _others(devices[1:], words, batch.run):
                batch.work()
    except KeyboardInterrupt:
        _write_summary(batch)
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    return _write_summary(batch)


def _say(text: str) -> None:
    print(for_terminal(text), flush=True)


def _places(options: argparse.Namespace) -> tuple[Places, Results]:
    from latentsync.service.batch.jobs import Places, is_url
    from latentsync.service.batch.results import ObjectStore, SharedFolder

    base = options.jobs.absolute().parent if options.jobs is not None else Path.cwd()
    out = options.out.removeprefix("file://")
    if is_url(out):
        return Places(base, Path(), out.rstrip("/")), ObjectStore(out)
    folder = Path(out).absolute() if options.ray is not None else Path(out)  # a cluster's working folder is not ours
    return Places(base, folder), SharedFolder(folder)


def _work_on_cluster(batch: Batch, options: argparse.Namespace) -> None:
    from latentsync.extras import package_missing

    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise package_missing("--ray", "cluster", error) from error
    from latentsync.service.batch.worker import DeviceActors

    with closing(DeviceActors(options.ray, batch.make_worker, options.device, options.attempts)) as actors:
        _say(f"Workers: {actors.shares.count} on {actors.shares.device}.")
        _foretell(batch, actors.shares.count)
        batch.work_on(actors)


def _foretell(batch: Batch, devices: int) -> None:
    """Say what the batch will cost, as a sample of its jobs tells."""
    from latentsync.service.batch.outlook import look_ahead

    _say(look_ahead(batch.jobs, batch.results, devices).describe(devices))


def _look(batch: Batch, devices: int) -> int:
    """Say what the batch will cost and what is wrong with which job; 1 if there is such a one."""
    from latentsync.service.batch.outlook import look_ahead

    outlook = look_ahead(batch.jobs, batch.results, devices, sample=None)
    for name, fault in outlook.faults.items():
        _say(f"{name}: {fault.message}")
    for name in outlook.late:
        _say(f"{name}: may miss its deadline")
    _say(outlook.describe(devices))
    return 1 if outlook.faults else 0


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


def _write_summary(batch: Batch) -> int:
    """Write what became of the jobs, name the failed ones; 1 if there is one that is not done."""
    from latentsync.service.batch.summary import PAGE, write_summary

    content = write_summary(batch.outcomes(), batch.results)
    failed = content["jobs"] - content["done"]
    new = content["done"] - content["skipped"]
    late = f", {content['late']} late" if content["late"] else ""
    _say(f"{new} done{late}, {content['skipped']} were there already, {failed} not done: {batch.results}/{PAGE}")
    return 1 if failed else 0
