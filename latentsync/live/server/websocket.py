"""A live session over a WebSocket.

| who | message | what it is |
|---|---|---|
| client | text, first | JSON: ``person``, ``rate`` (samples a second), ``key`` if the server has one |
| client | bytes | 8 bytes: number of the first sample (unsigned, little endian); then int16 samples, one channel |
| client | text ``end`` | nothing more is said |
| server | text | JSON, ``type``: ``begin`` (``width``, ``height``, ``fps``, ``delay``), ``statistics``, ``error`` |
| server | bytes | 8 bytes: time of the frame in the audio (float64, little endian, s); then a JPEG |

A client shows a frame ``delay`` seconds after it has sent that audio, by the clock of its own sound card, and plays the
audio as much later. Frames come as soon as they are made.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from latentsync.errors import BusyError, LatentSyncError
from latentsync.live.server.studio import Studio, as_jpeg
from latentsync.live.session import LiveSession
from latentsync.types import Frame

MESSAGE_BYTES = 2**16  # of the longest message of a client
TICK = 0.01  # s
STATISTICS_SECONDS = 1.0
_MOST_UNSENT = 25  # frames that wait for a slow network; older ones are left out
_REFUSED, _LATER = 1008, 1013  # codes of RFC 6455


class SocketSession:
    """One client. ``run`` ends with the connection."""

    def __init__(self, socket: WebSocket, studio: Studio) -> None:
        self._socket, self._studio = socket, studio
        self._last_message = time.monotonic()
        self._unsent = 0

    async def run(self) -> None:
        """Talk to the client. A fault of the client is said to it, and closes the connection."""
        await self._socket.accept()
        code, say = 1000, ""
        try:
            hello = await asyncio.wait_for(self._hello(), self._studio.limits.idle_seconds)
            async with self._session(hello["person"], hello["rate"]) as session:
                await self._talk(session)
        except WebSocketDisconnect:
            return
        except TimeoutError:
            code, say = _REFUSED, "Nothing came for too long."
        except BusyError as error:
            code, say = _LATER, str(error)
        except (LatentSyncError, ValueError, KeyError, TypeError) as error:
            code, say = _REFUSED, str(error) if isinstance(error, LatentSyncError) else "The message is none of ours."
        with suppress(RuntimeError, WebSocketDisconnect):  # the client may be gone
            if say:
                await self._socket.send_text(json.dumps({"type": "error", "message": say}))
            await self._socket.close(code)

    @asynccontextmanager
    async def _session(self, person: str, rate: int) -> AsyncIterator[LiveSession]:
        with ExitStack() as stack:
            session = stack.enter_context(self._studio.session(person, rate))
            ending = stack.pop_all()
        try:
            yield session
        finally:
            with anyio.CancelScope(shield=True):  # it waits for the window that is being made; other clients do not
                await asyncio.to_thread(ending.close)

    async def _hello(self) -> dict[str, Any]:
        hello = json.loads(await self._socket.receive_text())
        if not isinstance(hello, dict):
            raise ValueError("no greeting")
        self._studio.check_key(str(hello.get("key", "")))
        return {"person": str(hello["person"]), "rate": int(hello["rate"])}

    async def _talk(self, session: LiveSession) -> None:
        height, width, _ = session.still.shape
        begin = {
            "type": "begin",
            "width": width,
            "height": height,
            "fps": float(1 / session.spacing),
            "delay": session.playout.delay,
        }
        await self._socket.send_text(json.dumps(begin))
        both = {asyncio.create_task(self._receive(session)), asyncio.create_task(self._send(session))}
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)  # and not gather, whose CancelledError is not that of who cancels this session
            for task in both:
                task.cancelled() or task.exception()  # taken note of: the first to end has said why

    async def _receive(self, session: LiveSession) -> None:
        while True:
            message = await self._socket.receive()
            now = time.monotonic()
            self._last_message = now
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            if message.get("text") == "end":
                return
            data = message.get("bytes")
            if data is None or len(data) < 8 or len(data) % 2:
                raise ValueError("no audio")
            first = int.from_bytes(data[:8], "little")
            session.receive(first, np.frombuffer(data[8:], "<i2").astype(np.float32) / 32768, now)

    async def _send(self, session: LiveSession) -> None:
        waiting: deque[Frame] = deque()
        limits, began, told = self._studio.limits, time.monotonic(), 0.0
        while True:
            now = time.monotonic()
            if now - self._last_message > limits.idle_seconds or now - began > limits.longest_seconds:
                raise TimeoutError
            waiting.extend(session.made(now))
            while len(waiting) > _MOST_UNSENT:
                waiting.popleft()
                self._unsent += 1
            if waiting:
                frame = waiting.popleft()
                image = await asyncio.to_thread(as_jpeg, frame)
                await self._socket.send_bytes(struct.pack("<d", float(frame.time)) + image)
            elif now - told > STATISTICS_SECONDS:
                told = now
                figures = {"type": "statistics", **session.statistics_of_made(), "unsent": self._unsent}
                await self._socket.send_text(json.dumps(figures))
            else:
                await asyncio.sleep(TICK)
