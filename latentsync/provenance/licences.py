"""The licence of every weight file that a run reads, and whether it allows commercial use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentsync.checkpoint.card import read_card
from latentsync.checkpoint.registry import KNOWN_FILES, KnownFile
from latentsync.errors import LicenceError, WeightsError
from latentsync.places import BUILTIN

_OWN = "Apache-2.0"  # of this repository


@dataclass(frozen=True, slots=True)
class WeightsLicence:
    """``commercial``: whether commercial use is allowed; None: the source has to be asked."""

    path: Path
    name: str
    commercial: bool | None


def licence_of(path: Path) -> WeightsLicence:
    """The licence of a weight file: of a published one by its place in the folder and the release on its card.

    What somebody has trained is under a licence that nothing here knows.
    """
    if path.is_relative_to(BUILTIN):
        return WeightsLicence(path, _OWN, True)
    found = {(known.licence, known.commercial) for known in _candidates(path)}
    if len(found) == 1:
        return WeightsLicence(path, *found.pop())
    return WeightsLicence(path, " or ".join(sorted(name for name, _ in found)) or "not known", None)


def weight_files(folder: Path) -> list[Path]:
    """The weight files in a checkpoint folder that have a name that is known here, and the built-in ones."""
    names = sorted({known.target for known in KNOWN_FILES if known.card is not None})
    own = [path for path in sorted(BUILTIN.rglob("*")) if path.suffix in (".safetensors", ".pt")]
    return [folder / name for name in names if (folder / name).is_file()] + own


def require_commercial(paths: Iterable[Path]) -> None:
    """Raise ``LicenceError`` if one of the files is under a licence that is not known to allow commercial use."""
    refused = [each for each in map(licence_of, paths) if not each.commercial]
    if refused:
        named = ", ".join(f"{each.path} ({each.name}: {use_text(each.commercial)})" for each in refused)
        raise LicenceError(
            f"Commercial use is not known to be allowed for {named}.",
            remedy="Read the licence at the source; if it allows your use, leave --commercial_only out.",
        )


def use_text(commercial: bool | None) -> str:
    """What a table says of commercial use."""
    return {True: "allowed", False: "not allowed", None: "ask the source"}[commercial]


def _candidates(path: Path) -> list[KnownFile]:
    """The known files that ``path`` may be."""
    named = [known for known in KNOWN_FILES if path.as_posix().endswith(f"/{known.target}")]
    try:
        card = read_card(path) if named and path.suffix != ".json" else None
    except WeightsError:  # whoever uses the file is told then
        card = None
    if card is None or card.release is None:
        return named
    return [known for known in named if known.release in (None, card.release)]
