"""Serving the page: its folder, everything that stands between it and the network, and a clean end."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from latentsync.errors import DiskFullError, ServerError
from latentsync.page.jobs import JobQueue
from latentsync.page.kept_jobs import LEFT_JOBS_INTERVAL
from latentsync.page.login import Accounts, Login, user_of
from latentsync.page.memory import INTERVAL, FreedMemory
from latentsync.page.page_folder import page_folder
from latentsync.page.routes import BelowPath, OpenRoutes, Understood, checked_root_path
from latentsync.page.storage import Storage, StorageLimits, UploadLimits
from latentsync.page.visitors import CLEANING_INTERVAL, VisitorFolders
from latentsync.web.listener import bind, listening, local_address
from latentsync.web.origins import OwnOrigin, TrustedHosts, is_everywhere, is_loopback, own_addresses

if TYPE_CHECKING:
    from latentsync.page.blocks import PageBlocks

KEEP_SECONDS = 24 * 3600  # that files of visitors are kept
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the page is served, for whom, and how much they may send.

    ``port`` None: the first free one from 7860. ``share``: through Gradio's servers too. ``allow_hosts``: further names
    that the page is reached by, as a proxy in front of it passes them on; ``root_path``: below which path of them.
    ``accounts`` None: no login.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    allow_hosts: tuple[str, ...] = ()
    root_path: str = ""
    accounts: Accounts | None = None
    storage: StorageLimits = field(default_factory=StorageLimits)
    uploads: UploadLimits = field(default_factory=UploadLimits)


@contextmanager
def serving(jobs: JobQueue, settings: ServerSettings | None = None, preset: str | None = None) -> Iterator[str]:
    """The page's address while the block runs.

    Everything that visitors send or get lies in one folder, which is removed at the end. Raises ``ConfigError`` and
    ``ServerError`` for a place that the page cannot be served at.
    """
    settings = settings or ServerSettings()
    with ExitStack() as stack:
        hosts = TrustedHosts(settings.host, settings.allow_hosts)
        root_path = checked_root_path(settings.root_path)
        sock = stack.enter_context(bind(settings.host, settings.port))
        app, blocks = stack.enter_context(page_app(jobs, settings, hosts, preset))
        stack.enter_context(listening(app, sock))
        stack.callback(blocks.close, verbose=False)
        local = local_address(settings.host, sock)
        if settings.share:
            yield stack.enter_context(_shared(blocks, hosts, local))
        else:
            yield f"{local}{root_path}/"


@contextmanager
def page_app(
    jobs: JobQueue, settings: ServerSettings, hosts: TrustedHosts, preset: str | None = None
) -> Iterator[tuple[ASGIApp, PageBlocks]]:
    """The page as an application, guarded, with its folder and its threads while the block runs; and its components,
    which are to be closed before who listens. It wants to be told of the server's beginning and end (lifespan)."""
    root_path = checked_root_path(settings.root_path)
    with ExitStack() as stack:
        folder = stack.enter_context(page_folder())
        stack.enter_context(_gradio_folder(folder))  # before its modules are imported and components made
        from latentsync.page.upload_guard import no_conversions, no_downloads

        stack.enter_context(no_downloads())
        stack.enter_context(no_conversions())
        stack.callback(jobs.close)
        storage = Storage(folder, settings.storage)
        _warn_of_full_disk(storage)
        folders = VisitorFolders(storage, KEEP_SECONDS)
        memory = FreedMemory(is_idle=lambda: not len(jobs))
        stack.enter_context(every(CLEANING_INTERVAL, folders.clean, "cleaning"))
        stack.enter_context(every(LEFT_JOBS_INTERVAL, jobs.kept.end_left, "left jobs"))
        stack.enter_context(every(INTERVAL, memory.look, "memory"))
        blocks, app = mount(jobs, folders, preset, settings.accounts is not None, root_path)
        app = guard(app, blocks, storage, hosts, settings.accounts, settings.uploads, jobs.limits.bytes)
        yield BelowPath(app, root_path), blocks


@contextmanager
def every(seconds: float, work: Callable[[], None], name: str) -> Iterator[None]:
    """``work`` is done every ``seconds`` while the block runs, in a thread of its own, also after it has failed."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds):
            try:
                work()
            except Exception:
                logger.exception("%s has failed, and is tried again in %.0f s.", name, seconds)

    threading.Thread(target=go_on, name=name, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def who_can_reach(settings: ServerSettings, address: str) -> str:
    """One sentence on who can use the page at ``address`` besides people at this machine; '' for nobody."""
    if settings.share:
        who = "Everybody who has this address"
    elif is_loopback(settings.host):
        return ""
    else:
        where = ", ".join(own_addresses()) if is_everywhere(settings.host) else settings.host
        who = f"Everybody who reaches port {urlsplit(address).port} of this machine over the network ({where})"
    if settings.accounts is None:
        return f" {who} can use it, without a login: --auth FILE asks for a name and a password."
    return f" {who} is asked for a name and a password, which only a proxy with TLS in front keeps secret."


def mount(
    jobs: JobQueue, folders: VisitorFolders, preset: str | None, login: bool, root_path: str = ""
) -> tuple[PageBlocks, ASGIApp]:
    """The page's components, and an application that serves them and everything else that Gradio has.

    ``login``: it stands behind one, and learns from it who somebody is. ``root_path``: what its addresses begin with.
    """
    import gradio as gr

    from latentsync.page.layout import build_page
    from latentsync.page.script import head
    from latentsync.page.theme import CSS, THEME

    blocks = build_page(jobs, folders, KEEP_SECONDS, preset)
    for function in blocks.fns.values():
        function.queue = True  # so that nothing needs the routes that go around the queue
    blocks.api_open = False
    app = Starlette()
    gr.mount_gradio_app(
        app,  # of a FastAPI, it uses what a Starlette has
        blocks,
        path="/",
        root_path=root_path or None,
        auth_dependency=user_of if login else None,
        show_error=False,  # what may be shown is shown by the handlers
        max_file_size=jobs.limits.bytes,  # browsers refuse larger ones
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        footer_links=["api"],
        theme=THEME,
        css=CSS,
        head=head(),
    )
    blocks.has_launched = True  # from now on, Gradio takes files from its own folder only
    mounted: Any = next(route.app for route in app.routes if isinstance(route, Mount))
    blocks.app = mounted  # whose streams ``Blocks.close`` ends
    return blocks, app


def guard(
    app: ASGIApp,
    blocks: PageBlocks,
    storage: Storage,
    hosts: TrustedHosts,
    accounts: Accounts | None,
    limits: UploadLimits,
    most: int,
) -> ASGIApp:
    """``app`` behind everything that a request has to pass; an upload has ``most`` bytes."""
    from latentsync.page.calls import Calls
    from latentsync.page.upload_guard import NoForeignFiles
    from latentsync.page.uploads import Uploads

    functions = blocks.fns.values()
    names = [each.api_name for each in functions if each.api_name and each.api_visibility == "public"]
    app = Calls(Understood(app, blocks.faults), blocks)
    app = Uploads(app, storage, limits, most, blocks.faults, blocks.upload_file_set.add)
    app = OpenRoutes(NoForeignFiles(app), names)
    if accounts is not None:
        app = Login(app, accounts)
    return OwnOrigin(app, hosts)


def _warn_of_full_disk(storage: Storage) -> None:
    try:
        storage.require_room()
    except DiskFullError as error:
        free = shutil.disk_usage(storage.folder).free / 1e6
        logger.warning(
            "%s: %.0f MB are free in %s. Another folder: TMPDIR=FOLDER at the start",
            error,
            free,
            storage.folder.parent,
        )


@contextmanager
def _gradio_folder(folder: Path) -> Iterator[None]:
    """Have Gradio keep uploads and results in ``folder``."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


@contextmanager
def _shared(blocks: PageBlocks, hosts: TrustedHosts, local: str) -> Iterator[str]:
    """The public address of the page at ``local`` through Gradio's servers, while the block runs."""
    import httpx
    from gradio import networking, tunneling
    from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

    failures = (OSError, RuntimeError, ValueError, httpx.HTTPError, ChecksumMismatchError, ShareCertificateWriteError)
    try:
        try:
            host, _, port = urlsplit(local).netloc.rpartition(":")
            address = networking.setup_tunnel(host.strip("[]"), int(port), blocks.share_token, None, None)
        except failures as error:
            raise ServerError(
                f"Gradio's servers gave no public address: {error}.",
                remedy="Look at the connection, or start without --share.",
            ) from error
        public = urlsplit(address).netloc
        hosts.add(public)
        yield f"https://{public}/"
    finally:
        for tunnel in tunneling.CURRENT_TUNNELS:
            tunnel.kill()
