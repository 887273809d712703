"""Receiving files: within limits of size, time and room, and whole or not at all."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latentsync.atomic import is_disk_full
from latentsync.errors import DiskFullError
from latentsync.page.faults import FaultLog
from latentsync.page.forms import FormFiles, ReceivedFile, RefusedError
from latentsync.page.routes import UPLOAD, UPLOAD_PROGRESS
from latentsync.page.storage import QuotaError, Storage, Upload, UploadLimits, no_room
from latentsync.page.visitors import visitor_of

FRAMING = 2**16  # bytes of an upload besides its files
MOST_JSON = 2**20  # bytes of any other request
JSON_SECONDS = 30.0  # for it to come
PROGRESS_INTERVAL = 0.1  # s between two messages on how far an upload is
PROGRESS_SECONDS = 3.0  # for an upload to begin whose progress is asked for, and that it is remembered after its end
T = TypeVar("T")


@dataclass(slots=True)
class _Progress:
    name: str = ""
    bytes: int = 0
    done: bool = False


class Uploads:
    """Receives files in Gradio's place; every other request is handed on when its whole body is there, which is small.

    Gradio's own way leaves parts of broken uploads on the disk, has no limit of time, and keeps form fields of any
    length in memory. ``most`` is the bytes of an upload; ``on_kept`` is told the path of each file.
    """

    def __init__(
        self,
        app: ASGIApp,
        storage: Storage,
        limits: UploadLimits,
        most: int,
        faults: FaultLog,
        on_kept: Callable[[str], None],
    ) -> None:
        self._app, self._storage, self._limits, self._most = app, storage, limits, most
        self._faults, self._on_kept = faults, on_kept
        self._progress: dict[str, _Progress] = {}
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["path"] == UPLOAD_PROGRESS:
            await (await self._watch(_upload_id(scope)))(scope, receive, send)
        elif scope["path"] == UPLOAD:
            await (await self._answer(self._upload(scope, receive)))(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        else:
            body = await self._answer(_whole(scope, receive))
            if isinstance(body, Response):
                await body(scope, receive, send)
            else:
                await self._app(scope, _again(body, receive), send)

    async def _answer(self, work: Awaitable[T]) -> T | Response:
        """What ``work`` gives, or the answer that says why it could not be done."""
        try:
            return await work
        except RefusedError as error:
            return PlainTextResponse(error.message, error.status)
        except (DiskFullError, QuotaError) as error:
            return PlainTextResponse(self._faults.sentence(error), 507)
        except TimeoutError:
            return PlainTextResponse("That took too long to arrive.", 408, {"connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)  # that nobody reads

    async def _upload(self, scope: Scope, receive: Receive) -> Response:
        if self._running >= self._limits.at_once:
            raise RefusedError(503, "Too many files are coming in at once. Try again in a minute.")
        name, progress = _upload_id(scope), _Progress()
        self._running += 1
        self._progress[name] = progress
        try:
            async with asyncio.timeout(self._limits.seconds):
                return JSONResponse(await self._receive(scope, receive, progress))
        finally:
            progress.done = True
            self._running -= 1
            asyncio.get_running_loop().call_later(PROGRESS_SECONDS, self._progress.pop, name, None)

    async def _receive(self, scope: Scope, receive: Receive, progress: _Progress) -> list[str]:
        """The paths of the files of one request. What is left of one that fails is removed."""
        pieces = _pieces(scope, receive, self._most + FRAMING, self._limits.idle_seconds)
        folder = Path(tempfile.mkdtemp(dir=self._storage.incoming))
        try:
            return await self._write(scope, pieces, folder, progress)
        except (DiskFullError, QuotaError, OSError) as error:
            if isinstance(error, OSError) and not is_disk_full(error):
                raise
            async for _ in pieces:  # a browser shows the answer only to who has sent everything
                continue
            if isinstance(error, OSError):
                raise no_room() from error
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _write(self, scope: Scope, pieces: AsyncIterator[bytes], folder: Path, progress: _Progress) -> list[str]:
        account = await asyncio.to_thread(self._storage.begin, visitor_of(scope))
        try:
            content_type = Headers(scope=scope).get("content-type", "")
            form = FormFiles(content_type, folder, lambda count: self._storage.grow(account, count))
            try:
                async for piece in pieces:
                    await asyncio.to_thread(form.write, piece)
                    progress.name, progress.bytes = form.name, progress.bytes + len(piece)
                return await asyncio.to_thread(self._keep, form.finish(), account)
            finally:
                await asyncio.to_thread(form.close)
        finally:
            self._storage.end(account)

    def _keep(self, files: list[ReceivedFile], account: Upload) -> list[str]:
        paths = []
        for file in files:
            place = self._storage.folder / file.digest.hexdigest()
            place.mkdir(mode=0o700, exist_ok=True)
            path = file.path.replace(place / file.name)
            self._storage.keep(account, path, file.size)
            self._on_kept(str(path))
            paths.append(str(path))
        return paths

    async def _watch(self, name: str) -> Response:
        """How far an upload is, as server-sent events."""
        for _ in range(round(PROGRESS_SECONDS / PROGRESS_INTERVAL)):
            if (progress := self._progress.get(name)) is not None:
                return StreamingResponse(_events(progress), media_type="text/event-stream")
            await asyncio.sleep(PROGRESS_INTERVAL)
        return PlainTextResponse("There is no such upload.", 404)


async def _pieces(scope: Scope, receive: Receive, most: int, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body of a request. Raises ``RefusedError`` if it is too long, ``TimeoutError``, ``ClientDisconnect``."""
    refused = RefusedError(413, f"That is too large: up to {most / 1e6:.0f} MB are taken.")
    stated = Headers(scope=scope).get("content-length", "0")
    if not stated.isdecimal() or int(stated) > most:
        raise refused
    more = True
    while more:
        async with asyncio.timeout(idle_seconds):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece, more = message.get("body", b""), message.get("more_body", False)
        if (most := most - len(piece)) < 0:
            raise refused
        yield piece


async def _whole(scope: Scope, receive: Receive) -> bytes:
    async with asyncio.timeout(JSON_SECONDS):
        return b"".join([piece async for piece in _pieces(scope, receive, MOST_JSON, JSON_SECONDS)])


def _again(body: bytes, receive: Receive) -> Receive:
    """What an app receives whose request has been read already."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return unread.pop() if unread else await receive()

    return receive_again


async def _events(progress: _Progress) -> AsyncIterator[str]:
    told = 0
    while not progress.done:
        if progress.bytes > told:
            update = {"msg": "update", "orig_name": progress.name, "chunk_size": progress.bytes - told}
            told = progress.bytes
            yield f"data: {json.dumps(update)}\n\n"
        await asyncio.sleep(PROGRESS_INTERVAL)
    yield 'data: {"msg": "done"}\n\n'


def _upload_id(scope: Scope) -> str:
    return QueryParams(scope["query_string"]).get("upload_id", "")
