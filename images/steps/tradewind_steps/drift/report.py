"""The drift check as one page that needs nothing else: verdict, rules, columns, plots of those that moved furthest."""

from __future__ import annotations

from html import escape
from typing import Any

from tradewind.rules import METRICS
from tradewind_steps import plots
from tradewind_steps.drift.compare import Column
from tradewind_steps.evaluate.report import PAGE, number, rules_table

_DRAWN = 6
_COLOURS = {"DRIFTED": "FAILED", "STEADY": "PASSED"}  # of `PAGE`


def report(facts: dict[str, Any], columns: list[Column]) -> str:
    """The HTML page. Whatever comes from data is escaped."""
    verdict, name, version = facts["verdict"], escape(facts["name"]), escape(str(facts["champion_version"]))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in facts["reasons"])
    beside = (
        f"<p>{facts['rows']:,} rows beside the {facts['reference_rows']:,} that version {version} of {name}, which serves, was "
        "trained on.</p>"
        if facts["reference_rows"]
        else f"<p>No version of {name} serves: {facts['rows']:,} rows, and nothing to compare them with.</p>"
    )
    drawn = [plots.pairs_plot(column.shares, ("then", "now"), column.name) for column in columns if column.shares]
    body = "\n".join(
        [
            f"<h1>Drift <span class='v {_COLOURS.get(verdict, verdict)}'>{verdict}</span></h1>",
            f"<ul>{reasons}</ul>" if reasons else "",
            beside,
            f"<h2>Rules</h2>{rules_table(facts['rules'])}" if facts["rules"] else "",
            f"<h2>Columns</h2>{_table(columns)}" if columns else "",
            *(f"<figure>{svg}</figure>" for svg in drawn[:_DRAWN]),
        ]
    )
    return PAGE.format(title=f"Drift: {verdict}", body=body)


def _table(columns: list[Column]) -> str:
    metrics = METRICS["drift"]
    head = "".join(f"<th class='n'>{metric}</th>" for metric in metrics)
    rows = "".join(
        f"<tr><td>{escape(column.name)}</td>"
        + "".join(f"<td class='n'>{number(column.metrics.get(metric))}</td>" for metric in metrics)
        + f"<td>{escape(column.trouble)}</td></tr>"
        for column in columns
    )
    return f"<table><tr><th>column</th>{head}<th></th></tr>{rows}</table>"
