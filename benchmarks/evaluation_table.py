"""Tables of docs/experiments/evaluation-YYYY-MM.md, in Markdown, from reports of eval/evaluate.sh.

    python -m benchmarks.evaluation_table REPORT/evaluation.json
    python -m benchmarks.evaluation_table A=ONE/evaluation.json B=OTHER/evaluation.json --document PAGE --mark NAME

One report gives the means of result, truth and source with their intervals. Several, each with the name of its column,
give the value of every clip beside one another, and the truth's. With ``--document`` the table takes the place of what
stands between the lines ``<!-- NAME -->`` and ``<!-- end of NAME -->``; else it is printed.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from benchmarks import tables
from latentsync.evaluation.figures import DOES_NOT_APPLY, FIGURES, SET_FIGURES
from latentsync.evaluation.settings import RESULT, ROWS, TRUTH

UNMEASURED = "–"


def means(report: dict) -> list[list[str]]:
    """Rows of the table of one report."""
    lines = [["figure", *ROWS]]
    for name, title in _titles().items():
        found = [report["summary"][row][name] for row in ROWS]
        if any(each["measured"] for each in found):
            lines.append([title, *(_mean(each) for each in found)])
        elif not found[0]["reason"].startswith(DOES_NOT_APPLY):
            lines.append([title, found[0]["reason"].partition("; fetch")[0], "", ""])
    return lines


def clips(reports: dict[str, dict]) -> list[list[str]]:
    """Rows of the table of several reports on the same clips."""
    first = next(iter(reports.values()))
    names = " / ".join(clip["name"] for clip in first["clips"])
    lines = [[f"figure ({names})", *reports, TRUTH]]
    for name in FIGURES:
        columns = [[clip["rows"][RESULT][name] for clip in report["clips"]] for report in reports.values()]
        columns.append([clip["rows"][TRUTH][name] for clip in first["clips"]])
        cells = [" / ".join(map(_number, values)) for values in columns]
        if any(cell.strip(f"/ {UNMEASURED}") for cell in cells[:-1]):
            lines.append([_titles()[name], *cells])
    return lines


def _titles() -> dict[str, str]:
    figures = FIGURES | SET_FIGURES
    return {name: f"{f.title}{f' ({f.unit})' if f.unit else ''} {f.arrow}".rstrip() for name, f in figures.items()}


def _mean(found: dict) -> str:
    if not found["measured"]:
        return UNMEASURED
    low, high = _number(found["low"]), _number(found["high"])
    return _number(found["mean"]) + (f" [{low}, {high}]" if low != high else "")


def _number(value: float | str | None) -> str:
    if value in ("inf", math.inf):
        return "∞"
    if value is None or isinstance(value, str):
        return UNMEASURED
    return "0" if abs(value) < 5e-5 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", help="evaluation.json, or COLUMN=evaluation.json for several")
    parser.add_argument("--document", type=Path, help="Markdown with the two marks")
    parser.add_argument("--mark", default=tables.MARK, help=f"name in the marks ({tables.MARK})")
    options = parser.parse_args()
    given = options.reports
    if len(given) == 1:
        lines = means(json.loads(Path(given[0]).read_text(encoding="utf-8")))
    else:
        named = dict(each.split("=", 1) for each in given)
        lines = clips({column: json.loads(Path(path).read_text(encoding="utf-8")) for column, path in named.items()})
    lines.insert(1, ["---"] * len(lines[0]))
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if options.document is None:
        print(text)
    else:
        tables.fill(options.document, text, options.mark)


if __name__ == "__main__":
    main()
