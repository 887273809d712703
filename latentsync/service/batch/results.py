"""Where the results of a batch and the folders of its jobs lie: on a disk that all processes see, or at an address."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from latentsync.atomic import write_text
from latentsync.errors import ConfigError, LatentSyncError, OutputError, StoreError, VideoError
from latentsync.extras import package_missing
from latentsync.inference.job.folder import JobFolder, JobState, Stamp, stamp
from latentsync.inference.job.request import DubRequest
from latentsync.service.batch.jobs import BatchJob
from latentsync.service.runner import JobFiles

JOBS = ".jobs"  # folder of the jobs' folders in that of the batch
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # protocol -> what brings its package


class Results(Protocol):
    """What a batch asks of a place."""

    def require_usable(self) -> None:
        """Raise ``OutputError`` if nothing can be written there."""
        ...

    def folder(self, job: BatchJob) -> JobFolder:
        """The folder of a job."""
        ...

    def states(self, jobs: Sequence[BatchJob]) -> dict[str, JobState]:
        """The journals of all jobs, by their names."""
        ...

    def stamp(self, job: BatchJob) -> Stamp | None:
        """That of a job's result; None if there is none. The job has a request."""
        ...

    def write(self, name: str, text: str) -> None:
        """A file beside the results. Raises ``OutputError``."""
        ...


class SharedFolder:
    """A folder on a disk that knows locks: any number of processes and machines may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def require_usable(self) -> None:
        trial = JobFolder(self._folder / JOBS / f".trial-{secrets.token_hex(4)}")
        try:
            with trial.hold() as held:
                pass
            (trial.path / "lock").unlink(missing_ok=True)
            trial.path.rmdir()
        except OSError as error:
            raise OutputError(f"{self._folder} cannot be written: {error}.", remedy="Choose another --out.") from error
        if not held:
            raise OutputError(f"The disk of {self._folder} knows no locks.", remedy="Choose an --out on another one.")

    def folder(self, job: BatchJob) -> JobFolder:
        return JobFolder(self._folder / JOBS / job.name)

    def states(self, jobs: Sequence[BatchJob]) -> dict[str, JobState]:
        return {job.name: self.folder(job).read() for job in jobs}

    def stamp(self, job: BatchJob) -> Stamp | None:
        assert job.request is not None
        return stamp(job.request.output)

    def write(self, name: str, text: str) -> None:
        try:
            write_text(self._folder / name, text, errors="backslashreplace")
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {error}.", remedy="Choose another --out.") from error


class ObjectStore:
    """Files below an address that fsspec knows, such as s3://bucket/night. There are no locks: one run at a time."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def require_usable(self) -> None:
        trial = f"{self._url}/{JOBS}/.trial-{secrets.token_hex(4)}"
        write_url(trial, b"")
        with _opened(trial) as (files, path):
            files.rm_file(path)

    def folder(self, job: BatchJob) -> JobFolder:
        return _RemoteFolder(f"{self._url}/{JOBS}/{job.name}")

    def states(self, jobs: Sequence[BatchJob]) -> dict[str, JobState]:
        """All at once: one after the other they would take minutes."""
        with _opened(self._url) as (files, root):
            paths = {job.name: f"{root}/{JOBS}/{job.name}/{self.folder(job).state_file.name}" for job in jobs}
            found = files.cat(list(paths.values()), on_error="omit") if paths else {}
        return {name: _state(found.get(path, b"")) for name, path in paths.items()}

    def stamp(self, job: BatchJob) -> Stamp | None:
        return stamp_url(job.output_url)

    def write(self, name: str, text: str) -> None:
        write_url(f"{self._url}/{name}", text.encode(errors="backslashreplace"))


class _RemoteFolder(JobFolder):
    """The same layout at an address, without segments: finished windows stay on the machine that made them."""

    def __init__(self, url: str) -> None:
        super().__init__(Path(url.rpartition("/")[2]))
        self._url = url

    @contextmanager
    def hold(self) -> Iterator[bool]:
        yield True

    def read(self) -> JobState:
        try:
            return _state(read_url(f"{self._url}/{self.state_file.name}"))
        except FileNotFoundError:
            return JobState()

    def write(self, state: JobState) -> None:
        self.keep(self.state_file, state.to_json())

    def keep(self, file: Path, text: str) -> None:
        write_url(f"{self._url}/{file.name}", text.encode(errors="backslashreplace"))


def _state(content: bytes) -> JobState:
    """A journal; that of a job that waits if it cannot be read."""
    try:
        return JobState.from_json(content.decode())
    except (ValueError, TypeError, KeyError):
        return JobState()


class StoredFiles(JobFiles):
    """Files of a job that lie at addresses: inputs are fetched first, and a result that goes to one is made in a folder
    which lasts as long as the work."""

    def __init__(self, job: BatchJob, request: DubRequest) -> None:
        super().__init__(request)
        self._urls, self._output_url = job.urls, job.output_url

    def contents(self) -> dict[str, str]:
        """Nothing is read: a file system knows when a file is another one."""
        found = {}
        for name, url in self._urls.items():
            with _readable(url), _opened(url) as (files, path):
                found[name] = str(files.ukey(path))
        return found

    def stamp(self) -> Stamp | None:
        return stamp_url(self._output_url) if self._output_url else super().stamp()

    @contextmanager
    def at_hand(self, request: DubRequest) -> Iterator[DubRequest]:
        if self._output_url and not request.overwrite and self.stamp() is not None:
            raise OutputError(f"{self._output_url} is there already.", remedy="Use --overwrite, or another name.")
        with TemporaryDirectory(prefix="latentsync_batch_") as folder:
            here: dict[str, Any] = {}
            for name, url in self._urls.items():
                here[name] = Path(folder) / name / url.rpartition("/")[2]
                here[name].parent.mkdir()
                with _readable(url), _opened(url) as (files, path):
                    files.get_file(path, str(here[name]))
            if self._output_url:
                here |= {"output": Path(folder) / "result" / request.output.name, "segments": Path(folder) / "segments"}
            moved = replace(request, **here)
            moved.output.parent.mkdir(parents=True, exist_ok=True)
            yield moved
            if self._output_url:
                with _opened(self._output_url) as (files, path):
                    files.makedirs(path.rpartition("/")[0], exist_ok=True)
                    files.put_file(str(moved.output), path)


def stamp_url(url: str) -> Stamp | None:
    """That of a file at an address: its size, and a number that changes with it; None if there is none."""
    try:
        with _opened(url) as (files, path):
            files.invalidate_cache()
            word = hashlib.blake2b(str(files.ukey(path)).encode(), digest_size=7).hexdigest()
            return int(files.info(path)["size"]), int(word, 16)
    except FileNotFoundError:
        return None


def read_url(url: str) -> bytes:
    """The content of a file at an address. Raises ``FileNotFoundError`` and ``StoreError``."""
    with _opened(url) as (files, path):
        content: bytes = files.cat_file(path)
        return content


def write_url(url: str, content: bytes) -> None:
    """Write a file at an address. Raises ``StoreError``."""
    with _opened(url) as (files, path):
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, content)


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    with _naming(url):
        yield url_to_fs(url)


def require_store(url: str) -> None:
    """Raise ``PackageMissingError`` or another named error where nothing installed knows such addresses; no store is
    asked."""
    from fsspec import get_filesystem_class

    with _naming(url):
        get_filesystem_class(url.partition("://")[0])


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Errors of a store, by name."""
    protocol = url.partition("://")[0]
    try:
        yield
    except (FileNotFoundError, LatentSyncError):
        raise
    except ImportError as error:
        if protocol in EXTRAS:
            raise package_missing(f"{protocol}://", EXTRAS[protocol], error) from error
        raise ConfigError(f"{url} cannot be opened: {error}.", remedy="Install that package too.") from error
    except Exception as error:  # every file system has errors of its own
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise StoreError(f"{url}: {cause}.", remedy="See to the address, your rights, and the network.") from error


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise VideoError(f"{url} is not there.", remedy="Name a file that is there.") from error
