"""How much a request may hold, and how long it may take to arrive."""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latentsync.service.job import RequestRefusedError, ServiceSettings

MOST_JSON = 2 * 2**20  # bytes: a box for every frame of ten minutes
JSON_SECONDS = 30.0
IDLE_SECONDS = 30.0  # between two pieces
FRAMING = 2**16  # bytes of a form besides its files
_FILES = re.compile(r"/v2/(generate|uploads(/[^/]*)?)/?")


class BodyLimits:
    """Refuses bodies that are too large (413) or come too slowly (408), where they are read."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most, seconds = self._limits(scope)
        stated = Headers(scope=scope).get("content-length", "")
        too_large = RequestRefusedError(
            f"A request like this one has at most {most:,} bytes.", remedy="Send less, or in pieces.", status=413
        )
        arrived, whole = 0, False
        deadline = asyncio.get_running_loop().time() + seconds

        async def limited() -> Message:
            nonlocal arrived, whole
            if whole:  # what comes now is that the client leaves
                return await receive()
            if stated.isdecimal() and int(stated) > most:
                raise too_large
            left = min(IDLE_SECONDS, deadline - asyncio.get_running_loop().time())
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except TimeoutError as error:
                raise RequestRefusedError(
                    "The request came too slowly.", remedy="Send it again, or large files in pieces.", status=408
                ) from error
            arrived += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if arrived > most:
                raise too_large
            return message

        await self._app(scope, limited, send)

    def _limits(self, scope: Scope) -> tuple[int, float]:
        kind = Headers(scope=scope).get("content-type", "")
        if _FILES.fullmatch(scope["path"]) and kind.startswith(("multipart/", "application/offset")):
            return 2 * self._settings.limits.bytes + FRAMING, self._settings.upload_seconds
        return MOST_JSON, JSON_SECONDS
