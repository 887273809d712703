"""What every route needs: the parts of the service, whose request it is, and how refusals are written."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from latentsync.errors import LatentSyncError
from latentsync.service.dubs import Models
from latentsync.service.job import Job, RequestRefusedError, ServiceSettings
from latentsync.service.keys import Key, Keys
from latentsync.service.store import JobStore
from latentsync.service.uploads import Uploads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """``secret``: what signatures are made of. ``wake``: workers and errands, for there is something to do.
    ``unready``: why no job would be worked on now, '' if it would."""

    settings: ServiceSettings
    store: JobStore
    keys: Keys
    models: Models
    uploads: Uploads
    secret: bytes
    wake: Callable[[], None]
    unready: Callable[[], str]

    def base_url(self, request: Request) -> str:
        """Where the client finds this service, without a slash at the end."""
        return self.settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")

    def result_path(self, job: Job) -> str:
        """The path of a result, which whoever knows it may fetch: it holds what nobody can guess."""
        name = job.request.get("outputFileName") or "result"
        return f"/v2/results/{job.id}/{self.result_token(job.id)}/{name}.mp4"

    def result_token(self, id: str) -> str:
        """What makes the path of a result one that nobody can guess."""
        return hmac.new(self.secret, f"result {id}".encode(), sha256).hexdigest()[:32]


class Fault(BaseModel):
    """An error: one sentence, its cause by name, and what to do about it."""

    message: str
    cause: str
    remedy: str = ""
    statusCode: int  # noqa: N815  sync.so's name


async def service_of(request: Request) -> Service:
    """The service that an application was made of. (What every request asks for needs no thread.)"""
    service: Service = request.app.state.service
    return service


_header = APIKeyHeader(name="x-api-key", auto_error=False)
_bearer = HTTPBearer(auto_error=False)


async def key_of(
    service: Annotated[Service, Depends(service_of)],
    header: Annotated[str | None, Security(_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Key:
    """Whose request it is. Raises a refusal (401)."""
    owner = service.keys.owner(header or (bearer.credentials if bearer is not None else None))
    if owner is None:
        raise RequestRefusedError(
            "This service wants a key, and does not know the one that was sent.",
            remedy="Send yours in the header x-api-key, or as Authorization: Bearer KEY.",
            status=401,
        )
    return owner


TheService = Annotated[Service, Depends(service_of)]
TheKey = Annotated[Key, Depends(key_of)]
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": HTTPStatus(status).phrase} for status in (400, 401, 404, 413, 429, 507)
}


def add_fault_handlers(app: FastAPI) -> None:
    """Have every error answered as a ``Fault``."""
    app.add_exception_handler(LatentSyncError, _of_error)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(ValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_ourselves)


def fault(status: int, message: str, cause: str, remedy: str = "", **headers: str) -> JSONResponse:
    """The answer that says what is wrong."""
    content = {"message": message, "cause": cause, "remedy": remedy, "statusCode": status}
    return JSONResponse(content, status, {name.replace("_", "-"): value for name, value in headers.items()})


async def _of_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LatentSyncError)
    status, headers = 400, {}
    if isinstance(error, RequestRefusedError):
        status = error.status
        if error.retry_after is not None:
            headers["Retry_After"] = str(ceil(error.retry_after))
    return fault(status, error.message, type(error).__name__, error.remedy, **headers)


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))[:200]
    said = first["msg"][:300]
    message = f"{where}: {said}." if where else f"The request cannot be understood: {said}."
    return fault(400, message, "ValidationError", "See /docs for what a request looks like.")


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, LatentSyncError):  # FastAPI met it while it read the body
        return await _of_error(request, error.__cause__)
    phrase = HTTPStatus(error.status_code).phrase
    return fault(error.status_code, f"{error.detail}.", phrase, "See /docs for what there is.")


async def _of_ourselves(request: Request, error: Exception) -> JSONResponse:
    logger.error("A request met a fault of this program.", exc_info=error)
    return fault(500, "A fault of this program ended the request.", type(error).__name__, "Its log says more.")
