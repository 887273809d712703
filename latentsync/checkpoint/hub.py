"""Ask the Hugging Face hub, or the mirror in ``HF_ENDPOINT``, where a file lies and what its checksum is."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from latentsync.checkpoint.registry import HubFile, WebFile
from latentsync.checkpoint.transfer import RemoteFile, explain, offline, probe
from latentsync.errors import DownloadError

# The library's transport errors come from the HTTP client that it happens to use, as this base class does.
CLIENT_ERROR = HfHubHTTPError.__bases__[0]
SHA256 = re.compile(r"[0-9a-f]{64}")


def locate(source: HubFile | WebFile, revision: str = "main") -> RemoteFile:
    """Where ``source`` lies. ``revision`` is a branch, tag or commit of a hub repository.

    Raises ``DownloadError`` if the server refuses, does not know the file, or cannot be reached.
    """
    if isinstance(source, WebFile):
        return probe(source.url)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(source.repository, source.path, revision=revision, endpoint=endpoint)
    try:
        found = get_hf_file_metadata(url)
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
    own_host = urlsplit(found.location).netloc == urlsplit(url).netloc
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
