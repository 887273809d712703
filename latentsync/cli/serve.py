"""The service: jobs over HTTP, in the shape that clients of sync.so speak (docs/serving.md).

    latentsync serve                                           # on this machine, at http://127.0.0.1:8000
    latentsync serve --new_key alice --keys keys.toml          # prints a key, once
    latentsync serve --host 0.0.0.0 --keys keys.toml --device cuda:0,cuda:1

Jobs, uploads and results lie in --data. A service that is killed goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.extras import package_missing
from latentsync.inference.options import PRESETS
from latentsync.terminal import command_parser, report

if TYPE_CHECKING:
    from latentsync.page.jobs import JobQueue
    from latentsync.service.dubs import Models
    from latentsync.service.http.server import Page
    from latentsync.service.job import ServiceSettings
    from latentsync.service.page_worker import PageWorker
    from latentsync.service.store import JobStore
    from latentsync.service.supervisor import Workers

PORT = 8000
COMMAND = [sys.executable, "-m", "latentsync", "serve"]  # of a worker
logger = logging.getLogger(__name__)
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("serve", __doc__)
    parser.add_argument("--data", type=Path, default=Path("service"), metavar="FOLDER", help="of all jobs (service)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all (127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen at ({PORT})")
    parser.add_argument("--allow_host", nargs="+", default=[], metavar="NAME", help="further names, without --keys")
    parser.add_argument("--public_url", default="", metavar="URL", help="where clients find it (as they call it)")

    who = parser.add_argument_group("who may use it")
    who.add_argument("--keys", type=Path, metavar="FILE", help="keys and their quotas; without: this machine only")
    who.add_argument("--new_key", metavar="NAME", help="add a key to --keys, print it, and end")

    beside = parser.add_argument_group("the page")
    beside.add_argument("--page", action="store_true", help="also for people, at the same address")
    beside.add_argument("--auth", type=Path, metavar="FILE", help="names and passwords for it: lines NAME:PASSWORD")

    work = parser.add_argument_group("work")
    work.add_argument("--device", default="auto", help="auto, cpu, ...; with commas: a worker for each (auto)")
    work.add_argument("--ray", metavar="ADDRESS", help="workers on a Ray cluster; local: on this machine by Ray")
    work.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    work.add_argument("--model", default="", metavar="NAME", help="for sync.so's names of models (the installed one)")
    work.add_argument("--preset", choices=PRESETS, help="sampler settings of jobs that name none")

    limits = parser.add_argument_group("limits")
    limits.add_argument("--waiting", type=int, default=50, metavar="N", help="jobs that may wait; then 429 (50)")
    limits.add_argument("--max_mb", type=float, default=500, metavar="N", help="megabytes of a file (500)")
    limits.add_argument("--max_minutes", type=float, default=10, metavar="N", help="of a video or audio (10)")
    limits.add_argument("--keep_hours", type=float, default=24, metavar="N", help="that results are kept (24)")
    limits.add_argument("--reserve_gb", type=float, default=1, metavar="N", help="of the disk that stay free (1)")

    outside = parser.add_argument_group("the network")
    outside.add_argument("--url_inputs", action="store_true", help="fetch inputs that are named by their address")
    outside.add_argument("--private_addresses", action="store_true", help="also for them and webhooks: risky")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)  # a process of a service
    parsed = parser.parse_args(arguments)
    if parsed.ray is not None and "," in parsed.device:
        parser.error("--ray finds the devices itself: --device is auto, cpu or cuda with it")
    if parsed.ray is not None and parsed.page:
        parser.error("--page wants a worker of this machine: start `latentsync page` beside a service with --ray")
    return parsed


def make_settings(parsed: argparse.Namespace) -> ServiceSettings:
    """Raises ``ConfigError`` for limits that take nothing."""
    from latentsync.media.limits import MediaLimits
    from latentsync.service.job import ServiceSettings

    for name in ("waiting", "max_mb", "max_minutes", "keep_hours"):
        if getattr(parsed, name) <= 0:
            raise ConfigError(f"With --{name} {getattr(parsed, name):g} there is nothing to do.", remedy="Raise it.")
    limits = replace(MediaLimits(), bytes=round(parsed.max_mb * 1e6), seconds=round(parsed.max_minutes * 60))
    return ServiceSettings(
        folder=parsed.data.absolute(),
        waiting=parsed.waiting,
        keep_seconds=parsed.keep_hours * 3600,
        reserve=round(parsed.reserve_gb * 1e9),
        url_inputs=parsed.url_inputs,
        private_addresses=parsed.private_addresses,
        public_url=parsed.public_url,
        limits=limits,
        preset=parsed.preset,
    )


def serve(parsed: argparse.Namespace, words: list[str]) -> None:
    """Serve until Ctrl-C."""
    from latentsync.service.dubs import Models
    from latentsync.service.http.server import serving
    from latentsync.service.supervisor import SeveralWorkers, Supervisor

    settings, models = make_settings(parsed), Models.installed(parsed.checkpoint_dir, parsed.model)
    devices = [name.strip() for name in parsed.device.split(",")]
    commands = [
        [*COMMAND, *words, "--worker", f"worker-{number}", "--device", device] for number, device in enumerate(devices)
    ]
    page = None
    if parsed.page:
        page, jobs = make_page(parsed, devices[0])

    def make_workers(store: JobStore) -> Workers:
        if parsed.ray is not None:
            return on_cluster(parsed.ray, settings, models, parsed.device)
        if parsed.page:
            beside = worker_beside(jobs, store, settings, models, devices[0])
            return SeveralWorkers(beside, Supervisor(commands[1:]))
        return Supervisor(commands)

    with serving(
        settings,
        models,
        parsed.keys,
        make_workers,
        host=parsed.host,
        port=parsed.port,
        allow_hosts=parsed.allow_host,
        page=page,
    ) as address:
        print(f"The service is at {address}, its pages for programmers at {address}/docs (Ctrl-C ends it).", flush=True)
        threading.Event().wait()


def make_page(parsed: argparse.Namespace, device: str) -> tuple[Page, JobQueue]:
    """What serves the page beside the service, and its jobs. Raises ``ConfigError`` where everybody could use it."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise package_missing("--page", "page", error) from error
    from latentsync.cli.page import job_queue
    from latentsync.page.login import Accounts
    from latentsync.page.server import ServerSettings, page_app

    if parsed.keys is not None and parsed.auth is None:
        raise ConfigError(
            "Everybody who reaches this service could use its page, without a key.",
            remedy="Give names and passwords for it with --auth FILE, or leave out --page.",
        )
    accounts = None if parsed.auth is None else Accounts.read(parsed.auth)
    settings = ServerSettings(host=parsed.host, allow_hosts=tuple(parsed.allow_host), accounts=accounts)
    jobs = job_queue(parsed.checkpoint_dir, device)
    return lambda hosts: page_app(jobs, settings, hosts, parsed.preset), jobs


def worker_beside(
    jobs: JobQueue, store: JobStore, settings: ServiceSettings, models: Models, device: str
) -> PageWorker:
    """The worker that shares networks and device with the page."""
    from latentsync.runtime.memory import keep_freed_memory
    from latentsync.service.page_worker import PageWorker
    from latentsync.service.worker import Worker

    keep_freed_memory()
    return PageWorker(jobs, partial(Worker, store, settings, models, "worker-0", device))


def on_cluster(address: str, settings: ServiceSettings, models: Models, device: str) -> Workers:
    """Workers on a Ray cluster. Raises ``PackageMissingError``."""
    try:
        from ray import serve  # noqa: F401
    except ImportError as error:
        raise package_missing("serve --ray", "cluster", error) from error
    from latentsync.service.replicas import ServeWorkers

    return ServeWorkers(address, settings, models, device)


def work(parsed: argparse.Namespace) -> None:
    """Be one of the workers of a service."""
    from latentsync.runtime.memory import keep_freed_memory
    from latentsync.service.dubs import Models
    from latentsync.service.store import open_store
    from latentsync.service.supervisor import run_worker
    from latentsync.service.worker import Worker

    keep_freed_memory()
    settings, models = make_settings(parsed), Models.installed(parsed.checkpoint_dir, parsed.model)
    store = open_store(settings.folder)
    worker = Worker(store, settings, models, parsed.worker, parsed.device)
    worker.warm_up()
    run_worker(worker)
    store.close()


class JsonLines(logging.Formatter):
    """A line of JSON for each event: time, level, what, and which job; never what is in a user's files."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        more = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()} | more
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json() -> None:
    """Have this process log lines of JSON to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Those name addresses of users; torch tells of its caches when the process ends.
    for name in ("httpx", "httpcore", "python_multipart", "sse_starlette", "torch"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main(arguments: list[str] | None = None) -> int:
    """Serve, and turn what a user can mend into one sentence and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parsed = parse_arguments(words)
    try:
        if parsed.new_key is not None:
            return print_new_key(parsed)
        log_as_json()
        if parsed.worker:
            work(parsed)
        else:
            serve(parsed, words)
    except LatentSyncError as error:
        if not parsed.worker:
            return report(error, "Error: ")
        logger.error("This worker cannot begin: %s", error.message, extra={"remedy": error.remedy})
        return error.exit_code
    except KeyboardInterrupt:
        if not parsed.worker:
            with suppress(OSError):  # of a terminal that has gone
                print("The service has ended.", file=sys.stderr)
    return 0


def print_new_key(parsed: argparse.Namespace) -> int:
    """Make a key; it is said here and nowhere else."""
    from latentsync.service.keys import add_key

    if parsed.keys is None:
        raise ConfigError("A key goes into a file.", remedy="Name it with --keys FILE.")
    print(add_key(parsed.keys, parsed.new_key))
    return 0
