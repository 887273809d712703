"""A live session over WebRTC (package aiortc): the microphone comes as a track, the face and its audio go as two.

The browser shows both tracks together by the times at which they are sent, so the audio is sent as much later as the
frames are: ``Playout.delay``, also when that grows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from latentsync.errors import LatentSyncError
from latentsync.live.server.studio import Studio
from latentsync.live.session import LiveSession

RATE = 48_000  # of WebRTC's audio
PIECE = RATE // 50  # samples, 20 ms
_VIDEO_CLOCK = 90_000
_HELD = 5 * RATE  # samples of audio that are kept to be sent back
logger = logging.getLogger(__name__)


class Calls:
    """The calls of a server, at most as many as its studio has sessions."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._calls: set[Call] = set()

    async def answer(self, offer: Mapping[str, Any]) -> dict[str, str]:
        """The answer to an offer with ``sdp``, ``type``, ``person`` and ``key``. Raises ``ConfigError``,
        ``BusyError``, and ``ValueError`` for what is no offer."""
        self._studio.check_key(str(offer.get("key", "")))
        if offer["type"] != "offer":
            raise ValueError("no offer")
        description = RTCSessionDescription(sdp=str(offer["sdp"]), type=str(offer["type"]))
        call = Call(self._studio, str(offer["person"]), self._calls.discard)
        self._calls.add(call)
        try:
            return await call.answer(description)
        except BaseException:
            await call.close()
            raise

    async def close(self) -> None:
        """End all calls."""
        for call in list(self._calls):
            await call.close()


class Call:
    """One caller."""

    def __init__(self, studio: Studio, person: str, on_end: Callable[[Call], None]) -> None:
        self._on_end, self._limits = on_end, studio.limits
        self._stack = ExitStack()
        self._session = self._stack.enter_context(studio.session(person, RATE))
        self._face, self._echo = FaceTrack(self._session), EchoTrack(self._session)
        self._peer = RTCPeerConnection()
        self._peer.on("track", self._heard)
        self._peer.on("connectionstatechange", self._changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._last = time.monotonic()

    async def answer(self, offer: RTCSessionDescription) -> dict[str, str]:
        """See ``Calls.answer``."""
        try:
            await self._peer.setRemoteDescription(offer)
        except Exception as error:  # whatever the parser of a stranger's text stumbles over
            raise ValueError("no offer") from error
        self._peer.addTrack(self._face)
        self._peer.addTrack(self._echo)
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        self._tasks.append(asyncio.create_task(self._watch()))
        return {"sdp": self._peer.localDescription.sdp, "type": self._peer.localDescription.type}

    async def close(self) -> None:
        """Hang up. It goes on in a task of its own: whoever asks for it may be one of those that it cancels."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._on_end(self)
        for task in self._tasks:
            task.cancel()
        try:
            await self._peer.close()
        finally:
            await asyncio.to_thread(self._stack.close)

    def _heard(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._tasks.append(asyncio.create_task(self._receive(track)))

    async def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed", "disconnected"):
            await self.close()

    async def _watch(self) -> None:
        began = time.monotonic()
        while time.monotonic() - self._last < self._limits.idle_seconds:
            if time.monotonic() - began > self._limits.longest_seconds or self._face.has_failed:
                break
            await asyncio.sleep(1)
        await self.close()

    async def _receive(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        start: int | None = None
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self._last = now = time.monotonic()
            start = frame.pts if start is None else start
            # By the sender's count, so that what is lost leaves a hole; not every codec's clock has the rate.
            first = int((frame.pts - start) * frame.time_base * RATE)
            for part in resampler.resample(frame):
                samples = part.to_ndarray()[0]
                try:
                    self._session.receive(first, samples.astype(np.float32) / 32768, now)
                except LatentSyncError as error:
                    logger.warning("A call was ended: %s", error)
                    await self.close()
                    return
                self._echo.put(first, samples)
                first += len(samples)


class FaceTrack(MediaStreamTrack):
    """The frames of a session, each when it is to be seen. ``has_failed``: there are no more, and the log says why."""

    kind = "video"

    def __init__(self, session: LiveSession) -> None:
        super().__init__()
        self._session = session
        self._began = 0.0
        self._count = 0
        self.has_failed = False

    async def recv(self) -> av.VideoFrame:
        """The next frame, at its time. Raises ``MediaStreamError`` where the work has failed."""
        now = time.monotonic()
        self._began = self._began or now
        due = self._began + self._count * float(self._session.spacing)
        while now < due:
            await asyncio.sleep(min(due - now, 0.01))
            now = time.monotonic()
        try:
            shown = self._session.tick(now)
        except Exception as error:
            logger.exception("The frames of a call cannot be made.")
            self.has_failed = True
            raise MediaStreamError from error
        frame = av.VideoFrame.from_ndarray(await asyncio.to_thread(lambda: shown.pixels), format="rgb24")
        frame.pts = int((due - self._began) * _VIDEO_CLOCK)
        frame.time_base = Fraction(1, _VIDEO_CLOCK)
        self._count = max(self._count + 1, int((now - self._began) / float(self._session.spacing)))
        return frame


class EchoTrack(MediaStreamTrack):
    """The audio of a session, as much later as its frames are."""

    kind = "audio"

    def __init__(self, session: LiveSession) -> None:
        super().__init__()
        self._session = session
        self._held = np.zeros(_HELD, np.int16)  # a ring, by sample number
        self._written = 0
        self._count = 0
        self._began = 0.0

    def put(self, first: int, samples: np.ndarray) -> None:
        """Audio (n,) int16 whose samples are counted from ``first``."""
        places = np.arange(max(first, self._written - _HELD), first + len(samples))
        if self._written < first:
            self._held[np.arange(max(self._written, first - _HELD), first) % _HELD] = 0
        self._held[places % _HELD] = samples[len(samples) - len(places) :]
        self._written = max(self._written, first + len(samples))

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms."""
        self._began = self._began or time.monotonic()
        due = self._began + self._count / 50
        while (now := time.monotonic()) < due:
            await asyncio.sleep(due - now)
        behind = self._session.jitter.behind
        samples = np.zeros(PIECE, np.int16)
        if behind is not None:
            first = int((due - behind - self._session.playout.delay) * RATE)
            places = np.arange(first, first + PIECE)
            there = (places >= max(0, self._written - _HELD)) & (places < self._written)
            samples[there] = self._held[places[there] % _HELD]
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._count * PIECE, Fraction(1, RATE)
        self._count += 1
        return frame
