"""The folder of a job: one layout on the disk for everything that does jobs that outlive a process.

    FOLDER/state.json     the journal: state of the job, what it is made of, how often it was tried, what failed
    FOLDER/report.json    the report of the dub
    FOLDER/segments/      finished windows, while the job is not done (``job.resume``)
    FOLDER/traceback.txt  of a fault of this program
    FOLDER/lock           held by the process that works on the job

Who holds the lock may write; a lock that nobody holds while the state is ``RUNNING`` tells of a process that was
killed. ``state.json`` appears whole or not at all, and the result itself lies where the request says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any

from latentsync.atomic import try_hold, write_text
from latentsync.checkpoint.files import sha256_file
from latentsync.constants import VERSION
from latentsync.errors import LatentSyncError
from latentsync.inference.job.request import DubRequest

# Fields of a request that do not change its result, or that are stated in another way.
_WITHOUT_EFFECT = {
    *("output", "overwrite", "report", "limits", "resume", "segments", "batch", "commercial_only", "weights"),
    "device",  # one of several does the job
}
Stamp = tuple[int, int]  # size in bytes and time of the last change, ns: whether a file is the one that was written


class State(StrEnum):
    """What became of a job so far."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobState:
    """The journal of a job. ``made_of``: digest of ``ingredients``. ``run``: name of the run that wrote it.

    ``before`` and ``result``: stamps of what lay in the result's place when the last attempt began, and of the result.
    ``seconds`` of work; ``ended``: when it was done or failed, in seconds of ``time.time``; ``error``: class, message,
    remedy and exit code of what ended the last attempt.
    """

    state: State = State.WAITING
    made_of: str = ""
    attempts: int = 0
    run: str = ""
    before: Stamp | None = None
    result: Stamp | None = None
    seconds: float = 0.0
    ended: float = 0.0
    error: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, text: str) -> JobState:
        """Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what ``to_json`` did not write."""
        values = json.loads(text)
        stamps = {name: None if values[name] is None else tuple(values[name]) for name in ("before", "result")}
        return cls(**values | stamps | {"state": State(values["state"])})

    def to_json(self) -> str:
        """The text of ``state.json``."""
        return json.dumps(asdict(self), indent=1)


class JobFolder:
    """One job's folder at ``path``, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_file, self.report_file = path / "state.json", path / "report.json"
        self.segments, self.traceback_file = path / "segments", path / "traceback.txt"

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """Whether this process has the job to itself while the block lasts; False if another one works on it."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = try_hold(self.path / "lock")
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def read(self) -> JobState:
        """The journal; that of a job that waits if there is none, or none that can be read."""
        try:
            return JobState.from_json(self.state_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return JobState()

    def write(self, state: JobState) -> None:
        """Replace the journal, for good: it is on the disk when this returns."""
        write_text(self.state_file, state.to_json(), durable=True)

    def keep(self, file: Path, text: str) -> None:
        """Write ``report_file`` or ``traceback_file``; names of files in ``text`` may be any bytes."""
        write_text(file, text, errors="backslashreplace")


def described(error: BaseException) -> dict[str, Any]:
    """An error as the journal states it."""
    name = type(error).__name__
    if isinstance(error, LatentSyncError):
        return {"class": name, "message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
    return {"class": name, "message": f"{name}: {error} (a fault of this program)", "remedy": "", "exit_code": 1}


def stamp(path: Path) -> Stamp | None:
    """That of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def ingredients(
    request: DubRequest, weights: Mapping[str, str], given: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """What a result depends on: contents of files, options, weights (name -> checksum), this program's version.

    ``given``: fields of the request whose content is known by a word, and that need not be read. Raises ``OSError`` for
    a file that cannot be read.
    """
    asked = {each.name: getattr(request, each.name) for each in fields(request) if each.name not in _WITHOUT_EFFECT}
    stated = {
        name: given[name] if name in given else _content(value) if isinstance(value, Path) else repr(value)
        for name, value in asked.items()
    }
    faces = Path(request.detector)
    if faces.is_file():
        stated["detector"] = sha256_file(faces)
    return stated | {"weights": dict(weights), "version": VERSION}


def digest(made_of: Mapping[str, Any]) -> str:
    """One word for ``ingredients``."""
    return blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=16).hexdigest()


def _content(path: Path) -> Any:
    """The checksum of a file, or those of the files of a folder of images."""
    if path.is_dir():
        return [(each.name, sha256_file(each)) for each in sorted(path.iterdir()) if each.is_file()]
    return sha256_file(path)
