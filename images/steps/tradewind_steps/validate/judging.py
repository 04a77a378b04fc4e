"""Rules and a table -> which rows break which rule, and what Great Expectations says of each.

Great Expectations sees only the columns that the rules name, in two readings: as written and as typed; every rule on a
batch of frames copies all of its columns.
"""

from __future__ import annotations

import functools
import os
import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.core.expectation_validation_result import ExpectationValidationResult

from tradewind_steps.validate import casting
from tradewind_steps.validate.casting import Mask, TypeKind
from tradewind_steps.validate.suite import DATE_FORMAT, Rule

EXAMPLES = 20
_LONGEST = 300
_RULE = "tradewind_rule"


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A table with types, and for each rule about reading the rows that break it.

    Attributes:
        wrong: rules that a typed source breaks as a whole, with the type that was found instead.
    """

    table: pa.Table
    bad: dict[str, Mask]
    wrong: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What became of one rule.

    Attributes:
        rows: positions of the rows that break it; empty for a rule that does not speak of rows.
        error: why it could not be judged; it never counts as passed.
        observed: what was measured, as text.
    """

    rule: Rule
    passed: bool
    rows: np.ndarray[Any, np.dtype[np.int64]]
    result: ExpectationValidationResult
    error: str | None = None
    observed: str | None = None


def read_as_typed(table: pa.Table, rules: list[Rule]) -> Typed:
    """Cast every text column to what the rules ask for, or else to what all of its cells are."""
    bad: dict[str, Mask] = {}
    wrong: dict[str, str] = {}
    columns = []
    for name in table.column_names:
        column = table[name]
        reading = [rule for rule in rules if rule.by_reading and rule.columns == [name]]
        formats = [rule for rule in reading if rule.type == DATE_FORMAT]
        kinds = [rule for rule in reading if rule.kind]
        kind: TypeKind | None = kinds[0].kind if kinds else "time" if formats else None
        if not casting.is_text(column.type):
            found = casting.kind_of_arrow(column.type)
            column = casting.as_times(column) if found == "time" else column
            for rule in reading:
                fits = found == (rule.kind or "time") or (found == "int" and rule.kind == "float")
                if not fits:
                    wrong[rule.name] = str(column.type)
        elif kind is None:
            column = casting.infer(column)
        else:
            date_format = formats[0].kwargs["strftime_format"] if formats else None
            done = casting.cast(column, kind, date_format)
            for rule in reading:
                same = rule.kind == kind or (rule is formats[0] and kind == "time") if formats else rule.kind == kind
                bad[rule.name] = done.bad if same else _odd(column, rule)
            column = done.column
        columns.append(column)
    return Typed(table=pa.Table.from_arrays(columns, names=table.column_names), bad=bad, wrong=wrong)


def judge(rules: list[Rule], written: pa.Table, typed: Typed) -> list[Judgement]:
    """One judgement per rule, in the order of the rules."""
    found: dict[str, Judgement] = {}
    whole = [rule for rule in rules if rule.on_all_columns]
    for rule in rules:
        if rule.by_reading:
            found[rule.name] = _judge_reading(rule, written, typed)
    rest = [rule for rule in rules if not rule.by_reading and rule not in whole]
    for group, table in (
        (whole, typed.table),
        ([rule for rule in rest if rule.on_text], written),
        ([rule for rule in rest if not rule.on_text], typed.table),
    ):
        named = sorted({column for rule in group for column in rule.columns})
        columns = named if named and group is not whole else table.column_names
        if group:
            found |= _judge_with_gx(group, table.select(columns).to_pandas())
    return [found[rule.name] for rule in rules]


def _odd(column: pa.ChunkedArray, rule: Rule) -> Mask:
    if rule.kind:
        return casting.cast(column, rule.kind).bad
    return casting.odd_dates(column, rule.kwargs["strftime_format"])


def _judge_reading(rule: Rule, written: pa.Table, typed: Typed) -> Judgement:
    """The same result as Great Expectations gives, from the masks of the cast, so that its Data Docs show it."""
    name = rule.columns[0]
    wrong = typed.wrong.get(rule.name)
    rows = np.flatnonzero(typed.bad.get(rule.name, np.zeros(0, dtype=bool)))
    count, missing = written.num_rows, written[name].null_count
    present = max(count - missing, 1)
    values = written[name].take(pa.array(rows[:EXAMPLES])).to_pylist()
    said: dict[str, Any] = {
        "element_count": count,
        "missing_count": missing,
        "missing_percent": 100 * missing / count,
        "unexpected_count": len(rows),
        "unexpected_percent": 100 * len(rows) / present,
        "unexpected_percent_total": 100 * len(rows) / count,
        "unexpected_percent_nonmissing": 100 * len(rows) / present,
        "partial_unexpected_list": values,
        "partial_unexpected_counts": [],
    }
    result = ExpectationValidationResult(
        success=not wrong and not len(rows),
        expectation_config=rule.config,
        result={"observed_value": wrong} if wrong else said,
        exception_info=_exception_info(None),
        meta={},
    )
    return Judgement(rule=rule, passed=bool(result.success), rows=rows, result=result, observed=wrong)


def _judge_with_gx(rules: list[Rule], frame: pd.DataFrame) -> dict[str, Judgement]:
    asset = _source().add_dataframe_asset(f"rows-{uuid.uuid4().hex}")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="rules", expectations=[_marked(rule, number, frame) for number, rule in enumerate(rules)])
    outcome = batch.validate(suite, result_format="COMPLETE")
    judged: dict[str, Judgement] = {}
    for result in outcome.results:
        # Great Expectations gives those that raised first, so the order does not tell which rule it was.
        rule = rules[result.expectation_config.meta[_RULE]]
        judged[rule.name] = _judgement(rule, result)
    for rule in rules:
        if rule.name not in judged:
            error = "Great Expectations gave no result"
            info = _exception_info(error)
            lost = ExpectationValidationResult(success=False, expectation_config=rule.config, result={}, exception_info=info)
            judged[rule.name] = Judgement(rule=rule, passed=False, rows=_none(), result=lost, error=error)
    return judged


@functools.cache
def _source() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context.data_sources.add_pandas("data")


def _marked(rule: Rule, number: int, frame: pd.DataFrame) -> Any:
    """The expectation with its number, and with bounds that can be compared with the column's instants."""
    update: dict[str, Any] = {"meta": {_RULE: number}}
    times = any(isinstance(frame[c].dtype, pd.DatetimeTZDtype) for c in rule.columns if c in frame)
    for key in ("min_value", "max_value"):
        bound = getattr(rule.expectation, key, None)
        if times and isinstance(bound, (date, datetime, str)):
            stamp = pd.Timestamp(bound)
            update[key] = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
    return rule.expectation.copy(update=update)


def _judgement(rule: Rule, result: ExpectationValidationResult) -> Judgement:
    error = _raised(result.exception_info)
    rows = np.asarray(result.result.get("unexpected_index_list") or [], dtype="int64") if not error else _none()
    observed = result.result.get("observed_value")
    if rows.size and "unexpected_percent" in result.result and observed is None:
        observed = f"{result.result['unexpected_count']} of {result.result['element_count']} rows break it"
    for key in ("unexpected_list", "unexpected_index_list", "unexpected_index_query", "partial_unexpected_index_list"):
        result.result.pop(key, None)
    result.expectation_config = rule.config
    result.exception_info = _exception_info(error)
    return Judgement(
        rule=rule,
        passed=bool(result.success) and not error,
        rows=np.unique(rows),
        result=result,
        error=error,
        observed=None if observed is None else _short(str(observed)),
    )


def _raised(info: dict[str, Any]) -> str | None:
    """What an expectation raised: Great Expectations tells it flat, or nested once per metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    said = [str(entry.get("exception_message")) for entry in entries if isinstance(entry, dict) and entry.get("raised_exception")]
    return _short("; ".join(dict.fromkeys(said))) or None


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _exception_info(message: str | None) -> dict[str, Any]:
    return {"raised_exception": message is not None, "exception_message": message, "exception_traceback": ""}


def _none() -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.zeros(0, dtype="int64")
