"""What the service is and how it is: models, costs, health, figures."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from latentsync.constants import VERSION
from latentsync.service.dubs import make_dub
from latentsync.service.fetching import fetch_input, refuse_addresses
from latentsync.service.generation import GenerateRequest, refuse_impossible
from latentsync.service.http.access import FAULTS, Service, TheKey, TheService
from latentsync.service.http.generations import EXAMPLE
from latentsync.service.keys import Key
from latentsync.service.metrics import exposition
from latentsync.service.webhooks import webhook_secret

router = APIRouter(responses=FAULTS)
health = APIRouter(tags=["health"])
_estimating = threading.Lock()  # its networks and its memory are needed once


class ModelInfo(BaseModel):
    """A model that a request can name."""

    id: str
    name: str
    type: str = "lipsync"
    version: str
    description: str


class Cost(BaseModel):
    """What a job will take. ``estimatedGenerationCost``: USD, 0 here. ``estimatedSeconds`` of work, within a factor of
    two or three; ``estimatedWaitSeconds`` before it, as long as the latest jobs took on average. ``deadlineKept``:
    whether it would be done at its deadline, null without one."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    estimated_frame_count: float
    estimated_generation_cost: float = 0.0
    estimated_seconds: float
    denoising_steps: int
    estimated_wait_seconds: float
    deadline_kept: bool | None
    disk_bytes: int
    notes: list[str]


@router.get("/v2/models", tags=["models"])
def models(service: TheService, key: TheKey) -> list[ModelInfo]:
    """The models of this service; the first one also answers to the names of sync.so's models."""
    names = sorted(service.models.weights, key=lambda name: name != service.models.default)
    return [
        ModelInfo(id=name, name=name, version=VERSION, description=f"{service.models.weights[name].unet.name}")
        for name in names
    ]


@router.post("/v2/generate/estimate-cost", tags=["generate"])
@router.post("/v2/analyze/cost", tags=["generate"], include_in_schema=False)
def estimate(
    wanted: Annotated[GenerateRequest, Body(openapi_examples={"uploads": {"value": EXAMPLE}})],
    service: TheService,
    key: TheKey,
) -> list[Cost]:
    """What a job would take: its inputs are checked as `latentsync dub --dry-run` does, and nothing is generated. With
    `auto_detect` it is what dubbing the largest face would take: who speaks is found out by the job."""
    from latentsync.inference.job.preflight import preflight  # here: it imports torch in the end, which takes seconds
    from latentsync.inference.job.speakers import without_look

    refuse_impossible(wanted)
    service.models.resolve(wanted.model)
    refuse_addresses(wanted, service.settings)
    with _inputs(service, key, wanted) as folder, _estimating:
        checked = preflight(without_look(make_dub(wanted, service.models, service.settings, folder)))
    cost, deadline = checked.cost, wanted.deadline_seconds
    ahead = service.store.ahead_of_new(key, wanted.priority, deadline)
    wait = service.store.seconds_before(ahead, cost.seconds)
    return [
        Cost(
            estimated_frame_count=cost.frames,
            estimated_seconds=round(cost.seconds, 1),
            denoising_steps=cost.denoising_steps,
            estimated_wait_seconds=round(wait, 1),
            deadline_kept=None if deadline is None else time.time() + wait + cost.seconds <= deadline,
            disk_bytes=cost.disk_bytes,
            notes=[note.replace(f"{folder}/", "") for note in checked.notes],
        )
    ]


@contextmanager
def _inputs(service: Service, key: Key, wanted: GenerateRequest) -> Iterator[Path]:
    """A folder with the inputs, while the block lasts."""
    service.uploads.require_room()
    folder = service.settings.folder / "estimates" / uuid4().hex
    folder.mkdir(parents=True)
    try:
        for name, each in wanted.files.items():
            if each.asset_id is not None:
                service.uploads.put_into_job(key, each.asset_id, name, folder)
            else:
                fetch_input(each, name, folder, service.settings)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@router.get("/v2/webhooks/secret", tags=["webhooks"])
def secret(service: TheService, key: TheKey) -> dict[str, str]:
    """What the webhooks of your jobs are signed with: header `Sync-Signature`."""
    return {"secret": webhook_secret(service.secret, key.name)}


@health.get("/healthz")
async def alive() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok", "version": VERSION}


@health.get("/readyz", responses={503: {"description": "not ready; `reason` says why"}})
def ready(service: TheService) -> JSONResponse:
    """Whether a job that is sent now would be worked on."""
    reason = service.unready()
    return JSONResponse({"status": "not ready" if reason else "ready", "reason": reason}, 503 if reason else 200)


@health.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(exposition(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)
