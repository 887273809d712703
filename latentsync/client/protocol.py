"""What the blocking client and the one for asyncio share: what is sent, what an answer means, when to try again."""

from __future__ import annotations

import base64
import hmac
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from latentsync.errors import LatentSyncError

PIECE = 8 * 2**20  # bytes of an upload that are sent at one time
ATTEMPTS = 6  # of a request that may succeed later
REFUSED = (423, 429, 503)  # nothing was done
PASSING = (*REFUSED, 408, 502, 504)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # s
TOLERANCE = 300.0  # s, that the clocks of the service and of a webhook's receiver may differ
_FINAL = ("COMPLETED", "FAILED", "REJECTED")


class ServiceError(LatentSyncError):
    """The service refuses a request, or cannot be reached. ``status``: of HTTP, 0 for the latter."""

    exit_code = 91

    def __init__(self, message: str, *, remedy: str = "", status: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class Failed(ServiceError):  # noqa: N818  what became of the job, not of the request
    """A job ended without a result."""

    def __init__(self, job: Generation) -> None:
        super().__init__(job.error or f"The job {job.id} has failed.", remedy=job.remedy)
        self.job = job


@dataclass(frozen=True, slots=True)
class Generation:
    """A job. ``progress``: 0 to 1; ``position``: how many jobs come before it, None once it is worked on; ``seconds``:
    length of the result. ``content``: everything that the service says of it."""

    id: str
    status: str
    progress: float = 0.0
    position: int | None = None
    stage: str = ""
    output_url: str = ""
    seconds: float | None = None
    error: str = ""
    error_code: str = ""
    remedy: str = ""
    notes: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in _FINAL

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Generation:
        """From the JSON of the service."""
        return cls(
            id=content["id"],
            status=content["status"],
            progress=content.get("progress", 0.0),
            position=content.get("position"),
            stage=content.get("stage") or "",
            output_url=content.get("outputUrl") or "",
            seconds=content.get("outputDuration"),
            error=content.get("error") or "",
            error_code=content.get("error_code") or "",
            remedy=content.get("remedy") or "",
            notes=tuple(content.get("notes") or ()),
            content=content,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A request. ``again``: whether it may be sent twice, for nobody knows what became of the first one."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    params: Mapping[str, Any] | None = None
    again: bool = True


def wanted(
    video: Mapping[str, str],
    audio: Mapping[str, str] | Sequence[Mapping[str, str]],
    model: str,
    options: Mapping[str, Any] | None,
    segments: Sequence[Mapping[str, Any]] | None,
    priority: float | None,
    deadline: datetime | None,
    webhook_url: str | None,
    output_file_name: str | None,
) -> dict[str, Any]:
    """The body of a new job."""
    audios = [audio] if isinstance(audio, Mapping) else audio
    inputs = [{"type": "video", **video}, *({"type": "audio", **each} for each in audios)]
    more = {
        "options": options,
        "segments": None if segments is None else list(segments),
        "priority": priority,
        "deadline": None if deadline is None else deadline.astimezone().isoformat(),
        "webhookUrl": webhook_url,
        "outputFileName": output_file_name,
    }
    return {"model": model, "input": inputs} | {name: value for name, value in more.items() if value is not None}


def create_upload(path: Path) -> Call:
    """The request for a new upload of a file."""
    name = base64.b64encode(path.name.encode()).decode()
    size = path.stat().st_size
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
    return Call("POST", "/v2/uploads", headers)


def send_piece(id: str, offset: int, piece: bytes) -> Call:
    """The request with a piece; it is not sent twice blindly: where the upload is, is asked for."""
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
    }
    return Call("PATCH", f"/v2/uploads/{id}", headers, content=piece, again=False)


def listing(status: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """The parameters of a list."""
    return {name: ",".join(values) for name, values in (("status", status), ("ids", ids)) if values}


def error_of(response: httpx.Response) -> ServiceError:
    """What an answer that is no success says."""
    try:
        said = json.loads(response.text)
        return ServiceError(str(said["message"]), remedy=str(said.get("remedy", "")), status=response.status_code)
    except (ValueError, KeyError, TypeError):
        text = f"{response.request.url} answers with status {response.status_code}."
        return ServiceError(text, remedy="Look at the address of the service.", status=response.status_code)


def unreachable(call: Call, error: httpx.HTTPError) -> ServiceError:
    """Where there was no answer."""
    return ServiceError(
        f"The service does not answer to {call.method} {call.path}: {error or type(error).__name__}.",
        remedy="Look at its address, and whether it runs.",
    )


def may_be_sent_again(call: Call, error: httpx.TransportError) -> bool:
    """Whether a request that got no answer may be sent again: it has not arrived, or may be done twice."""
    return call.again or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def may_pass(call: Call, response: httpx.Response) -> bool:
    """Whether a request that was answered so may be sent again, and may succeed then."""
    return response.status_code in (PASSING if call.again else REFUSED)


def pause(attempt: int, response: httpx.Response | None) -> float:
    """Seconds to wait after an attempt, counted from 0: as the service says, else longer each time."""
    stated = "" if response is None else response.headers.get("retry-after", "")
    if stated.isdecimal():
        return min(float(stated), LONGEST_PAUSE)
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.75, 1.0)


def verify_webhook(secret: str, signature: str, body: bytes, *, now: float | None = None) -> Generation:
    """The job that a webhook tells of. ``signature``: its header ``Sync-Signature``; ``body``: as it came.

    Raises ``ValueError`` for a message that the service has not signed, or not in the last five minutes.
    """
    parts = dict(part.strip().partition("=")[::2] for part in signature.split(","))
    stamp = parts.get("t", "")
    if not stamp.isdecimal() or abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE:
        raise ValueError("the webhook has no time, or is too old")
    right = hmac.new(secret.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
    if not hmac.compare_digest(parts.get("v1", "").encode(), right.encode()):
        raise ValueError("the webhook is not signed by this service")
    return Generation.of(json.loads(body))
