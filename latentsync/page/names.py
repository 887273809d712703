"""Names of files as visitors see them, without the folders, hidden letters and mark-up, and as they are kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradio_client.utils import strip_invalid_filename_characters

LONGEST_NAME = 80  # characters of a file's name that are shown
_KEPT_END = 20  # of them, at its end: the ending is what a name is known by
_NAMELESS = "a file"

# What is in front of the name in an absolute path. Where the path begins, no word, address or other path goes on.
_HOMES = "|".join(re.escape(home) for home in {str(Path.home()), str(Path.cwd()), tempfile.gettempdir()} - {"/"})
_FOLDERS = re.compile(
    rf"(?<![\w:/.~-])(?:(?:{_HOMES})(?:/[^\s/'\"]+)*/|(?:/[^\s/'\"]+)+/|[A-Za-z]:[\\/](?:[^\s\\/'\"]+[\\/])*)(?=[^\s/])"
)
# Within a line; the first of one stands behind words of ours wherever this is used.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=\w)@(?=\w)|:(?=//)|(?<=\bwww)\.", re.I)


def shown_name(path: Path | str) -> str:
    """The last part of a path on one line, shortened in its middle; without characters that nobody sees or that turn
    the direction of writing."""
    name = _visible(Path(path).name)
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - _KEPT_END - 1]}…{name[-_KEPT_END:]}"
    return name or _NAMELESS


def without_folders(text: str, *paths: Path | str) -> str:
    """``text`` on one line, with names in place of absolute paths. ``paths``: those that it is likely to hold; others
    are known by their looks."""
    for path in sorted((str(path) for path in paths if Path(path).is_absolute()), key=len, reverse=True):
        for form in (path, repr(path)[1:-1]):  # as messages have it, and as those of the system do
            text = text.replace(form, shown_name(path))
    return _FOLDERS.sub("", _visible(text))


def all_without_folders(value: Any, *paths: Path | str) -> Any:
    """Plain values as JSON has them, with ``without_folders`` of every text."""
    if isinstance(value, str):
        return without_folders(value, *paths)
    if isinstance(value, Mapping):
        return {key: all_without_folders(each, *paths) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_without_folders(each, *paths) for each in value]
    return value


def in_markdown(text: str) -> str:
    """``text`` so that Markdown shows it as it is: no emphasis, link, formula or tag (CommonMark 0.31, 2.4)."""
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", text)


def _visible(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "" for c in text).split())


def safe_name(name: bytes) -> str:
    """The last part of a file's name, as a name that every file system takes and that hides nothing."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    text = "".join(letter for letter in text.replace("\\", "/").rpartition("/")[2] if letter.isprintable())
    return strip_invalid_filename_characters(text).lstrip(".") or "upload"
