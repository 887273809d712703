"""Inputs that a client named by their address: fetched into the folder of the job before its time comes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from latentsync.errors import DiskFullError
from latentsync.inference.job.folder import described
from latentsync.service.errands import Errands
from latentsync.service.generation import AudioInput, GenerateRequest, VideoInput
from latentsync.service.job import Job, JobStatus, RequestRefusedError, ServiceSettings
from latentsync.service.outside import MOST_REDIRECTS, Outside, UnreachableError
from latentsync.service.store import JobStore

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_NO_MEDIA = ("text/", "application/json", "application/xhtml")  # an error page, a login, a viewer of the file
logger = logging.getLogger(__name__)


def refuse_addresses(request: GenerateRequest, settings: ServiceSettings) -> None:
    """Raise ``RequestRefusedError`` for inputs or a webhook at addresses that this service does not use."""
    outside = Outside(settings.private_addresses)
    for each in request.files.values():
        if each.url is not None and not settings.url_inputs:
            raise RequestRefusedError(
                f"This service does not fetch files; the {each.type} input is an address.",
                remedy="Upload the file (/v2/uploads) and give its assetId; "
                "whoever runs the service can allow addresses: `latentsync serve --url_inputs`.",
            )
        if each.url is not None:
            outside.check(each.url)
    if request.webhook_url is not None:
        outside.check(request.webhook_url)


def fetch_input(given: VideoInput | AudioInput, name: str, folder: Path, settings: ServiceSettings) -> None:
    """Have the file at ``given.url`` in ``folder``, as ``name`` with a suffix.

    Raises ``RequestRefusedError``, and ``OSError`` of the disk.
    """
    assert given.url is not None
    suffix = PurePosixPath(urlsplit(given.url).path).suffix.lower()
    part = folder / f".{name}.part"
    try:
        _fetch(given.url, part, settings)
    except UnreachableError as error:
        raise RequestRefusedError(
            f"The {given.type} cannot be fetched: {error}.", remedy="Look at its address, or upload the file."
        ) from error
    else:
        part.rename(folder / f"{given.type}{suffix if _SUFFIX.fullmatch(suffix) else '.bin'}")
    finally:
        part.unlink(missing_ok=True)


def _fetch(url: str, target: Path, settings: ServiceSettings) -> None:
    most = settings.limits.bytes
    too_large = UnreachableError(f"it has more than {most:,} bytes")
    outside = Outside(settings.private_addresses)
    with outside.request("GET", url, seconds=settings.fetch_seconds, redirects=MOST_REDIRECTS) as answer:
        if answer.status != 200:
            raise UnreachableError(f"the other side answers with status {answer.status}")
        if answer.headers.get("content-type", "").lower().startswith(_NO_MEDIA):
            raise UnreachableError("there is text at that address, not a file of media")
        stated = answer.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        with target.open("wb") as stream:
            size = 0
            for piece in answer.pieces():
                size += len(piece)
                if size > most:
                    raise too_large
                stream.write(piece)


def fetching(store: JobStore, settings: ServiceSettings, wake_workers: Callable[[], None]) -> Errands[Job]:
    """Fetches the inputs of jobs that wait for them; what cannot be fetched ends its job as ``REJECTED``."""

    def run(job: Job) -> None:
        folder, request = settings.job_folder(job.id), GenerateRequest.model_validate(job.request)
        try:
            for name, each in request.files.items():
                if each.url is not None:
                    fetch_input(each, name, folder, settings)
        except RequestRefusedError as error:
            logger.info("An input cannot be fetched.", extra={"job": job.id})
            store.finish(job.id, JobStatus.REJECTED, error=described(error))
        except OSError as error:
            if folder.is_dir():  # else the job was deleted meanwhile
                logger.error("An input cannot be kept: %s.", error.strerror, extra={"job": job.id})
                full = DiskFullError("The service has no room for the inputs.", remedy="Send the job again later.")
                store.finish(job.id, JobStatus.FAILED, error=described(full))
        else:
            store.set_fetched(job.id)
            wake_workers()

    return Errands("fetching", store.unfetched, lambda job: job.id, run)
