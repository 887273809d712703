"""The two clients. They differ in how they wait; what they send and understand is in ``protocol``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from latentsync.atomic import atomic_file
from latentsync.client.protocol import (
    ATTEMPTS,
    PASSING,
    PIECE,
    Call,
    Failed,
    Generation,
    ServiceError,
    create_upload,
    error_of,
    listing,
    may_pass,
    pause,
    send_piece,
    unreachable,
    wanted,
)

PathLike = str | os.PathLike[str]
OnProgress = Callable[[Generation], None]
POLL_SECONDS, FIRST_POLL_SECONDS = 1.0, 0.05  # between two looks at a job, at most and at first
POLL_SHARE = 0.05  # of the time that a job has taken until now, which may pass until the next look
DEFAULT_MODEL = "lipsync-2"  # sync.so's name, which every service of this program has too


def _nothing(job: Generation) -> None:
    """Nobody wants to know."""


class Client:
    """A service at ``base_url``. Every method raises ``ServiceError``; what may succeed later is sent again."""

    def __init__(
        self, base_url: str, key: str = "", *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"x-api-key": key} if key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def dub(
        self,
        video: PathLike,
        audio: PathLike,
        output: PathLike,
        *,
        model: str = DEFAULT_MODEL,
        options: Mapping[str, Any] | None = None,
        on_progress: OnProgress = _nothing,
    ) -> Generation:
        """Upload two files, wait for the job, and have its result in ``output``. Raises ``Failed`` too."""
        inputs = [{"assetId": self.upload(path)} for path in (video, audio)]
        job = self.wait(self.generate(*inputs, model=model, options=options).id, on_progress=on_progress)
        self.download(job, output)
        return job

    def upload(self, path: PathLike) -> str:
        """Send a file in pieces, and go on after a broken connection; the result is its ``assetId``."""
        given = Path(path)
        id = str(self._send(create_upload(given)).json()["id"])
        size, offset, failures = given.stat().st_size, 0, 0
        with given.open("rb") as stream:
            while offset < size:
                stream.seek(offset)
                try:
                    self._send(send_piece(id, offset, stream.read(PIECE)))
                    failures = 0
                except ServiceError as error:
                    failures += 1
                    if failures == ATTEMPTS or error.status not in (0, 409, *PASSING):
                        raise
                    time.sleep(pause(failures - 1, None))
                offset = int(self._send(Call("HEAD", f"/v2/uploads/{id}")).headers["upload-offset"])
        return id

    def generate(
        self,
        video: Mapping[str, str],
        audio: Mapping[str, str] | Sequence[Mapping[str, str]],
        *,
        model: str = DEFAULT_MODEL,
        options: Mapping[str, Any] | None = None,
        segments: Sequence[Mapping[str, Any]] | None = None,
        priority: float | None = None,
        deadline: datetime | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
    ) -> Generation:
        """A new job. Inputs are ``{"assetId": ...}`` or ``{"url": ...}``.

        Several audios, each with a ``refId`` too, need ``segments``: ``{"startTime": 0, "endTime": 4.2, "audioInput":
        {"refId": "intro"}}``. ``priority``: higher ones come first among your jobs; ``deadline``: a job that has not
        begun by then fails (without a zone it is of this machine's).
        """
        body = wanted(video, audio, model, options, segments, priority, deadline, webhook_url, output_file_name)
        return Generation.of(self._send(Call("POST", "/v2/generate", json=body, again=False)).json())

    def get(self, id: str) -> Generation:
        """A job."""
        return Generation.of(self._send(Call("GET", f"/v2/generate/{id}")).json())

    def jobs(self, status: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Generation]:
        """Your jobs, the latest first."""
        found = self._send(Call("GET", "/v2/generations", params=listing(status, ids))).json()
        return [Generation.of(each) for each in found]

    def delete(self, id: str) -> None:
        """Delete a job; one that is worked on ends."""
        self._send(Call("DELETE", f"/v2/generate/{id}"))

    def wait(
        self, id: str, *, seconds: float | None = None, on_progress: OnProgress = _nothing, poll: float = POLL_SECONDS
    ) -> Generation:
        """The job when it has ended, ``on_progress`` being called when it has changed. ``poll``: seconds between two
        looks, at most; while it is young, the looks are closer together.

        Raises ``Failed`` if it ended without a result, and ``TimeoutError`` after so many ``seconds``.
        """
        deadline, begun, last = _deadline(seconds), time.monotonic(), None
        while True:
            job = self.get(id)
            if job != last:
                on_progress(job)
                last = job
            if job.is_final:
                return _completed(job)
            _check(deadline, id)
            time.sleep(_poll_pause(begun, poll))

    def download(self, job: Generation, output: PathLike) -> None:
        """Have the result of a job in a file, which appears when it is whole."""
        with self._http.stream("GET", job.output_url) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            with atomic_file(Path(output)) as temporary, temporary.open("wb") as stream:
                for piece in response.iter_bytes():
                    stream.write(piece)

    def _send(self, call: Call) -> httpx.Response:
        for attempt in range(ATTEMPTS):
            response = None
            try:
                response = self._http.request(**_request(call))
            except httpx.TransportError as error:
                if attempt == ATTEMPTS - 1 or not _may_be_sent_again(call, error):
                    raise unreachable(call, error) from error
            else:
                if response.is_success:
                    return response
                if attempt == ATTEMPTS - 1 or not may_pass(call, response):
                    raise error_of(response)
            time.sleep(pause(attempt, response))
        raise AssertionError("the last attempt returns or raises")


class AsyncClient:
    """``Client`` for asyncio."""

    def __init__(
        self, base_url: str, key: str = "", *, timeout: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"x-api-key": key} if key else {}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def dub(
        self,
        video: PathLike,
        audio: PathLike,
        output: PathLike,
        *,
        model: str = DEFAULT_MODEL,
        options: Mapping[str, Any] | None = None,
        on_progress: OnProgress = _nothing,
    ) -> Generation:
        """See ``Client.dub``."""
        inputs = [{"assetId": await self.upload(path)} for path in (video, audio)]
        made = await self.generate(*inputs, model=model, options=options)
        job = await self.wait(made.id, on_progress=on_progress)
        await self.download(job, output)
        return job

    async def upload(self, path: PathLike) -> str:
        """See ``Client.upload``."""
        given = Path(path)
        id = str((await self._send(create_upload(given))).json()["id"])
        size, offset, failures = given.stat().st_size, 0, 0
        with given.open("rb") as stream:
            while offset < size:
                stream.seek(offset)
                try:
                    await self._send(send_piece(id, offset, await asyncio.to_thread(stream.read, PIECE)))
                    failures = 0
                except ServiceError as error:
                    failures += 1
                    if failures == ATTEMPTS or error.status not in (0, 409, *PASSING):
                        raise
                    await asyncio.sleep(pause(failures - 1, None))
                offset = int((await self._send(Call("HEAD", f"/v2/uploads/{id}"))).headers["upload-offset"])
        return id

    async def generate(
        self,
        video: Mapping[str, str],
        audio: Mapping[str, str] | Sequence[Mapping[str, str]],
        *,
        model: str = DEFAULT_MODEL,
        options: Mapping[str, Any] | None = None,
        segments: Sequence[Mapping[str, Any]] | None = None,
        priority: float | None = None,
        deadline: datetime | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
    ) -> Generation:
        """See ``Client.generate``."""
        body = wanted(video, audio, model, options, segments, priority, deadline, webhook_url, output_file_name)
        return Generation.of((await self._send(Call("POST", "/v2/generate", json=body, again=False))).json())

    async def get(self, id: str) -> Generation:
        """A job."""
        return Generation.of((await self._send(Call("GET", f"/v2/generate/{id}"))).json())

    async def jobs(self, status: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Generation]:
        """See ``Client.jobs``."""
        found = (await self._send(Call("GET", "/v2/generations", params=listing(status, ids)))).json()
        return [Generation.of(each) for each in found]

    async def delete(self, id: str) -> None:
        """See ``Client.delete``."""
        await self._send(Call("DELETE", f"/v2/generate/{id}"))

    async def wait(
        self, id: str, *, seconds: float | None = None, on_progress: OnProgress = _nothing, poll: float = POLL_SECONDS
    ) -> Generation:
        """See ``Client.wait``."""
        deadline, begun, last = _deadline(seconds), time.monotonic(), None
        while True:
            job = await self.get(id)
            if job != last:
                on_progress(job)
                last = job
            if job.is_final:
                return _completed(job)
            _check(deadline, id)
            await asyncio.sleep(_poll_pause(begun, poll))

    async def download(self, job: Generation, output: PathLike) -> None:
        """See ``Client.download``."""
        async with self._http.stream("GET", job.output_url) as response:
            if not response.is_success:
                await response.aread()
                raise error_of(response)
            with atomic_file(Path(output)) as temporary, temporary.open("wb") as stream:
                async for piece in response.aiter_bytes():
                    await asyncio.to_thread(stream.write, piece)

    async def _send(self, call: Call) -> httpx.Response:
        for attempt in range(ATTEMPTS):
            response = None
            try:
                response = await self._http.request(**_request(call))
            except httpx.TransportError as error:
                if attempt == ATTEMPTS - 1 or not _may_be_sent_again(call, error):
                    raise unreachable(call, error) from error
            else:
                if response.is_success:
                    return response
                if attempt == ATTEMPTS - 1 or not may_pass(call, response):
                    raise error_of(response)
            await asyncio.sleep(pause(attempt, response))
        raise AssertionError("the last attempt returns or raises")


def _request(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "headers": dict(call.headers),
        "json": call.json,
        "content": call.content,
        "params": call.params,
    }


def _may_be_sent_again(call: Call, error: httpx.TransportError) -> bool:
    return call.again or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _deadline(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds


def _poll_pause(begun: float, most: float) -> float:
    return min(most, max(FIRST_POLL_SECONDS, POLL_SHARE * (time.monotonic() - begun)))


def _check(deadline: float, id: str) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"the job {id} has not ended in time")


def _completed(job: Generation) -> Generation:
    if job.status != "COMPLETED":
        raise Failed(job)
    return job
