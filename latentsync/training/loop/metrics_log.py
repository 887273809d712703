"""What was measured during a run, as CSV files and for TensorBoard. A resumed run continues both without doubles."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]


class Journal:
    """The tables ``train`` and ``validation`` of a run; ``rows[table]`` holds them as mappings with the key ``step``.

    ``resumed_at`` is the step that the run goes on from: later rows of an interrupted run are dropped.
    """

    TABLES = ("train", "validation")

    def __init__(self, folder: Path, resumed_at: int) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, list[Row]] = {table: _read(self._path(table), resumed_at) for table in self.TABLES}
        for table, rows in self.rows.items():
            _write(self._path(table), rows)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None)

    def add(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """Append one row, on disk at once.

        All rows of a table have the same figures: those that a row lacks, because the run measured other things before
        or after a restart, are not a number.
        """
        rows, row = self.rows[table], {"step": step, **values}
        if rows and rows[0].keys() == row.keys():
            rows.append(row)
            with self._path(table).open("a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, fieldnames=list(rows[0])).writerow(row)
        else:
            names = dict.fromkeys(name for each in (*rows, row) for name in each)
            rows[:] = [{name: each.get(name, math.nan) for name in names} for each in (*rows, row)]
            _write(self._path(table), rows)
        self._show(table, step, values)

    def amend(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """Give the row of ``step`` figures that it did not have, on disk at once."""
        (row,) = (row for row in self.rows[table] if row["step"] == step)
        row |= values
        _write(self._path(table), self.rows[table])
        self._show(table, step, values)

    def close(self) -> None:
        """Flush what TensorBoard has not written yet."""
        self._board.close()

    def _show(self, table: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isnan(value):
                self._board.add_scalar(f"{table}/{name}", value, step)

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.csv"


def _read(path: Path, last_step: int) -> list[Row]:
    """The whole rows up to ``last_step``; the line that a killed run left half-written is later than that."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        complete = [row for row in csv.DictReader(stream) if None not in row.values() and None not in row]
    rows = [{key: float(value) for key, value in row.items()} for row in complete if int(row["step"]) <= last_step]
    return [{**row, "step": int(row["step"])} for row in rows]


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        if rows:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
