"""What a client says and hears, whichever way it waits: each talk is a generator of steps, which either client does.

A talk yields a ``Call`` and is sent the answer, or has the ``httpx.TransportError`` raised in it; it yields a
``Pause``; and it yields ``Work`` of this machine that takes a while, and is sent what comes of that. What it returns is
the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

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
    may_be_sent_again,
    may_pass,
    pause,
    send_piece,
    unreachable,
    wanted,
)

OnProgress = Callable[[Generation], None]
POLL_SECONDS, FIRST_POLL_SECONDS = 1.0, 0.05  # between two looks at a job, at most and at first
POLL_SHARE = 0.05  # of the time that a job has taken until now, which may pass until the next look


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Have something done that may take a while, such as reading a file."""

    do: Callable[[], Any]


Step = Call | Pause | Work
T = TypeVar("T")
Talk = Generator[Step, Any, T]


def send(call: Call) -> Talk[httpx.Response]:
    """The answer to a request that succeeded; what may succeed later is sent again. Raises ``ServiceError``."""
    for attempt in range(ATTEMPTS):
        response = None
        try:
            response = yield call
        except httpx.TransportError as error:
            if attempt == ATTEMPTS - 1 or not may_be_sent_again(call, error):
                raise unreachable(call, error) from error
        else:
            if response.is_success:
                return response
            if attempt == ATTEMPTS - 1 or not may_pass(call, response):
                raise error_of(response)
        yield Pause(pause(attempt, response))
    raise AssertionError("the last attempt returns or raises")


def upload(path: Path) -> Talk[str]:
    """Send a file in pieces, and go on after a broken connection; the result is its ``assetId``."""
    created = yield from send(create_upload(path))
    id = str(created.json()["id"])
    size, offset, failures = path.stat().st_size, 0, 0
    with path.open("rb") as stream:
        while offset < size:
            piece = yield Work(partial(_piece, stream, offset))
            try:
                yield from send(send_piece(id, offset, piece))
                failures = 0
            except ServiceError as error:
                failures += 1
                if failures == ATTEMPTS or error.status not in (0, 409, *PASSING):
                    raise
                yield Pause(pause(failures - 1, None))
            here = yield from send(Call("HEAD", f"/v2/uploads/{id}"))
            offset = int(here.headers["upload-offset"])
    return id


def _piece(stream: IO[bytes], offset: int) -> bytes:
    stream.seek(offset)
    return stream.read(PIECE)


def generate(*about: Any) -> Talk[Generation]:
    """A new job; ``about``: see ``wanted``."""
    answer = yield from send(Call("POST", "/v2/generate", json=wanted(*about), again=False))
    return Generation.of(answer.json())


def get(id: str) -> Talk[Generation]:
    """A job."""
    answer = yield from send(Call("GET", f"/v2/generate/{id}"))
    return Generation.of(answer.json())


def jobs(status: Sequence[str], ids: Sequence[str]) -> Talk[list[Generation]]:
    """Jobs of this key, the latest first."""
    answer = yield from send(Call("GET", "/v2/generations", params=listing(status, ids)))
    return [Generation.of(each) for each in answer.json()]


def delete(id: str) -> Talk[None]:
    """Delete a job."""
    yield from send(Call("DELETE", f"/v2/generate/{id}"))


def wait(id: str, seconds: float | None, on_progress: OnProgress, poll: float) -> Talk[Generation]:
    """The job when it has ended. Raises ``Failed`` and ``TimeoutError``."""
    begun, last = time.monotonic(), None
    while True:
        job = yield from get(id)
        if job != last:
            on_progress(job)
            last = job
        if job.status == "COMPLETED":
            return job
        if job.is_final:
            raise Failed(job)
        passed = time.monotonic() - begun
        if seconds is not None and passed > seconds:
            raise TimeoutError(f"the job {id} has not ended in time")
        yield Pause(min(poll, max(FIRST_POLL_SECONDS, POLL_SHARE * passed)))


def dub(
    video: Path, audio: Path, model: str, options: Mapping[str, Any] | None, on_progress: OnProgress
) -> Talk[Generation]:
    """Upload two files and wait for the job. Raises ``Failed``."""
    inputs = []
    for path in (video, audio):
        id = yield from upload(path)
        inputs.append({"assetId": id})
    made = yield from generate(*inputs, model, options, None, None, None, None, None)
    return (yield from wait(made.id, None, on_progress, POLL_SECONDS))
