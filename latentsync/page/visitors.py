"""Who a visitor is, and a folder for every job of theirs: nobody can guess another's, and old ones are removed."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from starlette.types import Scope

from latentsync.atomic import is_disk_full
from latentsync.page.storage import Storage, no_room

CLEANING_INTERVAL = 600  # s
EMPTY_SECONDS = 3600  # that an empty folder is kept: somebody may be about to write to it
_ACCOUNT = "account "


def address_of(scope: Scope) -> str:
    """Where a request comes from: an address, or of IPv6 the network of 64 bits, which a visitor has all of."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def visitor_of(scope: Scope) -> str:
    """Whom a request is counted for: an account where there is a login, an address where there is none."""
    return f"{_ACCOUNT}{scope['user_name']}" if "user_name" in scope else f"address {address_of(scope)}"


def may_return(owner: str, visitor: str) -> bool:
    """Whether ``visitor`` who knows the name of a job of ``owner`` is let to it (both as ``visitor_of`` gives them).

    Where there is a login, the owner alone. Without one everybody who knows the name, which cannot be guessed: the
    address of a phone changes on its way.
    """
    return owner == visitor or not owner.startswith(_ACCOUNT)


class VisitorFolders:
    """Folders of jobs below ``storage``, in a folder of this object's own.

    Jobs that are older than ``keep_seconds`` are removed, and so are folders that have long been empty.
    """

    def __init__(self, storage: Storage, keep_seconds: float) -> None:
        self._storage, self._root = storage, storage.folder / "jobs"
        self._keep_seconds = keep_seconds
        self._secret = secrets.token_bytes(16)
        self._tidying = threading.Lock()

    def new_job(self, visitor: str) -> Path:
        """An empty folder for one job. ``visitor`` comes from the browser and may be any text.

        Raises ``DiskFullError`` where there is no room for a result.
        """
        self._storage.require_room()
        name = hashlib.blake2b(visitor.encode(errors="replace"), key=self._secret, digest_size=16).hexdigest()
        own = self._root / name
        try:
            with self._tidying:
                own.mkdir(mode=0o700, parents=True, exist_ok=True)
                return Path(tempfile.mkdtemp(prefix="job_", dir=own))
        except OSError as error:
            if is_disk_full(error):
                raise no_room() from error
            raise

    def discard(self, job: Path) -> None:
        """Remove a job that has come to nothing; the folder of its visitor goes with the next cleaning."""
        shutil.rmtree(job, ignore_errors=True)

    def clean(self) -> None:
        """Remove the jobs whose time is over, and empty folders."""
        for job in self._root.glob("*/job_*"):
            if self._age(job) > self._keep_seconds:
                shutil.rmtree(job, ignore_errors=True)  # a browser may be reading from it: next time, then
        # What lies in a folder comes before it; and pathlib's way would end where a folder goes meanwhile.
        for parent, names, _ in os.walk(self._storage.folder, topdown=False):
            for folder in (Path(parent, name) for name in names):
                if folder != self._storage.incoming and self._age(folder) > EMPTY_SECONDS:
                    with suppress(OSError), self._tidying:  # it is not empty
                        folder.rmdir()

    def _age(self, path: Path) -> float:
        try:
            return time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
