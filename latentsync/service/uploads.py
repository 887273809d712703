"""Files that clients send, in pieces: each key has a folder, each file one in it.

    uploads/KEY/ID/about.json    name, length, kind
    uploads/KEY/ID/data          what has arrived of it

How far an upload is, is the size of ``data`` and nothing else, so it is right after a kill too. (``tuspyserver`` 4.4
keeps it in a second file, and appends to the first: what a killed process had written and not noted there stays in the
middle of the file. It also writes before it asks who sends, and waits for its lock in the event loop. The protocol over
this is a hundred lines: ``http/uploads.py``.)
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from latentsync.atomic import link_or_copy, write_text
from latentsync.service.job import RequestRefusedError, ServiceSettings
from latentsync.service.keys import Key

_ID = re.compile("[0-9a-f-]{36}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_MOST_FILES = 1000  # of one key
_MOST_NAME = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """``length``: bytes of the whole file. ``name``: as the client calls it, never the name of a file here."""

    id: str
    folder: Path
    name: str
    length: int
    created: float

    @property
    def data(self) -> Path:
        """What has arrived."""
        return self.folder / "data"

    @property
    def offset(self) -> int:
        """Bytes that have arrived."""
        return self.data.stat().st_size

    @property
    def is_whole(self) -> bool:
        """Whether it can be used."""
        return self.offset == self.length

    @property
    def suffix(self) -> str:
        """Of the name, if it is a plain one."""
        found = Path(self.name).suffix
        return found.lower() if _SUFFIX.fullmatch(found) else ".bin"


class Uploads:
    """All uploads of a service. Raises ``RequestRefusedError`` where a client may not do what it asks for."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._lengths: dict[str, dict[str, int]] = {}  # key -> id -> length; read once, then kept: only we change them

    def require_room(self, bytes: int = 0) -> None:
        """Raise a refusal (507) unless the disk has room for so many bytes and its reserve."""
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._settings.folder).free < self._settings.reserve + bytes:
            raise RequestRefusedError(
                "The disk of this service has no room for that now.", remedy="Send it again later.", status=507
            )

    def create(self, key: Key, length: int, name: str) -> Upload:
        """An empty upload of a key."""
        most = self._settings.limits.bytes
        if not 0 < length <= most:
            raise RequestRefusedError(
                f"A file has from 1 to {most:,} bytes here, not {length:,}.",
                remedy="Make it shorter or smaller.",
                status=413,
            )
        self.require_room(length)
        with self._lock:
            there = self._lengths_of(key.name)
            if sum(there.values()) + length > key.bytes or len(there) >= _MOST_FILES:
                raise RequestRefusedError(
                    f"Your uploads would have more than {key.bytes / 1e9:g} GB, or be more than {_MOST_FILES}.",
                    remedy="Delete those that are done with: DELETE /v2/uploads/ID.",
                    status=413,
                )
            id = str(uuid4())
            upload = Upload(id, self._settings.upload_folder(key.name) / id, name[:_MOST_NAME], length, time.time())
            upload.folder.mkdir(parents=True)
            upload.data.touch()
            about = {name: value for name, value in asdict(upload).items() if name != "folder"}
            write_text(upload.folder / "about.json", json.dumps(about))
            there[id] = length
        return upload

    def get(self, key: Key, id: str) -> Upload:
        """An upload of that key. Raises a refusal (404)."""
        folder = self._settings.upload_folder(key.name) / id
        found = _read(folder) if _ID.fullmatch(id) else None
        if found is None:
            raise RequestRefusedError(
                "There is no such upload of yours.", remedy="Make one: POST /v2/uploads (docs/serving.md).", status=404
            )
        return found

    def all(self, key: Key) -> list[Upload]:
        """Those of a key, the latest first."""
        return sorted(self._read_all(key.name), key=lambda upload: upload.created, reverse=True)

    def remove(self, upload: Upload) -> None:
        """Delete it; jobs that use it have it as a file of their own."""
        shutil.rmtree(upload.folder, ignore_errors=True)
        with self._lock:
            self._lengths_of(upload.folder.parent.name).pop(upload.id, None)

    @contextmanager
    def alone(self, upload: Upload) -> Iterator[None]:
        """Only one request at a time sends a piece of an upload. Raises a refusal (423)."""
        with self._lock:
            if upload.id in self._used:
                raise RequestRefusedError(
                    "Another request sends a piece of this upload.", remedy="Wait until it has ended.", status=423
                )
            self._used.add(upload.id)
        try:
            yield
        finally:
            with self._lock:
                self._used.discard(upload.id)

    def put_into_job(self, key: Key, id: str, name: str, folder: Path) -> None:
        """Let a job have the upload as the file ``name``, with the suffix of the upload.

        Raises refusals for one that is not there or not whole.
        """
        upload = self.get(key, id)
        if not upload.is_whole:
            raise RequestRefusedError(
                f"{upload.offset:,} of the {upload.length:,} bytes of the {name} have arrived.",
                remedy="Send the rest of the upload first.",
                status=409,
            )
        link_or_copy(upload.data, folder / f"{name}{upload.suffix}")

    def expire(self, before: float) -> None:
        """Remove what nobody has touched since that time."""
        for folder in (self._settings.folder / "uploads").glob("*/*"):
            upload = _read(folder)
            if upload is not None and max(upload.created, upload.data.stat().st_mtime) < before:
                self.remove(upload)


    def _lengths_of(self, key: str) -> dict[str, int]:
        """Whoever calls holds the lock."""
        if key not in self._lengths:
            self._lengths[key] = {upload.id: upload.length for upload in self._read_all(key)}
        return self._lengths[key]

    def _read_all(self, key: str) -> list[Upload]:
        try:
            folders = list(self._settings.upload_folder(key).iterdir())
        except FileNotFoundError:
            return []
        return [upload for upload in map(_read, folders) if upload is not None]


def _read(folder: Path) -> Upload | None:
    try:
        values = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        upload = Upload(folder=folder, **values)
        return upload if upload.data.is_file() else None
    except (OSError, ValueError, TypeError):
        return None
