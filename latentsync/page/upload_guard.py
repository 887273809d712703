"""Files come in by upload only, and no program of the system looks into them: Gradio would fetch, probe and convert."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from urllib.parse import unquote

import gradio as gr
import safehttpx
from gradio import processing_utils, route_utils, routes
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

FETCHING = "Files are uploaded here, not fetched from an address. Download it first, then upload it."
MOST_DECODINGS = 8  # of a path that is encoded several times; what is still encoded then is refused
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")  # of a file on Windows
logger = logging.getLogger(__name__)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise gr.Error(FETCHING, title="Not taken", print_exception=False)


async def _refuse_later(*_: Any, **__: Any) -> NoReturn:
    _refuse()


async def _refuse_request(*_: Any, **__: Any) -> NoReturn:
    raise HTTPException(403, FETCHING)


# Every function of Gradio's that asks another server for something while the page is served, and what it goes through
# itself; a test looks for new ones.
FETCHERS = (
    (processing_utils, "async_ssrf_protected_get", _refuse_later),
    (processing_utils, "async_ssrf_protected_download", _refuse_later),
    (processing_utils, "ssrf_protected_download", _refuse),
    (processing_utils, "save_url_to_cache", _refuse),
    (processing_utils, "unsafe_download", _refuse),
    (routes, "secure_url_stream_response", _refuse_request),
    (route_utils, "secure_url_stream_response", _refuse_request),
    (routes.App, "build_proxy_request", _refuse),
    (safehttpx, "get", _refuse_later),
    (safehttpx, "async_validate_url", _refuse_later),
)


@contextmanager
def no_downloads() -> Iterator[None]:
    """While the block runs, a file that is given by its address is refused instead of fetched."""
    with ExitStack() as stack:
        for owner, name, refusal in FETCHERS:
            if (fetch := getattr(owner, name, None)) is None:
                logger.warning("This version of Gradio has no %s.%s; a newer one may fetch by another.", owner, name)
                continue
            stack.callback(setattr, owner, name, fetch)
            setattr(owner, name, refusal)
        yield


@contextmanager
def no_conversions() -> Iterator[None]:
    """While the block runs, Gradio finds no ffmpeg on this system.

    It would give it every file that is shown, a stranger's too, whatever format it has, and show another file in
    place of one that it thinks no browser plays.
    """
    installed = processing_utils.ffmpeg_installed
    processing_utils.ffmpeg_installed = lambda: False
    try:
        yield
    finally:
        processing_utils.ffmpeg_installed = installed


class NoForeignFiles:
    """Answers 403 where Gradio would pass on a file of another server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_foreign(scope["path"].partition("file=")[2]):
            await PlainTextResponse(FETCHING, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_foreign(name: str) -> bool:
    """Whether ``name``, decoded as often as it is encoded, may be read as an address or a share of another machine."""
    for _ in range(MOST_DECODINGS):
        local = _DRIVE.sub("", name)
        if ":/" in local or ":\\" in local or local.startswith(("//", "\\\\")):
            return True
        if (decoded := unquote(name)) == name:
            return False
        name = decoded
    return True
