"""A client of the service (docs/serving.md), typed, blocking and for asyncio.

It needs ``httpx``, and no network of this program.

    from latentsync.client import Client

    with Client("http://127.0.0.1:8000", key="...") as client:
        job = client.dub("in.mp4", "speech.wav", "out.mp4", on_progress=lambda job: print(job.progress))
"""

from latentsync.client.clients import AsyncClient, Client
from latentsync.client.protocol import Failed, Generation, ServiceError, verify_webhook

__all__ = ["AsyncClient", "Client", "Failed", "Generation", "ServiceError", "verify_webhook"]
