"""Jobs over HTTP, in the shape of sync.so's interface: made, asked for, listed, followed, deleted, estimated."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from latentsync.service.dubs import FOREIGN
from latentsync.service.fetching import refuse_addresses
from latentsync.service.generation import GenerateRequest, refuse_impossible
from latentsync.service.http.access import FAULTS, Service, TheKey, TheService
from latentsync.service.job import Job, JobStatus, RequestRefusedError
from latentsync.service.keys import Key
from latentsync.service.uploads import Upload

LIST_LIMIT = 100
POLL_SECONDS = 0.2  # between two looks at a job that somebody follows
_COPY = 2**20  # bytes of a form's file that are copied at one time
router = APIRouter(tags=["generate"], responses=FAULTS)


class Generation(BaseModel):
    """A job. The first half is sync.so's; ``progress`` is 0 to 1, ``position`` how many jobs come before it.

    ``queue_seconds``: from the request to the beginning of the work on it, ``work_seconds``: from there to the end.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    created_at: datetime
    input: list[dict[str, Any]]
    model: str
    options: dict[str, Any] | None = None
    segments: list[dict[str, Any]] | None = None
    status: JobStatus
    error: str | None = None
    error_code: str | None = Field(default=None, alias="error_code")
    output_url: str | None = None
    output_duration: float | None = None
    output_file_name: str | None = None
    webhook_url: str | None = None
    remedy: str | None = None
    stage: str | None = None
    progress: float = 0.0
    position: int | None = None
    queue_seconds: float | None = None
    work_seconds: float | None = None
    notes: list[str] = []
    priority: float = 0.0
    deadline: datetime | None = None


def describe(service: Service, job: Job, position: int | None = None) -> Generation:
    """A job as clients see it."""
    error = job.error or {}
    done = job.status is JobStatus.COMPLETED
    notes = list(job.notes)
    if job.request["model"] in FOREIGN:
        notes.insert(0, f"{job.request['model']} is not here; {service.models.default} makes it.")
    return Generation(
        id=job.id,
        created_at=datetime.fromtimestamp(job.created, UTC),
        input=job.request["input"],
        model=job.request["model"],
        options=job.request.get("options"),
        segments=job.request.get("segments"),
        status=job.status,
        error=error.get("message"),
        error_code=error.get("class"),
        output_url=job.base_url + service.result_path(job) if done else None,
        output_duration=job.seconds,
        output_file_name=job.request.get("outputFileName"),
        webhook_url=job.request.get("webhookUrl"),
        remedy=error.get("remedy") or None,
        stage=job.stage or None,
        progress=round(job.share, 4),
        position=position,
        queue_seconds=_between(job.created, job.begun),
        work_seconds=_between(job.begun, job.ended),
        notes=notes,
        priority=job.priority,
        deadline=job.request.get("deadline"),
    )


def _between(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else round(last - first, 3)


def as_json(service: Service, job: Job) -> dict[str, Any]:
    """What webhooks and streams say of a job."""
    return describe(service, job).model_dump(mode="json", by_alias=True)


EXAMPLE = {
    "model": "latentsync-builtin",
    "input": [
        {"type": "video", "assetId": "00000000-0000-4000-8000-000000000001"},
        {"type": "audio", "assetId": "00000000-0000-4000-8000-000000000002"},
    ],
    "options": {"sync_mode": "bounce"},
    "outputFileName": "dubbed",
}
_SCHEMA: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": GenerateRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
            "examples": {"uploads": {"summary": "Two uploads", "value": EXAMPLE}},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["model"],
                "properties": {
                    "model": {"type": "string"},
                    "video": {"type": "string", "format": "binary"},
                    "audio": {"type": "string", "format": "binary"},
                    "input": {"type": "string", "description": "JSON, as above, for what is not sent as a file"},
                    "options": {"type": "string", "description": "JSON, as above"},
                    "segments": {"type": "string", "description": "JSON, as above"},
                    "webhookUrl": {"type": "string"},
                    "outputFileName": {"type": "string"},
                    "priority": {"type": "number"},
                    "deadline": {"type": "string", "format": "date-time"},
                },
            }
        },
    },
}
SCHEMAS = _SCHEMA["content"]["application/json"]["schema"].pop("$defs")


@router.post("/v2/generate", status_code=201, response_model_by_alias=True, openapi_extra={"requestBody": _SCHEMA})
async def create(request: Request, service: TheService, key: TheKey) -> Generation:
    """A new job, of uploads, of files in a form, or of addresses where the service allows them."""
    await run_in_threadpool(service.store.refuse_excess, key, service.settings.waiting)
    wanted = await _read(request, service, key)
    job = await run_in_threadpool(_accept, service, key, wanted, service.base_url(request))
    service.wake()
    return describe(service, job, await run_in_threadpool(service.store.ahead, job))


@router.get("/v2/generate/{id}", response_model=Generation)
async def get(id: UUID, service: TheService, key: TheKey) -> Response:
    """A job: its status, how far it is, and where its result is."""
    # Clients ask this most. Two rows by their index, which wait for no writer, take less than to go to a thread and
    # back, and what we have made need not be checked for its shape.
    job = _find(service, key, id)
    found = describe(service, job, service.store.ahead(job) if job.status is JobStatus.PENDING else None)
    return Response(found.model_dump_json(by_alias=True), media_type="application/json")


@router.get("/v2/generations")
def list_jobs(
    service: TheService,
    key: TheKey,
    status: Annotated[list[str] | None, Query(description="of these statuses, with commas")] = None,
    ids: Annotated[list[str] | None, Query(description="these jobs, with commas")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = LIST_LIMIT,
) -> list[Generation]:
    """Your jobs, the latest first."""
    statuses, named = ({each for value in values or () for each in value.split(",")} for values in (status, ids))
    return [describe(service, job) for job in service.store.jobs_of(key, statuses, named, limit)]


@router.delete("/v2/generate/{id}", status_code=204)
def delete(id: UUID, service: TheService, key: TheKey) -> Response:
    """Delete a job with everything of it; one that is worked on ends at the next step."""
    job = _find(service, key, id)
    if service.store.remove(job.id):
        shutil.rmtree(service.settings.job_folder(job.id), ignore_errors=True)
    return Response(status_code=204)


@router.get("/v2/generate/{id}/events", response_class=EventSourceResponse)
async def follow(id: UUID, service: TheService, key: TheKey) -> EventSourceResponse:
    """Server-sent events: `progress` with the job as JSON whenever it has changed, at last `end` with the same."""
    _find(service, key, id)

    async def events() -> AsyncIterator[ServerSentEvent]:
        said: Job | None = None
        while True:
            job = service.store.get(str(id), key)
            if job is None:
                yield ServerSentEvent("{}", event="end")
                return
            if job.status.is_final:
                yield ServerSentEvent(json.dumps(as_json(service, job)), event="end")
                return
            if job != said:
                yield ServerSentEvent(json.dumps(as_json(service, job)), event="progress")
                said = job
            await asyncio.sleep(POLL_SECONDS)

    return EventSourceResponse(events())


@router.get("/v2/results/{id}/{token}/{name}", include_in_schema=False)
def result(id: UUID, token: str, name: str, service: TheService) -> FileResponse:
    """The result of a job, to whoever knows its address."""
    job = service.store.get(str(id))
    file = service.settings.result_file(str(id))
    right = service.result_token(str(id))
    if not compare_digest(token.encode(), right.encode()) or job is None or job.stopped or not file.is_file():
        raise RequestRefusedError(
            "There is no such result, or it is not kept any more.", remedy="Ask for the job: its outputUrl.", status=404
        )
    return FileResponse(file, media_type="video/mp4", filename=name, content_disposition_type="inline")


def _find(service: Service, key: Key, id: UUID) -> Job:
    job = service.store.get(str(id), key)
    if job is None:
        raise RequestRefusedError(
            "There is no such job of yours, or it is not kept any more.", remedy="See /v2/generations.", status=404
        )
    return job


async def _read(request: Request, service: Service, key: Key) -> GenerateRequest:
    """The body, checked for its shape; the files of a form are uploads then."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return GenerateRequest.model_validate_json(await request.body())
    async with request.form(max_files=2, max_fields=10) as form:
        values: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
        for name in ("input", "options", "segments"):
            if name in values:
                values[name] = _json(values[name], name)
        inputs = values.setdefault("input", [])
        for kind in ("video", "audio"):
            if isinstance(file := form.get(kind), UploadFile):
                upload = await run_in_threadpool(_keep, service, key, file)
                inputs.append({"type": kind, "assetId": upload.id})
    return GenerateRequest.model_validate(values)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(f"The field {name} is no JSON.", remedy="See /docs for its shape.") from error


def _keep(service: Service, key: Key, file: UploadFile) -> Upload:
    upload = service.uploads.create(key, file.size or 0, file.filename or "file")
    with upload.data.open("wb") as stream:
        shutil.copyfileobj(file.file, stream, _COPY)
    return upload


def _accept(service: Service, key: Key, wanted: GenerateRequest, base_url: str) -> Job:
    """The job, with its inputs in its folder, at the end of the queue. Raises refusals; then nothing is left."""
    refuse_impossible(wanted)
    service.models.resolve(wanted.model)
    refuse_addresses(wanted, service.settings)
    deadline = wanted.deadline_seconds
    if deadline is not None and deadline <= time.time():
        raise RequestRefusedError("The deadline has passed already.", remedy="Give it a later one, or none.")
    service.uploads.require_room()
    id = str(uuid4())
    folder = service.settings.job_folder(id)
    folder.mkdir(parents=True)
    try:
        fetched = True
        for name, each in wanted.files.items():
            if each.asset_id is not None:
                service.uploads.put_into_job(key, each.asset_id, name, folder)
            else:
                fetched = False
        return service.store.add(
            id,
            key,
            wanted.stored(),
            waiting=service.settings.waiting,
            base_url=base_url,
            fetched=fetched,
            priority=wanted.priority,
            deadline=deadline,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
