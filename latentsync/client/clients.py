"""The two clients. They differ in how they wait; what they send and understand is in ``talks``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from latentsync.atomic import atomic_file
from latentsync.client import talks
from latentsync.client.protocol import Call, Generation, error_of
from latentsync.client.talks import POLL_SECONDS, OnProgress, Pause, Step, Talk, Work

PathLike = str | os.PathLike[str]
DEFAULT_MODEL = "lipsync-2"  # sync.so's name, which every service of this program has too
T = TypeVar("T")


def _nothing(job: Generation) -> None:
    """Nobody wants to know."""


class Client:
    """A service at ``base_url``. Every method raises ``ServiceError``; what may succeed later is sent again."""

    def __init__(
        self, base_url: str, key: str = "", *, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(base_url=base_url, headers=_headers(key), timeout=timeout, transport=transport)

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
        job = self._do(talks.dub(Path(video), Path(audio), model, options, on_progress))
        self.download(job, output)
        return job

    def upload(self, path: PathLike) -> str:
        """Send a file in pieces, and go on after a broken connection; the result is its ``assetId``."""
        return self._do(talks.upload(Path(path)))

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
        return self._do(
            talks.generate(video, audio, model, options, segments, priority, deadline, webhook_url, output_file_name)
        )

    def get(self, id: str) -> Generation:
        """A job."""
        return self._do(talks.get(id))

    def jobs(self, status: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Generation]:
        """Your jobs, the latest first."""
        return self._do(talks.jobs(status, ids))

    def delete(self, id: str) -> None:
        """Delete a job; one that is worked on ends."""
        self._do(talks.delete(id))

    def wait(
        self, id: str, *, seconds: float | None = None, on_progress: OnProgress = _nothing, poll: float = POLL_SECONDS
    ) -> Generation:
        """The job when it has ended, ``on_progress`` being called when it has changed. ``poll``: seconds between two
        looks, at most; while it is young, the looks are closer together.

        Raises ``Failed`` if it ended without a result, and ``TimeoutError`` after so many ``seconds``.
        """
        return self._do(talks.wait(id, seconds, on_progress, poll))

    def download(self, job: Generation, output: PathLike) -> None:
        """Have the result of a job in a file, which appears when it is whole."""
        with self._http.stream("GET", job.output_url) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            with atomic_file(Path(output)) as temporary, temporary.open("wb") as stream:
                for piece in response.iter_bytes():
                    stream.write(piece)

    def _do(self, talk: Talk[T]) -> T:
        with closing(talk):
            try:
                step = next(talk)
                while True:
                    try:
                        answer = self._take(step)
                    except httpx.TransportError as error:
                        step = talk.throw(error)
                    else:
                        step = talk.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result

    def _take(self, step: Step) -> Any:
        match step:
            case Pause():
                time.sleep(step.seconds)
                return None
            case Work():
                return step.do()
            case Call():
                return self._http.request(**_request(step))


class AsyncClient:
    """``Client`` for asyncio."""

    def __init__(
        self, base_url: str, key: str = "", *, timeout: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, headers=_headers(key), timeout=timeout, transport=transport)

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
        job = await self._do(talks.dub(Path(video), Path(audio), model, options, on_progress))
        await self.download(job, output)
        return job

    async def upload(self, path: PathLike) -> str:
        """See ``Client.upload``."""
        return await self._do(talks.upload(Path(path)))

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
        return await self._do(
            talks.generate(video, audio, model, options, segments, priority, deadline, webhook_url, output_file_name)
        )

    async def get(self, id: str) -> Generation:
        """A job."""
        return await self._do(talks.get(id))

    async def jobs(self, status: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Generation]:
        """See ``Client.jobs``."""
        return await self._do(talks.jobs(status, ids))

    async def delete(self, id: str) -> None:
        """See ``Client.delete``."""
        await self._do(talks.delete(id))

    async def wait(
        self, id: str, *, seconds: float | None = None, on_progress: OnProgress = _nothing, poll: float = POLL_SECONDS
    ) -> Generation:
        """See ``Client.wait``."""
        return await self._do(talks.wait(id, seconds, on_progress, poll))

    async def download(self, job: Generation, output: PathLike) -> None:
        """See ``Client.download``."""
        async with self._http.stream("GET", job.output_url) as response:
            if not response.is_success:
                await response.aread()
                raise error_of(response)
            with atomic_file(Path(output)) as temporary, temporary.open("wb") as stream:
                async for piece in response.aiter_bytes():
                    await asyncio.to_thread(stream.write, piece)

    async def _do(self, talk: Talk[T]) -> T:
        with closing(talk):
            try:
                step = next(talk)
                while True:
                    try:
                        answer = await self._take(step)
                    except httpx.TransportError as error:
                        step = talk.throw(error)
                    else:
                        step = talk.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result

    async def _take(self, step: Step) -> Any:
        match step:
            case Pause():
                return await asyncio.sleep(step.seconds)
            case Work():
                return await asyncio.to_thread(step.do)
            case Call():
                return await self._http.request(**_request(step))


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key} if key else {}


def _request(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "headers": dict(call.headers),
        "json": call.json,
        "content": call.content,
        "params": call.params,
    }
