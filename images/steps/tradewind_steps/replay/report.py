"""The replay as one page that needs nothing else: verdict, limits, distributions, slices."""

from __future__ import annotations

from html import escape
from typing import Any

from tradewind_steps import plots
from tradewind_steps.evaluate.report import PAGE, number, rules_table
from tradewind_steps.gate import Measured
from tradewind_steps.replay.compare import Answers

_SHOWN_SLICES = 40


def report(facts: dict[str, Any], measured: Measured, champion: Answers, challenger: Answers, task: str) -> str:
    """The HTML page. Whatever comes from data is escaped."""
    names = [f"version {facts['champion']}, which serves", f"version {facts['challenger']}"]
    both = ~champion.failed & ~challenger.failed
    drawn = []
    if both.any() and champion.scores.shape == challenger.scores.shape:
        column = champion.scores.shape[1] - 1
        old, new = champion.scores[both, column], challenger.scores[both, column]
        drawn = [plots.against_plot(old, new, names), plots.distribution_plot({names[1]: new, names[0]: old}, "answer")]
    drawn.append(plots.distribution_plot({names[1]: challenger.ms, names[0]: champion.ms}, "milliseconds a request"))
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in facts["reasons"])
    said = f"<p>The first request that failed: <code>{escape(challenger.said)}</code></p>" if challenger.said else ""
    rows = "".join(f"<tr><td>{name}</td><td class='n'>{number(value)}</td></tr>" for name, value in measured.metrics.items())
    body = "\n".join(
        [
            f"<h1>Replay <span class='v {facts['verdict']}'>{facts['verdict']}</span></h1>",
            f"<ul>{reasons}</ul>" if reasons else "",
            f"<p>The same {facts['rows']} holdout rows to version {escape(str(facts['champion']))}, which serves, and to version "
            f"{escape(str(facts['challenger']))}, in turns.</p>{said}",
            "<h2>Limits</h2>", rules_table(facts["rules"]), "<h2>Measured</h2>", f"<table>{rows}</table>",
            *(f"<figure>{svg}</figure>" for svg in drawn),
            *(_slices(column, parts) for column, parts in measured.slices.items()),
        ]
    )  # fmt: skip
    return PAGE.format(title=f"Replay: {facts['verdict']}", body=body)


def _slices(column: str, parts: dict[str, Measured]) -> str:
    rows = "".join(
        f"<tr><td>{escape(value)}</td><td class='n'>{part.rows}</td><td class='n'>{number(part.metrics['disagreement'])}</td>"
        f"<td class='n'>{number(part.metrics['errors'])}</td></tr>"
        for value, part in list(parts.items())[:_SHOWN_SLICES]
    )
    head = f"<tr><th>{escape(column)}</th><th class='n'>rows</th><th class='n'>disagreement</th><th class='n'>errors</th></tr>"
    return f"<h2>By {escape(column)}</h2><table>{head}{rows}</table>"
