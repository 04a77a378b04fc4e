"""The evaluation as one page that needs nothing else: verdict, rules, metrics, plots, slices."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from tradewind_steps import plots
from tradewind_steps.evaluate.holdout import Holdout
from tradewind_steps.gate import Measured
from tradewind_steps.metrics import MAIN

Scored = tuple[Measured, np.ndarray]
_POINTS = 200
_SHOWN_SLICES = 40
_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 1.8rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.v { padding: .1rem .5rem; border-radius: .3rem; color: #fff; font-weight: 600; background: #6b7280; white-space: nowrap; }
.PASSED { background: #15803d; } .FAILED { background: #b91c1c; } .INCONCLUSIVE { background: #b45309; }
.better { color: #15803d; } .worse { color: #dc2626; } .small { color: #8a94a0; }
figure { display: inline-block; margin: 0 1rem 1rem 0; background: #fff; } figure svg { max-width: 100%; height: auto; }
"""
PAGE = (
    "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title><style>"
    + _STYLE.replace("{", "{{").replace("}", "}}")
    + "</style></head><body>\n{body}\n</body></html>\n"
)


def report(
    facts: dict[str, Any],
    holdout: Holdout,
    challenger: Scored,
    champion: Scored | None,
    card: dict[str, Any],
    trouble: str | None,
    differences: Measured | None,
) -> str:
    """The HTML page. Whatever comes from data is escaped."""
    own, other = challenger[0], champion[0] if champion else None
    name = f"champion (version {facts['champion_version']})" if facts["champion_version"] else "champion"
    parts = [
        f"<h1>Evaluation <span class='v {facts['verdict']}'>{facts['verdict']}</span></h1>",
        _list(facts["reasons"]),
        f"<p>{facts['rows']} holdout rows{_period(holdout)}, label <b>{escape(card['label'])}</b> ({card['task']}), "
        f"{len(card['features'])} features; MLflow run {escape(card['mlflow_run_id'])}.</p>",
        f"<p>{escape(trouble[0].upper() + trouble[1:])}.</p>" if trouble else "",
        "<h2>Rules</h2>", rules_table(facts["rules"]) if facts["rules"] else "<p>No rules were given.</p>",
        "<h2>Metrics</h2>", _metrics(own, other, name), _differences(differences) if differences else "",
    ]  # fmt: skip
    if facts["rows"]:
        scores = {"challenger": challenger[1], **({name: champion[1]} if champion else {})}
        parts += [f"<figure>{svg}</figure>" for svg in _plots(holdout, scores)]
    for column in own.slices:
        table = _slices(column, MAIN[card["task"]], own, other, name, facts["min_slice_rows"], differences)
        parts += [f"<h2>By {escape(column)}</h2>", table]
    return PAGE.format(title=f"Evaluation: {facts['verdict']}", body="\n".join(parts))


def _period(holdout: Holdout) -> str:
    return f" from {holdout.start[:16]} to {holdout.end[:16]} UTC" if holdout.start and holdout.end else ", chosen by content"


def _list(items: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else ""


def rules_table(rules: list[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(rule['rule'])}</code></td><td class='n'>{number(rule['value'])}</td>"
        f"<td>{escape(rule['expected'])}</td><td><span class='v {rule['verdict']}'>{rule['verdict']}</span></td></tr>"
        for rule in rules
    ]
    return f"<table><tr><th>rule</th><th class='n'>value</th><th>expected</th><th></th></tr>{''.join(rows)}</table>"


def _metrics(challenger: Measured, champion: Measured | None, name: str) -> str:
    rows = []
    for metric, value in challenger.metrics.items():
        compared = _compared(metric, value, champion.metrics[metric]) if champion else ""
        rows.append(f"<tr><td>{metric}</td><td class='n'>{number(value)}</td>{compared}</tr>")
    return f"<table><tr><th></th><th class='n'>challenger</th>{_champion_head(champion, name)}</tr>{''.join(rows)}</table>"


def _differences(measured: Measured) -> str:
    rows = "".join(f"<tr><td>{name}</td><td class='n'>{number(value)}</td></tr>" for name, value in measured.metrics.items())
    return f"<h2>The two models' answers to the same rows</h2><table>{rows}</table>"


def _slices(
    column: str,
    metric: str,
    challenger: Measured,
    champion: Measured | None,
    name: str,
    min_rows: int,
    differences: Measured | None,
) -> str:
    rows = []
    others = champion.slices.get(column, {}) if champion else {}
    apart = differences.slices[column] if differences else {}
    for value, part in list(challenger.slices[column].items())[:_SHOWN_SLICES]:
        figure = part.metrics[metric]
        compared = _compared(metric, figure, others[value].metrics[metric]) if champion else ""
        if differences:
            compared += f"<td class='n'>{number(apart[value].metrics['disagreement'])}</td>"
        kind = " class='small'" if part.rows < min_rows else ""
        cells = f"<td>{escape(value)}</td><td class='n'>{part.rows}</td><td class='n'>{number(figure)}</td>{compared}"
        rows.append(f"<tr{kind}>{cells}</tr>")
    more = len(challenger.slices[column]) - _SHOWN_SLICES
    beside = _champion_head(champion, name) + ("<th class='n'>disagreement</th>" if differences else "")
    head = f"<tr><th>{escape(column)}</th><th class='n'>rows</th><th class='n'>{metric}</th>{beside}</tr>"
    note = f"<p class='small'>and {more} smaller ones, in verdict.json</p>" if more > 0 else ""
    if any(part.rows < min_rows for part in challenger.slices[column].values()):
        note += f"<p class='small'>Slices of fewer than {min_rows} rows, in grey, are shown but no rule is held against them.</p>"
    return f"<table>{head}{''.join(rows)}</table>{note}"


def _champion_head(champion: Measured | None, name: str) -> str:
    return f"<th class='n'>{escape(name)}</th><th class='n'>difference</th>" if champion else ""


def _compared(metric: str, value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return f"<td class='n'>{number(other)}</td><td></td>"
    difference = value - other
    less_is_better = metric in ("logloss", "brier", "rmse", "mae", "median_ae")
    kind = "" if not difference else "better" if (difference < 0) == less_is_better else "worse"
    return f"<td class='n'>{number(other)}</td><td class='n {kind}'>{difference:+.4f}</td>"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"  # noqa: RUF001


def _plots(holdout: Holdout, scores: dict[str, np.ndarray]) -> list[str]:
    y = holdout.y
    if holdout.task == "binary":
        drawn = [plots.calibration_plot({name: _calibration(y, values) for name, values in scores.items()})]
        if 0 < y.sum() < len(y):
            drawn.insert(0, plots.roc_plot({name: _roc(y, values) for name, values in scores.items()}))
        return drawn
    if holdout.task == "multiclass":
        counts = np.zeros((len(holdout.classes), len(holdout.classes)))
        np.add.at(counts, (y, scores["challenger"].argmax(axis=1)), 1)
        return [plots.matrix_plot(counts, [str(name) for name in holdout.classes])]
    chosen = np.linspace(0, len(y) - 1, min(2000, len(y))).astype(int)
    return [plots.scatter_plot(y[chosen], {name: values[chosen] for name, values in scores.items()})]


def _roc(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(y, p)
    chosen = np.unique(np.linspace(0, len(false) - 1, _POINTS).astype(int))
    return false[chosen], true[chosen]


def _calibration(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), 10) if len(part)]
    return np.array([p[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])
