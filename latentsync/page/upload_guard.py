"""The server fetches nothing on behalf of visitors: Gradio's two ways of doing so are closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from gradio import processing_utils
from gradio_client.utils import is_http_url_like
from starlette.types import ASGIApp, Receive, Scope, Send

FETCHING = "Files are uploaded here, not fetched from an address. Download it first, then upload it."


@contextmanager
def no_downloads() -> Iterator[None]:
    """While the block runs, a file that is given by its address is refused instead of fetched."""
    fetch = processing_utils.async_ssrf_protected_download

    async def refuse(url: str, cache_dir: str) -> str:
        raise gr.Error(FETCHING, title="Not taken", print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse
    try:
        yield
    finally:
        processing_utils.async_ssrf_protected_download = fetch


class NoForeignFiles:
    """Answers 403 where Gradio would pass on a file of another server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_http_url_like(scope["path"].rpartition("/file=")[2]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": FETCHING.encode()})
            return
        await self._app(scope, receive, send)
