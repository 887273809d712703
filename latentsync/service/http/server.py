"""Serving: the folder, the workers, the errands and the listening socket, begun in order and ended in reverse."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from latentsync.atomic import try_hold
from latentsync.errors import ConfigError, OutputError
from latentsync.inference.job.folder import described
from latentsync.service.dubs import Models
from latentsync.service.errands import Errands
from latentsync.service.fetching import fetching
from latentsync.service.http.access import Service
from latentsync.service.http.app import Beside, build_app
from latentsync.service.http.generations import as_json
from latentsync.service.job import LOADING, UNABLE, Job, JobStatus, ServiceSettings, deadline_missed
from latentsync.service.keys import Keys
from latentsync.service.outside import Outside
from latentsync.service.store import JobStore, open_store
from latentsync.service.supervisor import Workers
from latentsync.service.uploads import Uploads
from latentsync.service.webhooks import webhooks
from latentsync.web.listener import bind, listening, local_address
from latentsync.web.origins import TrustedHosts, is_loopback

SWEEP_SECONDS = 60.0
logger = logging.getLogger(__name__)
Page = Callable[[TrustedHosts], AbstractContextManager[tuple[ASGIApp, Any]]]  # ``page.server.page_app``


@contextmanager
def serving(
    settings: ServiceSettings,
    models: Models,
    keys: Path | None,
    make_workers: Callable[[JobStore], Workers],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_hosts: Sequence[str] = (),
    page: Page | None = None,
) -> Iterator[str]:
    """The service's address while the block runs. ``make_workers``: who does the jobs of a store. ``page``: what is
    served beside it.

    ``keys``: a file of keys; None: everybody who reaches the service may use it, so it listens on this machine only.
    Raises ``ConfigError`` for that, ``ServerError`` for a port that cannot be had, ``OutputError`` for a folder that
    cannot be written, or that another service uses.
    """
    if keys is None and not is_loopback(host):
        raise ConfigError(
            f"Everybody who reaches {host} could use this service.",
            remedy="Make keys first: `latentsync serve --new_key NAME --keys FILE`, and start it with --keys FILE.",
        )
    with ExitStack() as stack:
        hosts = TrustedHosts(host, allow_hosts) if keys is None else None
        sock = stack.enter_context(bind(host, port))
        stack.enter_context(_alone(settings.folder))
        store = open_store(settings.folder)
        stack.callback(store.close)
        workers = make_workers(store)
        service = _assemble(settings, models, Keys(keys), store, workers, stack)
        store.forget_workers()
        shutil.rmtree(settings.folder / "estimates", ignore_errors=True)  # of a server that was killed
        app = build_app(service, workers.alive, hosts)
        blocks = None
        if page is not None:
            beside, blocks = stack.enter_context(page(TrustedHosts(host, allow_hosts)))
            app = Beside(app, beside)
        workers.start()
        stack.callback(workers.end)
        stack.enter_context(listening(app, sock))
        if blocks is not None:
            stack.callback(blocks.close, verbose=False)
        yield local_address(host, sock)


def why_unready(store: JobStore, settings: ServiceSettings, workers_alive: Callable[[], int]) -> str:
    """Why a job would not be worked on now; empty if it would."""
    states = {row["state"] for row in store.read("SELECT state FROM workers")}
    if UNABLE in states and states <= {LOADING, UNABLE}:  # it ends and is started again
        return "the networks cannot be loaded; the log of the service says why"
    if not workers_alive():
        return "no worker runs"
    if states <= {LOADING}:
        return "the networks are being loaded"
    if shutil.disk_usage(settings.folder).free < settings.reserve:
        return "the disk is full"
    return ""


def _assemble(
    settings: ServiceSettings,
    models: Models,
    keys: Keys,
    store: JobStore,
    workers: Workers,
    stack: ExitStack,
) -> Service:
    """The parts that the routes use, and the errands, which end with ``stack``."""
    secret = _secret(settings.folder / "secret")
    uploads = Uploads(settings)
    outside = Outside(settings.private_addresses)
    errands: list[Errands] = []

    def wake() -> None:
        workers.wake()
        for each in errands:
            each.wake()

    unready = partial(why_unready, store, settings, workers.alive)
    service = Service(settings, store, keys, models, uploads, secret, wake, unready)
    errands += [
        fetching(store, settings, workers.wake),
        webhooks(store, outside, secret, lambda job: as_json(service, job)),
        clearing(store, settings, uploads),
        deadlines(store),
    ]
    for errand in errands:
        errand.start()
        stack.callback(errand.end)
    return service


def clearing(store: JobStore, settings: ServiceSettings, uploads: Uploads) -> Errands[str]:
    """Removes jobs and uploads that were kept long enough, and folders of jobs that a killed server had not added."""

    def due() -> list[str]:
        before = time.time() - settings.keep_seconds
        uploads.expire(before)
        old = [folder for folder in (settings.folder / "jobs").glob("*") if folder.stat().st_mtime < before]
        return store.expired(before) + [folder.name for folder in old if store.get(folder.name) is None]

    def run(id: str) -> None:
        store.drop(id)
        shutil.rmtree(settings.job_folder(id), ignore_errors=True)

    return Errands("clearing", due, str, run, threads=1, seconds=SWEEP_SECONDS)


def deadlines(store: JobStore) -> Errands[Job]:
    """Ends jobs that wait beyond their deadlines."""

    def run(job: Job) -> None:
        assert job.deadline is not None
        logger.info("Has missed its deadline.", extra={"job": job.id})
        missed = deadline_missed(job.deadline)
        store.finish(job.id, JobStatus.FAILED, error=described(missed), only_waiting=True)

    return Errands("deadlines", lambda: store.overdue(time.time()), lambda job: job.id, run, threads=1)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two servers would start two sets of workers over one folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = try_hold(folder / "server.lock")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}.", remedy="Choose another one with --data.") from error
    if lock is None:
        raise OutputError(
            f"Another service uses {folder}, or its disk knows no locks.", remedy="Choose another folder with --data."
        )
    try:
        yield
    finally:
        lock.release()


def _secret(path: Path) -> bytes:
    """Random bytes that this service has made once."""
    try:
        with path.open("xb") as stream:
            path.chmod(0o600)
            stream.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()
