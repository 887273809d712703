"""Where a weight file can be fetched, on the Hugging Face hub or elsewhere, and bringing it here however often the
connection breaks.

The hub's own client throws a half-loaded file away when its process ends, which for 5 GB is a lost evening. So the
client is asked only where a file lies and what its checksum is, and the bytes come by HTTP with ranges, on the standard
library. Proxies are taken from the environment (``HTTPS_PROXY`` and so on), a mirror of the hub from ``HF_ENDPOINT``.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from tqdm import tqdm

from latentsync.checkpoint.registry import HubFile, WebFile
from latentsync.errors import DownloadError

BLOCK = 1 << 20  # bytes per read
TIMEOUT = 30.0  # seconds without a byte before the connection counts as broken
ATTEMPTS = 5  # in a row without a new byte
PAUSE = 1.0  # seconds before the second attempt; doubles with each further one
LONGEST_PAUSE = 60.0  # seconds; a server that asks for more is reported instead
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})  # HTTP states worth another attempt
CUT = (http.client.HTTPException, urllib.error.URLError, ssl.SSLError, TimeoutError, ConnectionError)

# The library's transport errors come from the HTTP client that it happens to use, as this base class does.
CLIENT_ERROR = cast(type[Exception], HfHubHTTPError.__bases__[0])
SHA256 = re.compile(r"[0-9a-f]{64}")

REMEDIES = {
    401: "Log in with `hf auth login` or set HF_TOKEN, accept the licence on the page of the repository, or copy the "
    "file by hand and use --import.",
    403: "Accept the licence on the page of the repository with your account, or take a mirror (HF_ENDPOINT), or copy "
    "the file by hand and use --import.",
    404: "The address has moved: take a mirror (HF_ENDPOINT), another --revision, or copy the file by hand and use "
    "--import.",
    429: "Too many requests from this address: wait some minutes and start again (it goes on where it stopped), or "
    "take a mirror (HF_ENDPOINT).",
}
OFFLINE_REMEDY = (
    "Check the connection, name a proxy (HTTPS_PROXY), take a mirror (HF_ENDPOINT), or copy the file by hand and use "
    "--import. Starting again goes on where it stopped."
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Where the bytes lie and what the server says of them; None = it does not say."""

    url: str
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None  # strong one of the very address, quotes included
    revision: str | None = None  # commit that a branch name was resolved to
    headers: Mapping[str, str] = field(
        default_factory=dict
    )  # sent to the address's own host only, never after a redirect


def explain(status: int, url: str) -> DownloadError:
    """The error for an HTTP state, with what to do about it."""
    reason = http.client.responses.get(status, "unknown state")
    remedy = REMEDIES.get(status, "The server is in trouble: try later, or take a mirror (HF_ENDPOINT).")
    return DownloadError(f"{_shown(url)} answers {status} ({reason}).", remedy=remedy)


def offline(url: str, error: BaseException) -> DownloadError:
    """The error for a connection that cannot be opened or breaks for good."""
    reason = getattr(error, "reason", None) or error
    return DownloadError(f"{_shown(url)} cannot be reached ({reason}).", remedy=OFFLINE_REMEDY)


def probe(url: str, timeout: float = TIMEOUT) -> RemoteFile:
    """What the server says of ``url`` before anything is fetched; raises ``DownloadError``, after ``timeout`` seconds
    without an answer."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # addresses from the registry
            length = response.headers.get("Content-Length")
            etag = response.headers.get("ETag", "")
            return RemoteFile(url, int(length) if length else None, etag=etag if etag.startswith('"') else None)
    except urllib.error.HTTPError as error:
        raise explain(error.code, url) from error
    except CUT as error:
        raise offline(url, error) from error


def locate(source: HubFile | WebFile, revision: str = "main", timeout: float = TIMEOUT) -> RemoteFile:
    """Where ``source`` lies. ``revision`` is a branch, tag or commit of a hub repository.

    Raises ``DownloadError`` if the server refuses, does not know the file, or does not answer for ``timeout`` seconds.
    """
    if isinstance(source, WebFile):
        return probe(source.url, timeout)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(source.repository, source.path, revision=revision, endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url, timeout=timeout)
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"{source.repository} has no revision {revision!r}.",
            remedy="Name one that its page lists, or leave it out.",
        ) from error
    except HfHubHTTPError as error:
        raise explain(error.response.status_code, url) from error
    except (CLIENT_ERROR, OSError) as error:
        raise offline(url, error) from error
    token = get_token()
    own_host = urllib.parse.urlsplit(found.location).netloc == urllib.parse.urlsplit(url).netloc
    return RemoteFile(
        url=found.location,
        size=found.size,
        sha256=found.etag if SHA256.fullmatch(found.etag or "") else None,
        revision=found.commit_hash,
        headers={"Authorization": f"Bearer {token}"} if token and own_host else {},
    )


def address(source: HubFile | WebFile, remote: RemoteFile) -> str:
    """What a card calls the source: the repository and file at the commit that it was fetched from, or the address."""
    if isinstance(source, WebFile):
        return source.url
    return f"{source.repository}/{source.path}@{remote.revision or 'unknown'}"


def fetch(remote: RemoteFile, partial: Path, label: str) -> None:
    """Bring ``remote`` to ``partial``, going on from the bytes that are there; ``label`` names the progress bar.

    The file is complete when this returns; its content is not checked. Raises ``DownloadError`` and leaves what has
    arrived for the next time.
    """
    left = ATTEMPTS
    with partial.open("ab") as stream, _progress(remote, partial, label) as progress:
        while left:
            before = stream.tell()
            try:
                if _receive(remote, stream, progress):
                    return
                failure: BaseException = ConnectionError(f"the connection broke after {stream.tell():,} bytes")
            except urllib.error.HTTPError as error:
                if error.code not in TRANSIENT:
                    raise explain(error.code, remote.url) from error
                failure = error
            except CUT as error:
                failure = error
            left = ATTEMPTS if stream.tell() > before else left - 1
            if left:
                time.sleep(_pause(failure, ATTEMPTS - left))
    if isinstance(failure, urllib.error.HTTPError):
        raise explain(failure.code, remote.url) from failure
    raise offline(remote.url, failure) from failure


def _receive(remote: RemoteFile, stream: BinaryIO, progress: tqdm) -> bool:
    """Append what one request brings to ``stream``; whether the file is whole."""
    start = stream.tell()
    if remote.size is not None and start >= remote.size:
        if start == remote.size:
            return True
        start = _restart(stream, progress)
    request = urllib.request.Request(remote.url, headers={"Accept-Encoding": "identity"})
    for name, value in remote.headers.items():
        request.add_unredirected_header(name, value)
    if start:
        request.add_header("Range", f"bytes={start}-")
        if remote.etag:
            request.add_header("If-Range", remote.etag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # addresses from the registry
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing lies beyond: the rest is not of this file
            _restart(stream, progress)
            return False
        raise
    with response:
        if start and not _continues(response, start):
            start = _restart(stream, progress)
        length = response.headers.get("Content-Length")
        whole = start + int(length) if length else remote.size
        while block := response.read(BLOCK):
            stream.write(block)
            progress.update(len(block))
    return whole is None or stream.tell() == whole


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server kept to the range that was asked for."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _restart(stream: BinaryIO, progress: tqdm) -> int:
    stream.truncate(0)
    stream.seek(0)
    progress.reset(total=progress.total)
    return 0


def _pause(failure: BaseException, attempt: int) -> float:
    """Seconds to wait; the server's own wish goes first."""
    wish = failure.headers.get("Retry-After", "") if isinstance(failure, urllib.error.HTTPError) else ""
    return min(float(wish) if wish.isdigit() else PAUSE * 2**attempt, LONGEST_PAUSE)


def _progress(remote: RemoteFile, partial: Path, label: str) -> tqdm:
    done = partial.stat().st_size
    return tqdm(total=remote.size, initial=done, desc=label, unit="B", unit_scale=True, unit_divisor=1000, disable=None)


def _shown(url: str) -> str:
    """The address without its query, which may be signed."""
    return urllib.parse.urlsplit(url)._replace(query="").geturl()
