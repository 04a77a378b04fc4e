"""What the step does once its table is read: rules, judgements, rows apart, reports."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import ValidationFailed
from tradewind_steps.step import Step, StepResult
from tradewind_steps.validate import report, tables
from tradewind_steps.validate.judging import Judgement, judge, read_as_typed
from tradewind_steps.validate.suite import ANOMALIES, Rule, load_rules

_EXAMPLE_ROWS = 5
_EXAMPLE_COLUMNS = 8


def run(step: Step, *, name: str, table: pa.Table, tolerance: float, as_of: datetime | None) -> StepResult:
    """Judge ``table``, which was read from a file called ``name``."""
    time_column: str | None = step.params.get("time_column")
    expectations = step.code_folder() / step.params["expectations"]
    rules = load_rules(expectations, time_column=time_column, id_columns=list(step.params.get("id_columns") or []))
    _check_columns(table, rules, name, expectations.name)
    written, numbers = _until(table, rules, name, time_column, as_of)
    typed = read_as_typed(written, rules)
    judgements = judge(rules, written, typed)

    broken = [(j.rule.name, j.rule.reason, j.rows) for j in judgements if j.rule.by_row and j.rows.size]
    away = tables.quarantine(written, numbers, broken)
    kept = np.ones(written.num_rows, dtype=bool)
    for _, _, positions in broken:
        kept[positions] = False
    dataset = typed.table.filter(pa.array(kept))
    reasons = _reasons(judgements, written.num_rows, away.num_rows, tolerance)
    metrics = {
        "verdict": "FAILED" if reasons else "PASSED",
        "reasons": reasons,
        "rows_checked": written.num_rows,
        "rows_valid": dataset.num_rows,
        "rows_quarantined": away.num_rows,
        "quarantined_share": round(away.num_rows / written.num_rows, 6),
        "data_end": _end(dataset, time_column),
        "rules": {
            "failed": [j.rule.name for j in judgements if _fails(j)],
            "rows": {name: len(positions) for name, _, positions in broken},
        },
        "anomalies": {a: len(_positions([j for j in judgements if j.rule.anomaly == a])) for a in ANOMALIES},
    }

    if not reasons:
        tables.put_table(step, "dataset", dataset)
    tables.put_table(step, "quarantine", away)
    examples = {a: [_example(j, written, numbers) for j in judgements if j.rule.anomaly == a and j.rows.size] for a in ANOMALIES}
    summary = {
        **metrics,
        "data": name,
        "uri": step.spec.inputs["data"].uri,
        "as_of": step.spec.as_of,
        "rows_after_as_of": None if as_of is None else table.num_rows - written.num_rows,
        "tolerance": tolerance,
        "columns": {field.name: str(field.type) for field in typed.table.schema},
        "expectations": [_entry(j) for j in judgements],
        "examples": {a: [vars(example) for example in found] for a, found in examples.items()},
    }
    step.put_report("summary", "summary.json", report.json_text(summary))
    step.put_report("report", "report.html", report.html(summary, examples, judgements, expectations.name))
    return StepResult(metrics=metrics)


def _check_columns(table: pa.Table, rules: list[Rule], name: str, suite: str) -> None:
    """The columns that the rules name are those that must be there."""
    expected = list(dict.fromkeys(column for rule in rules for column in rule.columns))
    missing = [column for column in expected if column not in table.column_names]
    if not missing:
        return
    near = {column: difflib.get_close_matches(column, table.column_names, 1) for column in missing}
    hints = [f"{column!r} may be {found[0]!r}" for column, found in near.items() if found]
    if table.num_columns == 1 and any(mark in table.column_names[0] for mark in ";\t|"):
        hints.append("the columns seem to be separated by something other than a comma")
    raise ValidationFailed(
        f"{name}: expected the column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}, which {suite} or the task name; "
        f"got {', '.join(map(repr, table.column_names[:50]))}" + (f" ({'; '.join(hints)})" if hints else "")
    )


def _until(
    table: pa.Table, rules: list[Rule], name: str, time_column: str | None, as_of: datetime | None
) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]:
    """The rows before ``as_of`` and their 1-based numbers in the source. A row that says no time stays, to be judged."""
    numbers = np.arange(1, table.num_rows + 1)
    if as_of is None or time_column is None:
        return table, numbers
    times = read_as_typed(table.select([time_column]), rules).table[time_column]
    if not pa.types.is_timestamp(times.type):
        raise ValidationFailed(f"{name}: expected times in the column {time_column!r}, got {table[time_column].type}")
    before = pc.fill_null(pc.less(times, pa.scalar(as_of, times.type)), True)
    if not pc.any(before).as_py():
        first, end = pc.min(times).as_py().isoformat(), as_of.isoformat()
        raise ValidationFailed(f"{name}: expected rows with {time_column} before {end}, got none: the first is at {first}")
    return table.filter(before), numbers[np.asarray(before.combine_chunks().to_numpy(zero_copy_only=False))]


def _fails(judgement: Judgement) -> bool:
    """Does it fail the data by itself? A row rule that was judged does not: its rows go away."""
    if judgement.error:
        return True
    by_rows = judgement.rule.by_row and bool(judgement.rows.size)
    return judgement.rule.required and not judgement.passed and not by_rows


def _reasons(judgements: list[Judgement], checked: int, away: int, tolerance: float) -> list[str]:
    reasons = []
    for j in judgements:
        if j.error:
            reasons.append(f"{j.rule.name} could not be judged: {j.error}")
        elif _fails(j):
            reasons.append(
                f"{j.rule.name} is broken: expected {j.rule.arguments or 'it to hold'}, got {j.observed or 'nothing to measure'}"
            )
    if away / checked > tolerance:
        worst = max((j for j in judgements if j.rule.by_row), key=lambda j: len(j.rows))
        reasons.append(
            f"{away:,} of {checked:,} rows ({away / checked:.2%}) break row rules, the tolerance is {tolerance:.2%} "
            f"({int(tolerance * checked + 1e-9):,} rows); most break {worst.rule.name} ({len(worst.rows):,})"
        )
    elif away == checked:
        reasons.append(f"No row is left: all {checked:,} break row rules")
    return reasons


def _end(dataset: pa.Table, time_column: str | None) -> str | None:
    if time_column is None or not dataset.num_rows or not pa.types.is_timestamp(dataset[time_column].type):
        return None
    latest = pc.max(dataset[time_column]).as_py()
    return None if latest is None else latest.astimezone(UTC).isoformat()


def _positions(judgements: list[Judgement]) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = [j.rows for j in judgements if j.rows.size]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype="int64")


def _entry(j: Judgement) -> dict[str, Any]:
    return {
        "rule": j.rule.name,
        "scope": "rows" if j.rule.by_row else "the table",
        "implied": j.rule.implied,
        "passed": j.passed,
        "rows": int(j.rows.size),
        "observed": j.observed,
        "error": j.error,
    }


def _example(j: Judgement, written: pa.Table, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> report.Example:
    """The first rows that break a rule; of conflicting ones, whole groups first."""
    rows = j.rows
    if j.rule.anomaly == "conflicting_ids":
        frame = written.select(j.rule.columns).take(pa.array(rows)).to_pandas()
        groups = frame.groupby(j.rule.columns, dropna=False, sort=False).ngroup().to_numpy()
        rows = rows[np.argsort(groups, kind="stable")]
    rows = rows[:_EXAMPLE_ROWS]
    shown = written.take(pa.array(rows))
    others = [c for c in written.column_names if c not in j.rule.columns]
    if j.rule.anomaly == "conflicting_ids":  # what differs says that these are different records
        others.sort(key=lambda c: len(set(map(str, shown[c].to_pylist()))) == 1)
    columns = j.rule.columns + others[: max(_EXAMPLE_COLUMNS - len(j.rule.columns), 0)]
    cells = [[report.cell(v) for v in shown[c].to_pylist()] for c in columns]
    return report.Example(
        rule=j.rule.name,
        reason=j.rule.reason,
        count=int(j.rows.size),
        columns=columns,
        marked=j.rule.columns,
        rows=[(int(numbers[row]), [column[n] for column in cells]) for n, row in enumerate(rows)],
    )
