"""Calls over WebRTC: frames come back, and whoever has gone makes room for the next one."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from latentsync.live.server.studio import Studio, StudioLimits
from latentsync.live.session import MOST_AHEAD
from tests.live.plain import OPTIONS, plain_person, plain_pipeline

aiortc = pytest.importorskip("aiortc", reason="WebRTC needs aiortc")
LONG = 300  # s; only guards against a hang


@pytest.fixture(scope="module")
def world():
    pipeline = plain_pipeline()
    return pipeline, plain_person(pipeline)


async def offer_of(peer):
    peer.addTrack(aiortc.mediastreams.AudioStreamTrack())
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    return {"sdp": peer.localDescription.sdp, "type": "offer", "person": "anna"}


async def free(studio):
    while not studio._free.acquire(blocking=False):
        await asyncio.sleep(0.02)


def called(world, use, **limits):
    """Run ``use`` with the calls of a studio and a caller; afterwards there is room for another one."""
    from latentsync.live.server.webrtc import Calls

    async def run():
        studio = Studio(world[0], {"anna": world[1]}, OPTIONS, StudioLimits(**limits))
        calls, peer = Calls(studio), aiortc.RTCPeerConnection()
        try:
            await use(calls, peer)
            await free(studio)
        finally:
            await peer.close()
            await calls.close()

    asyncio.run(asyncio.wait_for(run(), LONG))


def test_a_call_that_is_never_taken_up_ends_and_makes_room(world):
    async def use(calls, peer):
        await calls.answer(await offer_of(peer))

    called(world, use, idle_seconds=0.1)


def test_frames_come_back_until_the_caller_has_gone(world):
    async def use(calls, peer):
        tracks = []
        peer.on("track", tracks.append)
        answer = await calls.answer(await offer_of(peer))
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(**answer))
        frame = await next(track for track in tracks if track.kind == "video").recv()
        assert (frame.width, frame.height) == (160, 160)
        await peer.close()

    called(world, use)


def test_what_is_no_offer_is_refused_and_takes_no_room(world):
    async def use(calls, peer):
        offer = await offer_of(peer)
        hostile = offer["sdp"].replace("m=audio", "m=audio x").replace("a=rtpmap:", "a=rtpmap:x")
        for wrong in ({"type": "answer"}, {"sdp": "no description"}, {"sdp": hostile}):
            with pytest.raises(ValueError):
                await calls.answer(offer | wrong)

    called(world, use)


def test_a_sample_from_the_far_future_ends_the_call(world):
    """Nothing is made of what would lie before it: at 48 kHz, a whole RTP time stamp of silence is 17 GB."""

    class Jump(aiortc.mediastreams.AudioStreamTrack):
        async def recv(self):
            frame = await super().recv()
            if frame.pts:
                frame.pts += int(2 * MOST_AHEAD * frame.sample_rate)
            return frame

    async def use(calls, peer):
        await calls.answer(await offer_of(peer))
        (call,) = calls._calls
        await call._receive(Jump())
        assert not calls._calls
        assert len(call._session.jitter.take(0)) < MOST_AHEAD * 48_000

    called(world, use)


def test_audio_of_another_clock_is_counted_at_48_khz(world):
    """PCMU has 8000 samples a second."""

    class Eight(aiortc.mediastreams.AudioStreamTrack):
        async def recv(self):
            if getattr(self, "_timestamp", 0) >= 5 * 160:
                raise aiortc.mediastreams.MediaStreamError
            return await super().recv()

    async def use(calls, peer):
        await calls.answer(await offer_of(peer))
        (call,) = calls._calls
        pieces = []
        call._session.receive = lambda first, samples, now: pieces.append((first, len(samples)))
        await call._receive(Eight())
        assert np.diff([first for first, _ in pieces]).max() <= 960 and pieces[-1][0] == 5 * 960
        await call.close()

    called(world, use)
