"""The tables of docs/gpu.md from the lines of a session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.session import DONE, Row, Step, read_lines
from latentsync.atomic import write_text

BEGIN, END = "<!-- measured on a GPU -->", "<!-- end of measured on a GPU -->"
UNITS = {"ms": "ms", "s": "s", "mib": "MiB", "gib": "GiB"}  # at the ends of names


def write_tables(steps: Sequence[Step], record: Path, document: Path | None) -> None:
    """The tables of a session's ``record`` in place of the last ones in ``document``, or printed.

    Raises ``ValueError`` if the document has no place for them.
    """
    tables = render(steps, read_lines(record))
    if document is None:
        print(tables)
        return
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no lines {BEGIN} and {END}")
    write_text(document, f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def render(steps: Sequence[Step], lines: Sequence[Row]) -> str:
    """Markdown: a heading, a table and the circumstances for each step that has a line."""
    by_name = {line["step"]: line for line in lines}
    parts = []
    for step in steps:
        if step.name not in by_name:
            continue
        line = by_name[step.name]
        parts += [f"### {step.title}", *_groups(line["rows"])]
        if line["status"] != DONE:
            parts.append(f"The step {line['status']}: `{_last_line(line.get('error', ''))}`")
        around = line["circumstances"]
        size = ", in the smoke size" if line["smoke"] else ""
        parts.append(
            f"{around['device_name']}, torch {around['torch']}, commit {around['commit']}, {line['seconds']} s{size}."
        )
    return "\n\n".join(parts)


def _groups(rows: Sequence[Row]) -> list[str]:
    """A table for each run of rows that have the same columns; one row alone, as a list of its values."""
    tables: list[list[Row]] = []
    for row in rows:
        if tables and list(tables[-1][-1]) == list(row):
            tables[-1].append(row)
        else:
            tables.append([row])
    return [_table(table) for table in tables]


def _table(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        return "\n".join(["| | |", "|---|---|", *(f"| {_words(name)} | {_cell(v)} |" for name, v in rows[0].items())])
    head = [_words(name) for name in rows[0]]
    body = [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))


def _words(name: str) -> str:
    """'launch_ms' -> 'launch, ms'."""
    words, _, unit = name.rpartition("_")
    if words and unit in UNITS:
        return f"{words.replace('_', ' ')}, {UNITS[unit]}"
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it did not say why"])[-1].replace("`", "'")
