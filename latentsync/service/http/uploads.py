"""Sending files in pieces: the core of tus 1.0 (https://tus.io/protocols/resumable-upload), creation and termination.

    POST /v2/uploads         Upload-Length: 1048576, Upload-Metadata: filename dmlkZW8ubXA0    -> Location
    PATCH /v2/uploads/ID     Upload-Offset: 0, application/offset+octet-stream                 -> Upload-Offset
    HEAD /v2/uploads/ID      how much has arrived, to go on after a broken connection
    DELETE /v2/uploads/ID

Any client of tus sends so, and ``curl`` too. A whole upload is an input of jobs: its id is their ``assetId``; the
routes ``/v2/assets`` list them as sync.so does.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool

from latentsync.service.http.access import FAULTS, TheKey, TheService
from latentsync.service.job import RequestRefusedError
from latentsync.service.uploads import Upload

VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
_BUFFER = 2**20  # bytes that are written at one time
_AUDIO = {".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac"}
router = APIRouter(tags=["uploads"], responses=FAULTS)


class Asset(BaseModel):
    """An upload as sync.so describes it. ``size``: bytes of the whole; ``received``: that have arrived."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    created_at: datetime
    updated_at: datetime
    name: str
    size: int
    received: int
    format: str
    type: str
    input_type: str = "UPLOAD"
    visibility: str = "USER"


class Assets(BaseModel):
    """A page of them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    items: list[Asset]
    next_cursor: str | None = None
    total_count: int


@router.post("/v2/uploads", status_code=201)
def create(
    request: Request,
    service: TheService,
    key: TheKey,
    upload_length: Annotated[int, Header(description="bytes of the whole file")],
    upload_metadata: Annotated[str, Header(description="filename and its name in base64")] = "",
    tus_resumable: Annotated[str, Header()] = VERSION,
) -> Response:
    """A new, empty upload, at the address in `Location`; the body says `{"id": ...}`."""
    _require_version(tus_resumable)
    upload = service.uploads.create(key, upload_length, _file_name(upload_metadata))
    headers = _headers(upload) | {"Location": f"{service.base_url(request)}/v2/uploads/{upload.id}"}
    return Response(f'{{"id": "{upload.id}"}}', 201, headers, "application/json")


@router.head("/v2/uploads/{id}")
def offset(id: str, service: TheService, key: TheKey) -> Response:
    """How much has arrived: `Upload-Offset`."""
    return Response(headers=_headers(service.uploads.get(key, id)))


@router.patch("/v2/uploads/{id}", status_code=204, openapi_extra={"requestBody": {"content": {PIECE: {}}}})
async def append(
    id: str,
    request: Request,
    service: TheService,
    key: TheKey,
    upload_offset: Annotated[int, Header(description="where the piece begins: what HEAD says")],
    tus_resumable: Annotated[str, Header()] = VERSION,
) -> Response:
    """The next piece. What has arrived when the connection breaks is kept."""
    _require_version(tus_resumable)
    if request.headers.get("content-type") != PIECE:
        raise RequestRefusedError(f"A piece of an upload is {PIECE}.", remedy="Say so in Content-Type.", status=415)
    upload = await run_in_threadpool(service.uploads.get, key, id)
    with service.uploads.alone(upload):
        if upload_offset != upload.offset:
            raise RequestRefusedError(
                f"{upload.offset:,} bytes have arrived; the piece begins at {upload_offset:,}.",
                remedy="Ask with HEAD, and go on from there.",
                status=409,
            )
        await run_in_threadpool(service.uploads.require_room, upload.length - upload_offset)
        with upload.data.open("ab") as stream:
            await _receive(request, stream, upload.length - upload_offset)
    return Response(status_code=204, headers=_headers(upload))


async def _receive(request: Request, stream: BinaryIO, most: int) -> None:
    """Write the body, of ``most`` bytes. Raises a refusal (413) for more; they are not written."""
    waiting = bytearray()
    try:
        async for piece in request.stream():
            if len(piece) + len(waiting) > most:
                raise RequestRefusedError(
                    "The piece goes beyond the length of the upload.",
                    remedy="Make an upload that is longer.",
                    status=413,
                )
            waiting += piece
            if len(waiting) >= _BUFFER:
                most -= await run_in_threadpool(stream.write, bytes(waiting))
                waiting.clear()
    finally:
        stream.write(waiting)


@router.delete("/v2/uploads/{id}", status_code=204)
@router.delete("/v2/assets/{id}", status_code=204, include_in_schema=False)
def delete(id: str, service: TheService, key: TheKey) -> Response:
    """Delete an upload; jobs that use it keep it until they are done."""
    service.uploads.remove(service.uploads.get(key, id))
    return Response(status_code=204)


@router.get("/v2/assets")
def list_assets(service: TheService, key: TheKey, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Assets:
    """Your uploads, the latest first."""
    there = service.uploads.all(key)
    return Assets(items=[_asset(each) for each in there[:limit]], total_count=len(there))


@router.get("/v2/assets/{id}")
def asset(id: str, service: TheService, key: TheKey) -> Asset:
    """An upload."""
    return _asset(service.uploads.get(key, id))


def _asset(upload: Upload) -> Asset:
    created = datetime.fromtimestamp(upload.created, UTC)
    return Asset(
        id=upload.id,
        created_at=created,
        updated_at=datetime.fromtimestamp(upload.data.stat().st_mtime, UTC),
        name=upload.name,
        size=upload.length,
        received=upload.offset,
        format=upload.suffix.removeprefix("."),
        type="AUDIO" if upload.suffix in _AUDIO else "VIDEO",
    )


def _headers(upload: Upload) -> dict[str, str]:
    return {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.length),
        "Cache-Control": "no-store",
    }


def _require_version(given: str) -> None:
    if given != VERSION:
        raise RequestRefusedError(f"This is tus {VERSION}.", remedy="Send Tus-Resumable: 1.0.0.", status=412)


def _file_name(metadata: str) -> str:
    """'filename' of the header, '' if it has none. Raises a refusal for what is no base64."""
    pairs: dict[str, Any] = dict(part.strip().partition(" ")[::2] for part in metadata.split(","))
    try:
        return base64.b64decode(pairs.get("filename", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RequestRefusedError("Upload-Metadata has values in base64.", remedy="Encode them.") from error
