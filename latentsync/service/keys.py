"""Who may use the service, and how much: keys in a file, by their checksums.

    [keys.alice]
    sha256 = "9f86d0…"     # of the key itself, which is nowhere
    jobs = 10              # that wait or are worked on at one time
    jobs_per_day = 500
    gigabytes = 20.0       # of uploads

``latentsync serve --new_key alice --keys FILE`` makes one and says it once. The file is read anew when it changes.
"""

from __future__ import annotations

import re
import secrets
import threading
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from latentsync.errors import ConfigError
from latentsync.inference.job.folder import Stamp, stamp

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # it is the name of a folder too
_VALUES = {"sha256", "jobs", "jobs_per_day", "gigabytes"}


@dataclass(frozen=True, slots=True)
class Key:
    """``jobs``: that wait or are worked on at one time; ``bytes``: of uploads. ``digest``: SHA-256 of the key, hex."""

    name: str
    digest: str = ""
    jobs: int = 20
    jobs_per_day: int = 1000
    bytes: int = 20 * 10**9


ANYBODY = Key("anybody", jobs=10**6, jobs_per_day=10**6)  # where there is no file of keys


class Keys:
    """The keys of a file; None: everybody may do everything."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._stamp: Stamp | None = None
        self._by_digest: dict[str, Key] = {}
        if path is not None:
            self._read(path)

    def owner(self, given: str | None) -> Key | None:
        """Whose the key is that a client has given; None for nobody's."""
        if self._path is None:
            return ANYBODY
        with self._lock:
            if stamp(self._path) != self._stamp:
                self._read(self._path)
            return self._by_digest.get(sha256(given.encode()).hexdigest()) if given else None

    def _read(self, path: Path) -> None:
        self._stamp = stamp(path)
        self._by_digest = {key.digest: key for key in read_keys(path)}


def read_keys(path: Path) -> list[Key]:
    """Raises ``ConfigError`` for a file that cannot be understood."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("keys", {})
        return [_key(name, table) for name, table in tables.items()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The keys of {path} cannot be read: {error}.",
            remedy="Make one with `latentsync serve --new_key NAME --keys FILE`, and see docs/serving.md.",
        ) from error


def _key(name: str, table: dict[str, Any]) -> Key:
    if NAME.fullmatch(name) is None:
        raise ValueError(f"'{name}' is no name of a key")
    if unknown := table.keys() - _VALUES:
        raise ValueError(f"{name} has the unknown value {min(unknown)}")
    if re.fullmatch("[0-9a-f]{64}", digest := str(table.get("sha256", ""))) is None:
        raise ValueError(f"{name} has no sha256 of 64 hexadecimal digits")
    default = Key(name)
    size = round(float(table["gigabytes"]) * 1e9) if "gigabytes" in table else default.bytes
    return Key(
        name, digest, int(table.get("jobs", default.jobs)), int(table.get("jobs_per_day", default.jobs_per_day)), size
    )


def add_key(path: Path, name: str) -> str:
    """A new key, whose checksum is now in the file. Raises ``ConfigError`` for a name that cannot be had."""
    taken = {key.name for key in read_keys(path)} if path.exists() else set()
    if NAME.fullmatch(name) is None or name in taken:
        raise ConfigError(
            f"A new key cannot be called '{name}'.",
            remedy="Take 1 to 40 letters, digits, - and _, which no other key has.",
        )
    given = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f'[keys.{name}]\nsha256 = "{sha256(given.encode()).hexdigest()}"\n\n')
    return given
