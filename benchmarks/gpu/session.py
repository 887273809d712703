"""Steps that are run one after another, each bounded in time, each with one line of JSON that says how it went.

A step that failed, ran out of time or was not reached is run by the next call with the same file; one that is done is
not run again. The rows that a step has found before it fails are kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Row = dict[str, Any]

DONE, FAILED, TIMED_OUT = "done", "failed", "timed out"
LAST_WORDS = 1500  # characters of a failed step's error that are kept


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how large: ``smoke`` takes tiny sizes, which say only that a step runs."""

    device: torch.device
    smoke: bool

    def pick(self, full: T, small: T) -> T:
        """``full``, or ``small`` in the smoke size."""
        return small if self.smoke else full


@dataclass(frozen=True, slots=True)
class Step:
    """``run`` yields rows as it finds them; ``seconds`` is the most it may take. ``title`` stands over its table."""

    name: str
    title: str
    seconds: float
    run: Callable[[Context], Iterator[Row]]


def finished_steps(record: Path) -> set[str]:
    """Names of the steps that are done according to the lines in ``record``."""
    return {line["step"] for line in read_lines(record) if line["status"] == DONE}


def read_lines(record: Path) -> list[Row]:
    """The last line of each step of a session, in the order of their first ones; a line that was cut off is none."""
    if not record.exists():
        return []
    last: dict[str, Row] = {}
    for line in record.read_text(encoding="utf-8").splitlines():
        if line.startswith("{") and line.endswith("}"):
            content = json.loads(line)
            last[content["step"]] = content
    return list(last.values())


def run_session(
    steps: Sequence[Step], record: Path, seconds: float, call: Callable[[Step, float], Row], common: Row
) -> bool:
    """Run the steps that are not done yet, for at most ``seconds`` in all; returns whether all are done.

    ``call(step, seconds)`` runs one and gives ``status``, ``rows`` and, if it failed, ``error``. ``common`` goes into
    every line of ``record``.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    done = finished_steps(record)
    end = time.monotonic() + seconds
    for step in steps:
        if step.name in done:
            continue
        start = time.monotonic()
        if start >= end:
            break
        result = call(step, min(step.seconds, end - start))
        line = {"step": step.name, "seconds": round(time.monotonic() - start, 2), **result, **common}
        with record.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(line)}\n")  # on a line of its own, also behind one that was cut off
        print(f"{step.name}: {line['status']} in {line['seconds']} s, {len(line['rows'])} rows", flush=True)
    return {step.name for step in steps} <= finished_steps(record)


def call_here(step: Step, context: Context) -> Row:
    """Run a step in this process, without a bound in time."""
    rows: list[Row] = []
    try:
        for row in step.run(context):
            rows.append(rounded(row))
    except Exception as error:  # noqa: BLE001  one step's failure, of any kind, must not end the session
        return {"status": FAILED, "rows": rows, "error": f"{type(error).__name__}: {error}"[-LAST_WORDS:]}
    return {"status": DONE, "rows": rows}


def call_apart(command: Sequence[str], seconds: float) -> Row:
    """Run a step in a process of its own, which gives all memory back and can be ended.

    ``command`` writes its rows as lines of JSON to the file that is added to it as its last argument.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.jsonl"
        found.touch()
        with (Path(folder) / "words").open("w+", encoding="utf-8", errors="replace") as words:
            try:
                code = subprocess.run([*command, str(found)], stdout=words, stderr=words, timeout=seconds).returncode
                status = DONE if code == 0 else FAILED
            except subprocess.TimeoutExpired:
                status = TIMED_OUT
            words.seek(0)
            said = words.read()[-LAST_WORDS:]
        rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        return {"status": status, "rows": rows} | ({} if status == DONE else {"error": said})


def write_rows(step: Step, context: Context, found: Path) -> None:
    """What a process of ``call_apart`` does: write the rows of a step, each as soon as it is there."""
    with found.open("a", encoding="utf-8") as file:
        for row in step.run(context):
            file.write(json.dumps(rounded(row)) + "\n")
            file.flush()


def step_command(module: str, step: Step, context: Context) -> list[str]:
    """The command of ``call_apart`` for a step of ``module``, which takes these options."""
    options = ["--device", str(context.device), "--only", step.name, "--rows"]
    return [sys.executable, "-m", module, *(["--smoke"] if context.smoke else []), *options]


def rounded(row: Row) -> Row:
    """Floats to four digits."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
