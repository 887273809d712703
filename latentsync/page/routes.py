"""Which of Gradio's routes are answered: those that the page and programs that call it need, and no others."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import quote

from h11 import LocalProtocolError
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latentsync.errors import ConfigError
from latentsync.page.faults import FaultLog
from latentsync.page.wording import NOT_UNDERSTOOD

API = "/gradio_api"
UPLOAD = f"{API}/upload"
UPLOAD_PROGRESS = f"{API}/upload_progress"
FILE = f"{API}/file="

# (method, Gradio's own name of the route). Everything else is answered with 404: what Gradio has besides hands files to
# the system's ffmpeg, passes on other servers, skips the queue, or serves features that the page does not use.
OPEN = frozenset(
    {
        ("GET", "/"),  # the page
        ("HEAD", "/"),
        ("GET", "/assets/{path:path}"),
        ("GET", "/static/{path:path}"),
        ("GET", "/theme.css"),
        ("GET", "/favicon.ico"),
        ("GET", "/robots.txt"),
        ("GET", "/config"),  # what programs learn the page from
        ("GET", f"{API}/info"),
        ("GET", f"{API}/app_id"),  # whether the server is there again, and is the same
        ("POST", UPLOAD),  # files in, files out
        ("GET", UPLOAD_PROGRESS),
        ("GET", f"{FILE}{{path_or_url:path}}"),
        ("HEAD", f"{FILE}{{path_or_url:path}}"),
        ("POST", f"{API}/queue/join"),  # jobs
        ("GET", f"{API}/queue/data"),
        ("POST", f"{API}/cancel"),
        ("POST", f"{API}/reset"),
        ("GET", f"{API}/heartbeat/{{session_hash}}"),
        ("POST", f"{API}/call/{{api_name}}"),  # jobs without a client library
        ("GET", f"{API}/call/{{api_name}}/{{event_id}}"),
        ("POST", f"{API}/call/v2/{{api_name}}"),
        ("GET", f"{API}/call/v2/{{api_name}}/{{event_id}}"),
    }
)


class OpenRoutes:
    """Answers 404 to everything but ``OPEN``; ``{api_name}`` is one of ``api_names``."""

    def __init__(self, app: ASGIApp, api_names: Collection[str]) -> None:
        self._app = app
        self._patterns = [
            (method, compile_path(route.replace("{api_name}", name))[0])
            for method, route in OPEN
            for name in (api_names if "{api_name}" in route else [""])
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.is_open(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("Not found", 404)(scope, receive, send)

    def is_open(self, method: str, path: str) -> bool:
        """Whether a request is let through. ``path`` is decoded, as the server gives it."""
        return any(method == known and pattern.match(path) for known, pattern in self._patterns)


class BelowPath:
    """Serves ``app`` below ``root_path`` ("" for none): what a proxy in front has left of it is taken off a request.

    Proxies may pass on the whole path or what comes behind theirs; both are taken.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._root_path:
            path = scope["path"]
            if path == self._root_path and scope["method"] in ("GET", "HEAD"):  # addresses in the page are relative
                await RedirectResponse(f"{self._root_path}/", 308)(scope, receive, send)
                return
            if path.startswith(f"{self._root_path}/"):
                path = path.removeprefix(self._root_path)
                scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self._app(scope, receive, send)


def checked_root_path(text: str) -> str:
    """A path as ``BelowPath`` takes it, from what a user gives. Raises ``ConfigError`` for what is none."""
    path = text.strip("/")
    if path and not re.fullmatch(r"(?:[\w~-][\w.~-]*/)+", f"{path}/", re.ASCII):
        raise ConfigError(f"'{text}' is no path of a page.", remedy="Give one such as /dub.")
    return f"/{path}" if path else ""


class Understood:
    """Answers 400 with a sentence, and one line in the log, where Gradio fails on a request.

    It takes for granted that its own page asks, and has tracebacks for numbers and names that the page would not send.
    Failures of ours do not come here: they are in the stream of a job.
    """

    def __init__(self, app: ASGIApp, faults: FaultLog) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = failed = ended = False

        async def watch(message: Message) -> None:
            nonlocal answered, failed, ended
            failed = failed or message.get("status") == 500
            if not failed:
                await send(message)
                answered = True
                ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            failed = True
            self._faults.note(f"Gradio failed on {scope['method']} {scope['path'][:100]}", error)
        if failed and not answered:
            await PlainTextResponse(NOT_UNDERSTOOD, 400)(scope, receive, send)
        elif failed and not ended:
            with suppress(LocalProtocolError):  # less was sent than announced: the connection is closed then
                await send({"type": "http.response.body", "body": b"", "more_body": False})
