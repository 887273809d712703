"""A live session over WebRTC (package aiortc): the microphone comes as a track, the face and its audio go as two.

The browser shows both tracks together by the times at which they are sent, so the audio is sent as much later as the
frames are: ``Playout.delay``, also when that grows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from latentsync.live.server.studio import Studio
from latentsync.live.session import LiveSession

RATE = 48_000  # of WebRTC's audio
PIECE = RATE // 50  # samples, 20 ms
_VIDEO_CLOCK = 90_000
_HELD = 5 * RATE  # samples of audio that are kept to be sent back


class Calls:
    """The calls of a server, at most as many as its studio has sessions."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._calls: set[Call] = set()

    async def answer(self, offer: Mapping[str, Any]) -> dict[str, str]:
        """The answer to an offer with ``sdp``, ``type``, ``person`` and ``key``. Raises ``ConfigError``,
        ``BusyError``, and ``ValueError`` for what is no offer."""
        self._studio.check_key(str(offer.get("key", "")))
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

    def __init__(self, studio: Studio, person: str, on_end: Any) -> None:
        self._on_end, self._limits = on_end, studio.limits
        self._stack = ExitStack()
        self._session = self._stack.enter_context(studio.session(person, RATE))
        self._echo = EchoTrack(self._session)
        self._peer = RTCPeerConnection()
        self._peer.on("track", self._heard)
        self._peer.on("connectionstatechange", self._changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._last = time.monotonic()

    async def answer(self, offer: RTCSessionDescription) -> dict[str, str]:
        """See ``Calls.answer``."""
        await self._peer.setRemoteDescription(offer)
        self._peer.addTrack(FaceTrack(self._session))
        self._peer.addTrack(self._echo)
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        self._tasks.append(asyncio.create_task(self._watch()))
        return {"sdp": self._peer.localDescription.sdp, "type": self._peer.localDescription.type}

    async def close(self) -> None:
        """Hang up."""
        self._on_end(self)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await self._peer.close()
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
            if time.monotonic() - began > self._limits.longest_seconds:
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
            first = frame.pts - start  # of 48 kHz, by the sender's count, so that what is lost leaves a hole
            for part in resampler.resample(frame):
                samples = part.to_ndarray()[0]
                self._session.receive(first, samples.astype(np.float32) / 32768, now)
                self._echo.put(first, samples)
                first += len(samples)


class FaceTrack(MediaStreamTrack):
    """The frames of a session, each when it is to be seen."""

    kind = "video"

    def __init__(self, session: LiveSession) -> None:
        super().__init__()
        self._session = session
        self._began = 0.0
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        """The next frame, at its time."""
        now = time.monotonic()
        self._began = self._began or now
        due = self._began + self._count * float(self._session.spacing)
        while now < due:
            await asyncio.sleep(min(due - now, 0.01))
            now = time.monotonic()
        shown = self._session.tick(now)
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
