"""What became of a batch, for people and programs: a table (CSV), the same with counts (JSON), and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from html import escape
from typing import Any

from latentsync.html_page import document
from latentsync.inference.job.folder import State
from latentsync.service.batch.jobs import Outcome
from latentsync.service.batch.results import Results

CSV, JSON, PAGE = "summary.csv", "summary.json", "summary.html"
_STYLE = """
.failed { background: #fdecea; } .failed td:first-child { border-left: 4px solid #c33; }
td { vertical-align: top; overflow-wrap: anywhere; } td.text { text-align: left; }
"""


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of summary.json: counts, and every job."""
    states = [outcome.state for outcome in outcomes]
    counts = {str(state): states.count(state) for state in State}
    more = {"skipped": sum(each.skipped for each in outcomes), "late": sum(each.late for each in outcomes)}
    return {"jobs": len(states), **counts, **more, "rows": [asdict(outcome) for outcome in outcomes]}


def write_summary(outcomes: Sequence[Outcome], results: Results) -> dict[str, Any]:
    """Write all three beside the results; gives what ``summary`` does. Raises ``OutputError``."""
    content = summary(outcomes)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(each.name for each in fields(Outcome))
    writer.writerows(astuple(outcome) for outcome in outcomes)
    results.write(CSV, table.getvalue())
    results.write(JSON, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    results.write(PAGE, page(content))
    return content


def page(content: dict[str, Any]) -> str:
    """``summary`` as HTML: counts first, then what is not done, then the rest."""
    rows = content["rows"]
    spent = sum(row["seconds"] for row in rows)
    not_done = content["jobs"] - content["done"]
    words = [f"{content['done']} of {content['jobs']} jobs are done", f"{content['skipped']} were there already"]
    words += [f"{not_done} are not"] if not_done else []
    words += [f"{content['late']} came after their deadline"] if content["late"] else []
    ordered = sorted(rows, key=lambda row: row["state"] == State.DONE)
    head = "<tr><th>job</th><th>state</th><th>seconds</th><th>attempts</th><th>result</th><th>what went wrong</th></tr>"
    return document(
        "Batch",
        [
            "<h1>Batch</h1>",
            f'<p class="verdict">{"; ".join(words)}. {spent:.0f} seconds of work.</p>',
            f"<table>{head}",
            *map(_row, ordered),
            "</table>",
        ],
        _STYLE,
    )


def _row(row: dict[str, Any]) -> str:
    state = row["state"] + (", late" if row["late"] else "") + (", there already" if row["skipped"] else "")
    texts = [row["name"], state, f"{row['seconds']:.1f}", str(row["attempts"])]
    cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
    wrong = " ".join(filter(None, [row["error"], row["remedy"]]))
    cells += "".join(f'<td class="text">{escape(text)}</td>' for text in (row["output"], wrong))
    return f'<tr class="{escape(row["state"])}">{cells}</tr>'
