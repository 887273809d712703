"""Weight files: what is here, whether it is whole, and what is missing beside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from latentsync.checkpoint.files import inspect_file
from latentsync.checkpoint.inventory import FileStatus, State, look_up
from latentsync.checkpoint.registry import (
    CODEC_WEIGHTS,
    DEFAULT_RELEASE,
    KNOWN_FILES,
    RELEASES,
    Release,
    of_release,
)
from latentsync.doctor.finding import Finding, Grade
from latentsync.errors import WeightsError, WeightsMissingError
from latentsync.places import BUILTIN, BUILTIN_SYNCNET, INSTALLED, ROOT, WEIGHTS

HASHED = 300 * 10**6  # bytes of a file whose checksum is computed unasked; a card's fingerprint is compared in any case
UNET = "latentsync_unet.pt"
DETECTORS = "auxiliary/"  # folder of the detectors, of which any will do
_CODECS = [f"{folder}/{CODEC_WEIGHTS}" for folder in ("codec", "codec_small")]
BUILTIN_FILES = ("unet.safetensors", "audio_encoder.pt", *_CODECS, BUILTIN_SYNCNET.name)


def check_weights(folder: Path, verify: bool) -> Iterator[Finding]:
    """Every known file that is in ``folder``, with its checksum (``verify``: that of large files too); then whether one
    release is complete."""
    here = [status for target in _targets() if (status := _status(folder, target, verify)) is not None]
    for status in here:
        if status.state is State.CORRUPT:
            remedy = f"`latentsync weights --only {status.known.target}{_where(folder, status)}`"
            yield Finding("weights", Grade.FAULT, status.note, f"Run {remedy}.")
    yield from _complete(folder, here)
    yield from _builtin()


def check_detector(folder: Path) -> Iterator[Finding]:
    """Faces can be found in videos other than the sample."""
    from latentsync.face.backends import choose_detector

    try:
        name = choose_detector("auto", folder / "auxiliary", "cpu")
    except WeightsMissingError:
        text = "its files are not here: only the sample can be dubbed, and videos whose faces are given in a file."
        remedy = f"Run `latentsync weights --face-detector{_where(folder)}`."
        yield Finding("face detector", Grade.FAULT, text, remedy)
    else:
        yield Finding("face detector", Grade.GOOD, f"{name} is here.")


def _complete(folder: Path, here: list[FileStatus]) -> Iterator[Finding]:
    """Whether the networks of a run are all here, or none."""
    unet = next((status for status in here if status.known.target == UNET), None)
    if unet is None:
        text = "no published ones are here: the built-in models run, which are small and work at 128 pixels."
        remedy = f"Run `latentsync weights --for inference{_where(folder)}`."
        yield Finding("weights", Grade.LIMIT, text, remedy)
        return
    release = _release(unet)
    needed = [known.target for known in of_release(release) if "inference" in known.purposes]
    missing = [name for name in needed if not name.startswith(DETECTORS) and not (folder / name).is_file()]
    if missing:
        text = f"{UNET} is here, but not {', '.join(missing)}."
        remedy = f"Run `latentsync weights --for inference{_where(folder, unet)}`."
        yield Finding("weights", Grade.FAULT, text, remedy)
    elif all(status.state is State.PRESENT for status in here):
        yield Finding("weights", Grade.GOOD, f"those of release {release} are here and whole.")


def _builtin() -> Iterator[Finding]:
    for name in BUILTIN_FILES:
        try:
            inspect_file(BUILTIN / name)
        except WeightsError as error:
            remedy = f"Run {_restore_builtin()}."
            yield Finding("built-in models", Grade.FAULT, error.message, remedy)


def _restore_builtin() -> str:
    if INSTALLED:
        return "`python -m pip install --force-reinstall --no-deps latentsync`"
    return f"`git -C {shlex.quote(str(ROOT))} checkout -- checkpoints/builtin`"


def _targets() -> list[str]:
    return list(dict.fromkeys(known.target for known in KNOWN_FILES))


def _status(folder: Path, target: str, verify: bool) -> FileStatus | None:
    """Of the file in ``target``'s place, as of the release that it is of; None if there is none."""
    path = folder / target
    if not path.exists():
        return None
    hashed = verify or path.stat().st_size <= HASHED
    for known in (each for each in KNOWN_FILES if each.target == target):
        status = look_up(known, folder, verify=hashed)
        if status.state is not State.OTHER:
            break
    return status


def _release(status: FileStatus) -> Release:
    stated = status.card.release if status.card is not None else None
    return next((release for release in RELEASES if release == stated), DEFAULT_RELEASE)


def _where(folder: Path, status: FileStatus | None = None) -> str:
    """The options that name the release of a file, and the folder if it is not the usual one."""
    release = f" --variant {_release(status)}" if status is not None and status.known.release is not None else ""
    return release + (f" --dir {shlex.quote(str(folder))}" if folder != WEIGHTS else "")
