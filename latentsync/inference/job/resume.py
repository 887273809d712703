"""What a run keeps beside its result while it works, so that another run can go on where it was killed or stopped.

``DubRequest.kept_folder`` holds the latents of finished windows (``kept_latents``) and a journal that says what they are
of: the content of the inputs, the options, the weights, the versions. Of any other job they are worth nothing, so a run
whose journal differs starts anew, and says what differs. The paste, the encoder and the muxer do their work again: it is
short, and so the result is one encode, the same as that of a run that was never interrupted.

A lock beside the folder keeps two runs of one result apart. The folder goes when the result is there.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

from latentsync import __version__
from latentsync.atomic import sweep, try_hold, write_text
from latentsync.checkpoint.files import sha256_file
from latentsync.errors import StoppedError
from latentsync.inference.faces import FACES_SUFFIXES
from latentsync.inference.job.preflight import Preflight
from latentsync.inference.job.request import DubRequest
from latentsync.inference.kept_latents import SUFFIX, KeptLatents
from latentsync.inference.weights import with_checksums

JOURNAL = "job.json"
# What a journal states -> how a difference in it is called.
PARTS = {
    "video": "another video",
    "audio": "another audio",
    "faces": "another detector or other faces",
    "options": "other options",
    "weights": "other weights",
    "device": "another device or precision",
    "versions": "other versions of the libraries",
}
OnNote = Callable[[str], None]
Journal = dict[str, Any]


def windows_kept(folder: Path) -> int:
    """How many finished windows lie in a ``DubRequest.kept_folder``."""
    return len({path.name.partition(".")[0] for path in folder.glob(f"*{SUFFIX}")})


@contextmanager
def kept_work(request: DubRequest, checked: Preflight, on_note: OnNote) -> Iterator[KeptLatents | None]:
    """Where the run of ``request`` keeps its finished windows while the block lasts; None if it keeps none.

    What is kept goes when the block ends without an error, and stays otherwise. ``on_note`` is told what is found.
    """
    folder = request.kept_folder
    found = _read_journal(folder)
    if not request.resume and found is None:
        yield None
        return
    journal = _journal_of(request, checked)
    lock_path = folder.with_name(folder.name + ".lock")
    lock = try_hold(lock_path) if request.resume or found == journal else None
    if lock is None:
        if request.resume:
            on_note(
                f"note    {request.output}: another run works on it, or its disk has no locks; nothing is kept here"
            )
        yield None
        return
    try:
        on_note(_what_is_there(folder, found, journal, request.resume))
        try:
            yield _opened(folder, found, journal) if request.resume else None
        except BaseException as error:
            checked.tracks.save()
            if isinstance(error, StoppedError) and request.resume:
                raise StoppedError(f"Stopped; {windows_kept(folder)} finished windows are kept in {folder}.") from error
            raise
        _remove(folder)
        lock_path.unlink(missing_ok=True)
    finally:
        lock.release()


def _what_is_there(folder: Path, found: Journal | None, journal: Journal, resume: bool) -> str:
    if found is None:
        return f"resume  finished windows are kept in {folder} until the result is there"
    if found == journal:
        goes_on = "this run goes on there" if resume else "--resume would go on there"
        return f"resume  {windows_kept(folder)} windows are finished by a run that was interrupted; {goes_on}"
    differences = [text for part, text in PARTS.items() if found.get(part) != journal[part]] if found else []
    why = ", ".join(differences) or "its journal cannot be read"
    return f"resume  what {folder} holds is of another run ({why}); this one starts anew"


def _opened(folder: Path, found: Journal | None, journal: Journal) -> KeptLatents:
    """The folder with this job's journal, and without the work of another one."""
    text = json.dumps(journal, indent=2, ensure_ascii=False)
    kept = KeptLatents(folder, text)
    try:
        if found != journal:
            _remove(folder)
            write_text(folder / JOURNAL, text, errors="backslashreplace", durable=True)
    except OSError as error:
        kept.failure = f"{folder}: {error.strerror}"
    return kept


def _remove(folder: Path) -> None:
    """Remove our own files, and the folder if nothing else is in it."""
    with suppress(OSError):
        sweep(folder)
        for path in [folder / JOURNAL, *folder.glob(f"*{SUFFIX}")]:
            path.unlink(missing_ok=True)
        folder.rmdir()


def _read_journal(folder: Path) -> Journal | None:
    """The journal; None if there is none, and empty if it cannot be used."""
    try:
        found = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {} if windows_kept(folder) else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _journal_of(request: DubRequest, checked: Preflight) -> Journal:
    """What the latents of a run depend on, as JSON gives it back.

    Not the encoding, which comes after them. Not the size of a batch either, which may have to be smaller next time.
    """
    options = asdict(checked.options)
    for name in ("batch", "ramp", "check_output"):
        del options[name]
    faces = Path(request.detector)
    weights = with_checksums(checked.weights)
    journal = {
        "video": [_content(request.video), checked.video.info.fps],
        "audio": [blake2b(checked.waveform, digest_size=32).hexdigest(), request.av_offset],  # as the network gets it
        "faces": _content(faces) if faces.suffix.lower() in FACES_SUFFIXES else request.detector,
        "options": options | {"network": asdict(checked.settings) | {"notes": ()}},
        "weights": {name: facts["sha256"] for name, facts in weights.items()},
        "device": [checked.device.type, str(checked.dtype), request.compiled],
        "versions": {name: metadata.version(name) for name in ("torch", "diffusers", "av", "numpy")}
        | {"python": platform.python_version(), "latentsync": __version__},
    }
    return json.loads(json.dumps(journal, default=str))


def _content(path: Path) -> str | list[tuple[str, str]]:
    """The checksum of a file, or those of the files of a folder of pictures."""
    if path.is_dir():
        return [(each.name, sha256_file(each)) for each in sorted(path.iterdir()) if each.is_file()]
    return sha256_file(path)
