"""What lies in a checkpoint folder, compared with the table of known files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from latentsync.checkpoint.card import WeightsCard, read_card
from latentsync.checkpoint.files import FileKind, fingerprint, inspect_file, sha256_file
from latentsync.checkpoint.registry import RESOLUTION, HubFile, KnownFile
from latentsync.constants import WINDOW_FRAMES
from latentsync.errors import WeightsCorruptError, WeightsError, WeightsMismatchError

JSON_ONLY = frozenset({FileKind.JSON})


class State(Enum):
    """Whether a file can be used."""

    PRESENT = "present"
    MISSING = "missing"
    CORRUPT = "corrupt"
    OTHER = "other release"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One known file in one folder; ``note`` says why it is not simply present."""

    known: KnownFile
    path: Path
    state: State
    note: str = ""
    card: WeightsCard | None = None


def look_up(known: KnownFile, folder: Path, *, verify: bool = False) -> FileStatus:
    """The status of ``known`` in ``folder``; with ``verify`` its checksum is computed, about a second per GB."""
    path = folder / known.target
    if not path.exists():
        return FileStatus(known, path, State.MISSING)
    try:
        inspect_file(path, accept=JSON_ONLY if path.suffix == ".json" else None)
        card = read_card(path) if known.card else None
        require_content(path, known, sha256_file(path) if verify else None, card)
    except WeightsError as error:
        return FileStatus(known, path, State.CORRUPT, error.message)
    release = card.release if card else None
    if known.release and release and release != known.release:
        return FileStatus(known, path, State.OTHER, f"is of release {release}", card)
    notes = []
    if known.release and release is None:
        notes.append("release not stated")
    if verify and known.card and not known.sha256 and not (card and card.sha256):
        notes.append("no checksum to compare with")
    return FileStatus(known, path, State.PRESENT, ", ".join(notes), card)


def require_content(path: Path, known: KnownFile, sha256: str | None, card: WeightsCard | None = None) -> None:
    """Hold a file's size, and its checksum where given, against what is known; raises ``WeightsCorruptError``."""
    size = path.stat().st_size
    if known.size is not None and size != known.size:
        raise WeightsCorruptError(f"{path} has {size:,} bytes instead of {known.size:,}.", remedy="Fetch it again.")
    if sha256 is None:
        return
    for expected in filter(None, (known.sha256, card.sha256 if card else None)):
        if not sha256.startswith(expected):
            raise WeightsCorruptError(
                f"{path} has the SHA-256 {sha256} instead of {expected}.",
                remedy="The file was damaged or replaced: fetch it again.",
            )


def set_aside(path: Path) -> Path:
    """Give a broken file a free name beside its own, and return that."""
    names = (path.with_name(f"{path.name}.broken{number or ''}") for number in range(1000))
    return path.rename(next(name for name in names if not name.exists()))


def describe(path: Path, known: KnownFile, *, sha256: str, source: str, release: str | None) -> WeightsCard | None:
    """The card to lay beside the file ``path``, after a strict look at the tensors of a U-Net; None if it needs none.

    ``release`` is what the source or the user says. Raises ``WeightsMismatchError`` if the tensors contradict it.
    """
    if known.card is None:
        return None
    card = WeightsCard(kind=known.card, release=release, sha256=sha256, source=source, fingerprint=fingerprint(path))
    if known.card != "unet":
        return card
    from latentsync.checkpoint.unet import read_unet  # torch: seconds to import

    weights = read_unet(path)
    if release is None and weights.is_release_1_0:
        release = "1.0"
    if release is not None and (release == "1.0") != weights.is_release_1_0:
        own = "1.0" if weights.is_release_1_0 else "1.5 or 1.6"
        raise WeightsMismatchError(
            f"{path} is a U-Net of release {own}, not of {release}.",
            remedy="Name the release that it belongs to with --variant.",
        )
    widths = {384: "whisper-tiny", 768: "whisper-small"}
    return replace(
        card,
        release=release,
        resolution=RESOLUTION.get(release or ""),
        num_frames=WINDOW_FRAMES,
        mask="mask",
        audio_encoder=widths.get(weights.config.cross_attention_dim),
        global_step=weights.global_step,
    )


def table(statuses: Sequence[FileStatus]) -> str:
    """The statuses as aligned text, one line a file."""
    rows = [("file", "state", "size", "licence", "commercial use", "for", "source")]
    for each in statuses:
        size = each.path.stat().st_size if each.path.is_file() else each.known.size
        purposes = "/".join(each.known.purposes) or "on request"
        allowed = {True: "yes", False: "no", None: "unknown"}[each.known.commercial]
        source = _source_text(each.known)
        rows.append(
            (each.known.target, each.state.value, size_text(size), each.known.licence, allowed, purposes, source)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{each.known.target}: {each.note}" for each in statuses if each.note]
    return "\n".join([*lines, *notes])


def _source_text(known: KnownFile) -> str:
    """The first source as a reader would look it up."""
    if not known.sources:
        return "copied by hand"
    first = known.sources[0]
    return f"{first.repository} (hub)" if isinstance(first, HubFile) else urlsplit(first.url).netloc


def size_text(size: int | None) -> str:
    """Bytes in decimal units; "?" when not known."""
    if size is None:
        return "?"
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
