"""The drift step: a dataset against the one that the champion was trained on, column by column. A verdict is no error here."""

from __future__ import annotations

import json
import logging
from typing import Any

from tradewind.rules import Rule, parse_rules
from tradewind_steps.drift.compare import Column, compare
from tradewind_steps.drift.table import NUMBERS, TEXT, UNKNOWN, Table
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")

_NAMED = 10  # reasons that are told before the rest is counted
_TOLD = 20  # columns that travel in XCom; all are in drift.json


def run(step: Step) -> StepResult:
    """Params: ``rules``, ``exclude``, ``min_rows``; of the champion's training ``label``, ``time_column`` and
    ``reference_as_of``, and ``name`` and ``champion_version`` for people.

    Inputs: ``dataset``, and ``reference`` where there is a champion.
    """
    params = step.params
    rules, time_column = parse_rules(params["rules"], "drift"), params.get("time_column")
    now = Table(step.input_path("dataset"), "dataset", time_column, step.spec.as_of)
    facts: dict[str, Any] = {
        "verdict": "NO CHAMPION",
        "drifted": False,
        "reasons": [],
        "worst": None,
        "rows": now.rows,
        "reference_rows": None,
        "name": params["name"],
        "champion_version": params.get("champion_version"),
        "rules": [],
    }
    columns: list[Column] = []
    if "reference" in step.spec.inputs:
        then = Table(step.input_path("reference"), "reference", time_column, params.get("reference_as_of"))
        columns = _columns(then, now, label=params.get("label"), without={time_column, *params["exclude"]})
        judged = _judged(rules, columns, rows=min(then.rows, now.rows), min_rows=params["min_rows"])
        facts |= {"reference_rows": then.rows, **judged}
    log.info("%s%s", facts["verdict"], "".join(f"\n  {reason}" for reason in facts["reasons"]))
    told = [{"column": column.name, **column.metrics, "trouble": column.trouble} for column in columns]
    step.put_report("columns", "drift.json", json.dumps({**facts, "columns": told}, indent=1, ensure_ascii=False))
    from tradewind_steps.drift.report import report

    step.put_report("report", "drift.html", report(facts, columns))
    return StepResult(metrics={**facts, "columns": told[:_TOLD]})


def _columns(then: Table, now: Table, *, label: str | None, without: set[str | None]) -> list[Column]:
    """Each column that a model may take, and the label where it is known by now; what moved furthest comes first."""
    found = []
    for name, kind in then.kinds.items():
        if name in without or kind not in (NUMBERS, TEXT, UNKNOWN) or (name == label and name not in now.kinds):
            continue
        kinds = {kind, now.kinds.get(name, "")} - {UNKNOWN}  # a column without a value fits any
        if name not in now.kinds:
            found.append(Column(name=name, trouble=f"{name!r} is missing"))
        elif len(kinds) > 1:
            found.append(Column(name=name, trouble=f"{name!r} is {now.kinds[name]}, expected {kind}"))
        else:
            as_numbers = NUMBERS in kinds
            found.append(compare(name, then.values(name, as_numbers=as_numbers), now.values(name, as_numbers=as_numbers)))
    return sorted(found, key=lambda column: (not column.trouble, -(column.metrics.get("psi") or 0)))


def _judged(rules: list[Rule], columns: list[Column], *, rows: int, min_rows: int) -> dict[str, Any]:
    """With too few rows on either side chance alone moves shares; that a column is gone is certain all the same."""
    enough = rows >= min_rows
    reasons, results = [column.trouble for column in columns if column.trouble], []
    psi = {column.name: column.metrics["psi"] for column in columns if column.metrics}
    for rule in rules:
        values = {column.name: value for column in columns if (value := column.metrics.get(rule.metric)) is not None}
        broken = {name: value for name, value in values.items() if not rule.holds(value, rule.margin)}
        worst = max if rule.comparison in ("<", "<=") else min
        results.append(
            {
                "rule": rule.text,
                "value": worst(values.values(), default=None),
                "expected": rule.expected,
                "verdict": "NOT APPLICABLE" if not values else "INCONCLUSIVE" if not enough else "FAILED" if broken else "PASSED",
            }
        )
        if enough:
            reasons += [_moved(name, rule, value, psi[name]) for name, value in broken.items()]
    drifted = bool(reasons)
    if not enough:
        reasons.append(f"{rows} rows to compare by, expected at least {min_rows} to conclude anything from shares")
    more = len(reasons) - _NAMED
    return {
        "verdict": "DRIFTED" if drifted else "STEADY" if enough else "INCONCLUSIVE",
        "drifted": drifted,
        "reasons": [*reasons[:_NAMED], *([f"{more} more, in the report"] if more > 0 else [])],
        "worst": columns[0].name if columns else None,
        "rules": results,
    }


def _moved(name: str, rule: Rule, value: float, psi: float | None) -> str:
    beside = "" if rule.metric == "psi" else f" (psi {psi:.3g})"
    return f"{name!r} has moved: {rule.metric} {value:.3g}, expected {rule.expected}{beside}"
