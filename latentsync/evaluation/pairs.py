"""Which files belong together: those of one name in the folders of results, truths and sources."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import DataError

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"})


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """One clip; None where a folder has no file of that name. ``name``: path in the folder, without the suffix."""

    name: str
    result: Path | None
    truth: Path | None
    source: Path | None


def find_pairs(results: Path, truth: Path, source: Path | None) -> list[ClipFiles]:
    """All clips that any of the folders of results and truths names, by name; folders are searched to any depth.

    Without ``source`` the truth is the source. A source that nobody asks for is left out. Raises ``DataError`` for a
    folder that does not exist, for two files of one name, or if there is no video at all.
    """
    found = {each: videos_in(each) for each in dict.fromkeys((results, truth, source or truth))}
    names = sorted(found[results].keys() | found[truth].keys())
    if not names:
        raise DataError(
            f"Neither {results} nor {truth} holds a video.", remedy=f"Videos end in {', '.join(sorted(SUFFIXES))}."
        )
    return [
        ClipFiles(name, found[results].get(name), found[truth].get(name), found[source or truth].get(name))
        for name in names
    ]


def videos_in(folder: Path) -> dict[str, Path]:
    """``files_in`` with the suffixes of videos."""
    return files_in(folder, SUFFIXES)


def files_in(folder: Path, suffixes: Set[str]) -> dict[str, Path]:
    """Name -> file, by name, to any depth. Raises ``DataError`` for a folder that does not exist or two files of one
    name."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", remedy="Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(
                    f"{path} and {found[name]} have one name.",
                    remedy="Results and truths are matched by it: move one.",
                )
            found[name] = path
    return found
