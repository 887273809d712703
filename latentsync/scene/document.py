"""YAML and JSON files whose faults are told with the line.

Values are read at full speed; which line one stands in is looked up only when a message needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from latentsync.errors import ConfigError

Way = tuple[str | int, ...]  # keys and positions from the top of a document to a value
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)")
_LONGEST_NUMBER = 60  # characters
_MOST = 10**12
_HUGE = re.compile(r"[eE][+-]?\d{3}")  # an exponent beyond 99
_KINDS: dict[type, str] = {dict: "a mapping of keys to values", list: "a list", str: "text"}


def read_text(path: Path, what: str) -> str:
    """The text of a file, without a byte order mark. Raises ``ConfigError``; ``what`` says what the file should be."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}.", remedy="Check its path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8 (byte {error.start}).", remedy=f"Give {what.lower()} as a text file."
        ) from error


def line_error(path: Path, line: int, why: str, remedy: str) -> ConfigError:
    """The error for a fault in a line of a text file, counted from 1."""
    return ConfigError(f"{path}, line {line}: {why}.", remedy=remedy)


def seconds_of(text: str) -> Fraction | None:
    """From '4.2', '21/5', '1:02.5' or '01:00:02,5'; None for anything else."""
    if len(text) > _LONGEST_NUMBER:
        return None
    if match := _CLOCK.fullmatch(text.strip()):
        hours, minutes, seconds = match.groups()
        return Fraction(hours or 0) * 3600 + Fraction(minutes) * 60 + Fraction(seconds.replace(",", "."))
    return number_of(text)


def number_of(text: str) -> Fraction | None:
    """A number or a fraction as text, exactly; None for anything else, and for a number that is too large to reckon
    with: of '1e999999999' the digits alone would fill the memory."""
    if len(text) > _LONGEST_NUMBER or _HUGE.search(text):
        return None
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        return None


def _fraction(text: str) -> Fraction:
    """As ``number_of``, for JSON. Raises ``ValueError``."""
    number = number_of(text)
    if number is None:
        raise ValueError(f"{text[:_LONGEST_NUMBER]} is no number to reckon with")
    return number


class Document:
    """A YAML or JSON file in memory. Raises ``ConfigError`` if it is neither; ``what`` says what it should be."""

    def __init__(self, path: Path, what: str, text: str | None = None) -> None:
        """``text``: what is in it, where that is known; ``path`` then only says how it is to be read."""
        self.path = path
        self._text = read_text(path, what) if text is None else text
        try:
            data = self._json() if path.suffix.lower() == ".json" else yaml.load(self._text, Loader=_Unique)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise line_error(path, line, f"no YAML: {error.problem or error.context}", "Mend it there.") from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise ConfigError(f"{path} is not a YAML file: {error}.", remedy="Mend it.") from error
        self.top = Value(self, (), data)

    def _json(self) -> Any:
        try:
            return json.loads(self._text, parse_float=_fraction, object_pairs_hook=_unique)
        except json.JSONDecodeError as error:
            raise line_error(self.path, error.lineno, f"no JSON: {error.msg}", "Mend it there.") from error
        except _TwiceError as error:
            line = next((n for n, text in enumerate(self._text.splitlines(), 1) if f'"{error.key}"' in text), 1)
            raise line_error(self.path, line, f"'{error.key}' is there twice", "Leave one of them out.") from error

    @cached_property
    def _nodes(self) -> yaml.Node | None:
        text = self._text.replace("\t", " ") if self.path.suffix.lower() == ".json" else self._text
        return yaml.compose(text, Loader=yaml.SafeLoader)

    def line(self, way: Way) -> int:
        """Where the value stands, counted from 1."""
        node, line = self._nodes, 1
        for step in (*way, None):
            if node is None:
                break
            line = node.start_mark.line + 1
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if getattr(key, "value", None) == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                break
        return line

    def key_line(self, way: Way) -> int:
        """Where the key of a mapping stands; ``way`` ends with it."""
        node = self._nodes
        for step in way[:-1]:
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if getattr(key, "value", None) == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                node = node.value[step]
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = (key.start_mark.line + 1 for key, _ in pairs if getattr(key, "value", None) == str(way[-1]))
        return next(found, self.line(way[:-1]))


class Value:
    """A value of a document. The methods give it as what it should be, or raise ``ConfigError`` with its line."""

    def __init__(self, document: Document, way: Way, data: Any) -> None:
        self._document, self._way, self._data = document, way, data

    @property
    def place(self) -> str:
        """The file and the line, for messages."""
        return f"{self._document.path}, line {self._document.line(self._way)}"

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self._data, dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was given."""
        return self._data is None

    def error(self, why: str, remedy: str = "Mend it there.") -> ConfigError:
        """The error for a fault in this value."""
        return line_error(self._document.path, self._document.line(self._way), why, remedy)

    def mapping(self, known: tuple[str, ...] | None = None, needed: tuple[str, ...] = ()) -> dict[str, Value]:
        """Key -> value. ``known``: which keys there may be, None for any; ``needed``: which there must be."""
        data = self._of(dict)
        for key in data:
            if known is not None and key not in known:
                line = self._document.key_line((*self._way, key))
                raise line_error(
                    self._document.path, line, f"there is no key '{key}' here", f"The keys are {', '.join(known)}."
                )
        for key in needed:
            if data.get(key) is None:
                raise self.error(f"'{key}' is missing", f"Give {key}.")
        return {str(key): Value(self._document, (*self._way, key), value) for key, value in data.items()}

    def items(self) -> Iterator[Value]:
        """The values of a list."""
        for number, value in enumerate(self._of(list)):
            yield Value(self._document, (*self._way, number), value)

    def text(self) -> str:
        """Text that is not empty; a number counts as text."""
        data = str(self._data) if isinstance(self._data, int) and not isinstance(self._data, bool) else self._of(str)
        if not data.strip():
            raise self.error(f"{self._name} is empty")
        return data

    def truth(self) -> bool:
        """True or false."""
        if not isinstance(self._data, bool):
            raise self.error(f"{self._name} is neither true nor false")
        return self._data

    def number(self) -> Fraction:
        """A number, exactly as it is written."""
        if isinstance(self._data, bool) or not isinstance(self._data, int | float | Fraction):
            raise self.error(f"{self._name} is no number")
        try:
            number = Fraction(str(self._data))
        except ValueError as error:  # .inf, .nan
            raise self.error(f"{self._name} is no number") from error
        if abs(number) > _MOST:
            raise self.error("so large a number is not possible here")
        return number

    def whole(self) -> int:
        """A whole number from 0."""
        number = self.number()
        if number < 0 or number.denominator != 1:
            raise self.error(f"{self._name} is no whole number from 0")
        return int(number)

    def seconds(self) -> Fraction:
        """A time from 0, in seconds or as minutes:seconds or hours:minutes:seconds."""
        found = seconds_of(self._data) if isinstance(self._data, str) else self.number()
        if found is None or not 0 <= found <= _MOST:
            raise self.error(f"{self._name} is no time", "Give seconds from 0, such as 4.2, or 1:04.2.")
        return found

    def file(self) -> Path:
        """A path; one that is not absolute begins at the folder of the document."""
        path = Path(self.text())
        with suppress(RuntimeError):  # ~NAME of nobody: there is no such file then
            path = path.expanduser()
        return self._document.path.parent / path

    @property
    def _name(self) -> str:
        shown = repr(self._data) if isinstance(self._data, str | int | float | bool) else "this"
        key = next((step for step in reversed(self._way) if isinstance(step, str)), "")
        return f"'{key}: {shown if not isinstance(self._data, str) else self._data}'" if key else shown

    def _of(self, kind: type[dict] | type[list] | type[str]) -> Any:
        if not isinstance(self._data, kind):
            raise self.error(f"{self._name} should be {_KINDS[kind]}")
        return self._data


class _TwiceError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


class _Unique(yaml.SafeLoader):
    """Plain values; a key that is there twice, or is no text, is a fault."""


def _construct_mapping(loader: _Unique, node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or key in found:
            raise yaml.MarkedYAMLError(problem=f"the key {key} is there twice", problem_mark=key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Unique.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
