"""What a run keeps beside its result while it works, so that another run can go on where it was killed or stopped.

``DubRequest.kept_folder`` holds the latents of finished windows (``kept_latents``) and a journal that says what they
are of: the content of the inputs, the options, the weights, the versions. Of any other job they are worth nothing, so a
run whose journal differs starts anew, and says what differs. The paste, the encoder and the muxer do their work again:
it is short, and so the result is one encode, the same as that of a run that was never interrupted.

A lock beside the folder keeps two runs of one result apart. The folder goes when the result is there.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from hashlib import blake2b
from importlib import metadata
from pathlib import Path

import numpy as np

from latentsync.atomic import sweep, try_hold, write_text
from latentsync.checkpoint.files import sha256_file
from latentsync.constants import VERSION
from latentsync.errors import StoppedError
from latentsync.face.selection import FaceChoice
from latentsync.inference.faces import FACES_SUFFIXES
from latentsync.inference.job.preflight import Preflight
from latentsync.inference.job.request import DubRequest
from latentsync.inference.kept_latents import JOURNAL, SUFFIX, Journal, KeptLatents, read_journal, windows_kept
from latentsync.inference.weights import identities

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
# Fields of a request that the journal states in another way, and those that the latents do not depend on. The encoding
# comes after them; a batch may have to be smaller next time.
_ELSEWHERE = {
    *("video", "audio", "drive", "audio_track", "detector", "weights", "unet_config", "options"),
    *("device", "precision", "compiled"),
}
_WITHOUT_EFFECT = {
    *("output", "encoding", "copy_audio", "overwrite", "report", "limits", "label", "signer", "commercial_only"),
    *("resume", "segments", "contact_sheet", "batch", "ramp", "check_output", "sync_gate", "paste"),
}
OnNote = Callable[[str], None]


def describe_kept(request: DubRequest, checked: Preflight) -> str:
    """A line for the terminal: what an earlier run left, and what becomes of it; empty if that does not matter."""
    found = read_journal(request.kept_folder)
    return "" if found is None and not request.resume else _describe(request, found, _journal_of(request, checked))


@contextmanager
def kept_work(request: DubRequest, checked: Preflight, on_note: OnNote) -> Iterator[KeptLatents | None]:
    """Where the run of ``request`` keeps its finished windows while the block lasts; None if it keeps none.

    What is kept goes when the block ends without an error, also if it was not made use of, and stays otherwise, unless
    there is no window.
    ``on_note`` is told what ``describe_kept`` says.
    """
    folder = request.kept_folder
    if not request.resume and read_journal(folder) is None:
        yield None
        return
    journal = _journal_of(request, checked)
    lock_path = folder.with_name(folder.name + ".lock")
    lock = try_hold(lock_path) if request.resume or read_journal(folder) == journal else None
    if lock is None:
        why = f"another run works on {request.output}, or its disk has no locks"
        yield KeptLatents(folder, "", why) if request.resume else None
        return
    try:
        on_note(_describe(request, read_journal(folder), journal))
        yield _opened(folder, journal) if request.resume else None
        _remove(folder)
        lock_path.unlink(missing_ok=True)
    except BaseException as error:
        checked.tracks.save()
        if request.resume and not windows_kept(folder):  # nothing to go on with
            _remove(folder)
            lock_path.unlink(missing_ok=True)
        if isinstance(error, StoppedError) and request.resume:
            raise StoppedError(f"Stopped; {windows_kept(folder)} finished windows are kept in {folder}.") from error
        raise
    finally:
        lock.release()


def _describe(request: DubRequest, found: Journal | None, journal: Journal) -> str:
    folder = request.kept_folder
    if found is None:
        return f"resume  finished windows are kept in {folder} until the result is there"
    if found == journal:
        goes_on = "this run goes on there" if request.resume else "--resume would go on there"
        return f"resume  {windows_kept(folder)} windows are finished by a run that was interrupted; {goes_on}"
    why = ", ".join(text for part, text in PARTS.items() if found.get(part) != journal[part])
    anew = "this one starts anew" if request.resume else "it is left there"
    return f"resume  what {folder} holds is of another run ({why if found else 'no journal'}); {anew}"


def _opened(folder: Path, journal: Journal) -> KeptLatents:
    """The folder with this job's journal, and without the work of another one."""
    text, failure = json.dumps(journal, indent=2), ""
    try:
        if read_journal(folder) != journal:
            _remove(folder)
            write_text(folder / JOURNAL, text, durable=True)
    except OSError as error:
        failure = f"{folder}: {error.strerror}"
    return KeptLatents(folder, text, failure)


def _remove(folder: Path) -> None:
    """Remove our own files, and the folder if nothing else is in it."""
    with suppress(OSError):
        sweep(folder)
        for path in [folder / JOURNAL, *folder.glob(f"*{SUFFIX}")]:
            path.unlink(missing_ok=True)
        folder.rmdir()


def _journal_of(request: DubRequest, checked: Preflight) -> Journal:
    """What the latents of a run depend on, as JSON gives it back."""
    asked = {each.name: getattr(request, each.name) for each in fields(request)} | asdict(checked.options)
    options = {name: value for name, value in asked.items() if name not in _ELSEWHERE | _WITHOUT_EFFECT}
    faces, network = Path(request.detector), checked.options.face_network
    photos = [FaceChoice.parse(role.face).photo for role in checked.cast.roles]
    known_by = [_content(Path(file)) for file in (*photos, network) if file]
    journal = {
        "video": [_content(request.video), checked.video.info.fps],
        "audio": _digest(part.waveform for part in checked.cast.parts),  # as the network gets it
        "faces": [_content(faces) if faces.suffix.lower() in FACES_SUFFIXES else request.detector, *known_by],
        "options": options | {"network": asdict(checked.settings) | {"notes": ()}},
        "weights": identities(checked.weights),
        "device": [",".join(sorted({device.type for device in checked.devices})), str(checked.dtype), request.compiled],
        "versions": {name: metadata.version(name) for name in ("torch", "diffusers", "av", "numpy")}
        | {"python": platform.python_version(), "latentsync": VERSION},
    }
    return json.loads(json.dumps(journal, default=str))


def _digest(waveforms: Iterable[np.ndarray]) -> str:
    digest = blake2b(digest_size=32)
    for waveform in waveforms:
        digest.update(waveform.tobytes())
    return digest.hexdigest()


def _content(path: Path) -> str | list[tuple[str, str]]:
    """The checksum of a file, or those of the files of a folder of pictures."""
    if path.is_dir():
        return [(each.name, sha256_file(each)) for each in sorted(path.iterdir()) if each.is_file()]
    return sha256_file(path)
