"""Fetch what a release needs into a checkpoint folder: planned first, resumable, checked, moved into place at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from latentsync.checkpoint.card import write_sidecar
from latentsync.checkpoint.files import inspect_file, sha256_file
from latentsync.checkpoint.inventory import (
    JSON_ONLY,
    FileStatus,
    State,
    describe,
    look_up,
    require_content,
    set_aside,
    size_text,
)
from latentsync.checkpoint.registry import HubFile, KnownFile, WebFile
from latentsync.checkpoint.transfer import TIMEOUT, RemoteFile, address, fetch, locate
from latentsync.errors import DiskFullError, DownloadError, WeightsError, WeightsMismatchError

LOCK_NAME = ".download.lock"
MARGIN = 64 * 10**6  # bytes of the disk to leave free

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PlannedFetch:
    """One file to fetch, and where from."""

    known: KnownFile
    path: Path
    source: HubFile | WebFile
    remote: RemoteFile


def download(
    wanted: Sequence[KnownFile],
    folder: Path,
    revisions: Mapping[str, str],
    say: Say = print,
    timeout: float = TIMEOUT,
) -> None:
    """Bring the ``wanted`` files into ``folder``; those that are there already are left alone.

    ``revisions`` pins hub repositories to a branch, tag or commit ("main" for those not named); ``timeout``: seconds
    that each server has to say whether it has a file. A broken file makes room under another name.

    Raises ``DownloadError`` if a server does not give a file or gives something else, ``WeightsMismatchError`` if
    another release is in the way, ``DiskFullError``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder, say):
        fetches = list(_plan(wanted, folder, revisions, say, timeout))
        if not fetches:
            say(f"Nothing to fetch: {folder} has everything that was asked for.")
            return
        _announce(fetches, folder, say)
        for planned in fetches:
            _fetch_file(planned, say)


@contextmanager
def _alone_in(folder: Path, say: Say) -> Iterator[None]:
    """Wait until no other download works on ``folder``."""
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another download is at work in {folder}; waiting for it to finish.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _plan(
    wanted: Sequence[KnownFile], folder: Path, revisions: Mapping[str, str], say: Say, timeout: float
) -> Iterator[PlannedFetch]:
    """What has to be fetched, after every server concerned has been asked."""
    for known in wanted:
        status = look_up(known, folder)
        if status.state is State.OTHER:
            raise _in_the_way(status.path, status.note, known)
        if status.state is State.CORRUPT:
            say(f"{status.note} It will be replaced; the broken file is kept beside it.")
        stated = status.card is not None and status.card.release is not None
        unsure = status.state is State.PRESENT and known.release is not None and not stated
        if status.state is State.PRESENT and not unsure:
            continue
        if not known.sources:
            say(f"{known.target} cannot be fetched: {known.use}. Bring it in with --import.")
            continue
        if unsure:
            _identify(status, revisions, say, timeout)
        else:
            yield _first_source(known, status.path, revisions, timeout)


def _first_source(known: KnownFile, path: Path, revisions: Mapping[str, str], timeout: float) -> PlannedFetch:
    """The first source that answers; a mirror of the hub that the user names is asked before other addresses."""
    failures: list[DownloadError] = []
    mirrored = "HF_ENDPOINT" in os.environ
    for source in sorted(known.sources, key=lambda each: mirrored and isinstance(each, WebFile)):
        revision = revisions.get(source.repository, "main") if isinstance(source, HubFile) else "main"
        try:
            return PlannedFetch(known, path, source, locate(source, revision, timeout))
        except DownloadError as error:
            failures.append(error)
    raise DownloadError(
        f"{known.target} cannot be fetched: " + " ".join(failure.message for failure in failures),
        remedy=failures[0].remedy,
    ) from failures[0]


def _identify(status: FileStatus, revisions: Mapping[str, str], say: Say, timeout: float) -> None:
    """Give a file of unknown release a card, if it is the very file that the hub has for the release asked for."""
    try:
        planned = _first_source(status.known, status.path, revisions, timeout)
    except DownloadError as error:
        say(f"{status.path} is kept; which release it belongs to cannot be told now. {error.message}")
        return
    if planned.remote.sha256 is None:
        say(f"{status.path} is kept; which release it belongs to cannot be told, the server states no checksum.")
        return
    say(f"Comparing {status.path} with the published file ...")
    if sha256_file(status.path) != planned.remote.sha256:
        raise _in_the_way(status.path, "is another file", status.known)
    _write_card(planned, planned.remote.sha256)


def _announce(fetches: Sequence[PlannedFetch], folder: Path, say: Say) -> None:
    """Say what will be fetched, and refuse if the disk cannot take it."""
    for planned in fetches:
        source = address(planned.source, planned.remote)
        say(f"  {planned.known.target}  {size_text(planned.remote.size)}  from {source}")
    total = sum(planned.remote.size or 0 for planned in fetches)
    done = sum(partial.stat().st_size for partial in map(_partial, fetches) if partial.exists())
    unstated = sum(planned.remote.size is None for planned in fetches)
    say(
        f"{len(fetches)} files, {size_text(total)} in all"
        + (f", {unstated} of unstated size" if unstated else "")
        + (f"; {size_text(done)} of it have already arrived" if done else "")
    )
    free = shutil.disk_usage(folder).free
    if total - done + MARGIN > free:
        raise DiskFullError(
            f"{folder} has {size_text(free)} free, the download needs {size_text(total - done + MARGIN)}.",
            remedy="Make room, or name a folder on another disk with --dir.",
        )


def _fetch_file(planned: PlannedFetch, say: Say) -> None:
    partial = _partial(planned)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        fetch(planned.remote, partial, planned.known.target)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFullError(
            f"The disk is full: {partial} has {size_text(partial.stat().st_size)}.",
            remedy="Make room and start again; it goes on where it stopped.",
        ) from error
    digest = _check(planned, partial)
    if planned.path.exists():
        set_aside(planned.path)
    partial.replace(planned.path)
    for stale in planned.path.parent.glob(f".*.part.{planned.path.name}"):
        stale.unlink()
    _write_card(planned, digest)
    say(f"{planned.path} is complete, SHA-256 {digest}.")


def _check(planned: PlannedFetch, partial: Path) -> str:
    """The checksum of what arrived; raises ``DownloadError``, and discards it, if it is not the file that was meant."""
    digest = sha256_file(partial)
    try:
        inspect_file(partial, accept=JSON_ONLY if planned.path.suffix == ".json" else None)
        require_content(partial, planned.known, digest)
        if planned.remote.sha256 not in (None, digest):
            raise DownloadError(f"Its SHA-256 is {digest} instead of {planned.remote.sha256}.")
    except WeightsError as error:
        partial.unlink()
        raise DownloadError(
            f"{address(planned.source, planned.remote)} gave something else than {planned.known.target}: "
            f"{error.message}",
            remedy="Start again; if it happens twice, take another mirror (HF_ENDPOINT) or copy the file by hand and "
            "use --import.",
        ) from error
    return digest


def _write_card(planned: PlannedFetch, digest: str) -> None:
    source = address(planned.source, planned.remote)
    card = describe(planned.path, planned.known, sha256=digest, source=source, release=planned.known.release)
    if card is not None:
        write_sidecar(planned.path, card)


def _partial(planned: PlannedFetch) -> Path:
    """Where the bytes gather; the name changes with the content that is expected, so two contents never mix."""
    remote = planned.remote
    content = remote.sha256 or f"{address(planned.source, remote)} {remote.size} {remote.etag}"
    mark = sha256(content.encode()).hexdigest()[:12]
    return planned.path.with_name(f".{mark}.part.{planned.path.name}")  # the suffix tells what to expect inside


def _in_the_way(path: Path, what: str, known: KnownFile) -> WeightsMismatchError:
    wanted = f"{known.target} of release {known.release}" if known.release else known.target
    return WeightsMismatchError(
        f"{path} {what}; {wanted} was asked for.",
        remedy="Move it elsewhere, or keep the two apart with --dir.",
    )
