"""Columns -> a suite of expectations to begin with. A rule's notes say how many rows of today pass, and what is doubtful.

A rule that costs rows is *critical* only where nearly all rows of today pass; a doubtful one is a *warning*, which is shown
and stops nothing, for a person to decide on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from tradewind_steps.dataset import plain
from tradewind_steps.draft.kinds import ISO, Column
from tradewind_steps.draft.roles import Roles
from tradewind_steps.draft.target import Target
from tradewind_steps.validate import casting
from tradewind_steps.validate.casting import Mask

_LISTED = 30  # categories with at most as many values are listed
_NEW = 0.002  # a chance above this that the next row brings a new value makes a list doubtful
_FAR = 10.0  # times the spread of the middle 98 of 100 values: what lies farther is doubtful
_CODES = (r"^\d{%d}$", r"^[A-Z]{%d}$", r"^[A-Z0-9]{%d}$")
_TYPE_NAMES = {"int": "int64", "float": "float64", "bool": "bool", "time": "datetime64", "text": "str"}
MOST_AWAY = 0.02  # of today's rows; rules that send more to quarantine are warnings


@dataclass
class Draft:
    """One expectation.

    Attributes:
        bad: rows that break it; None for a rule on the table.
        doubt: why a person should look at it.
        fixed: it is about reading, and costs rows whatever its severity.
    """

    type: str
    kwargs: dict[str, Any]
    bad: Mask | None = None
    doubt: str | None = None
    note: str = ""
    fixed: bool = False
    warning: bool = False

    def entry(self, rows: int) -> dict[str, Any]:
        """As Great Expectations has it in a file."""
        notes = [self.note] if self.note else []
        if self.bad is not None:
            broken = int(self.bad.sum())
            notes.append(
                f"{share(rows - broken, rows)} of today's {rows:,} rows pass" + (f"; {broken:,} do not" if broken else "")
            )
        if self.doubt:
            notes.append(f"Doubtful: {self.doubt}")
        found: dict[str, Any] = {"type": self.type, "kwargs": self.kwargs, "notes": ". ".join(notes)}
        return {**found, "severity": "warning"} if self.warning else found


def draft(columns: Sequence[Column], target: Target, roles: Roles, *, name: str) -> dict[str, Any]:
    """The suite, as JSON. Its critical rules send at most `MOST_AWAY` of today's rows to quarantine, where types allow it."""
    rows = columns[0].rows
    drafts = [_row_count(rows)]
    for column in columns:
        if column.kind is not None and column.name.strip():
            drafts += _of_column(column, target, roles)
    _demote(drafts, rows)
    return {"name": name, "expectations": [draft.entry(rows) for draft in drafts]}


def share(part: int, whole: int) -> str:
    """A share that is 100 % only where it is all."""
    percent = 100 * part / whole
    text = f"{percent:.2f}".rstrip("0").rstrip(".")
    return f"{'99.99' if text == '100' and part < whole else text}%"


def _row_count(rows: int) -> Draft:
    least = max(1, rows // 10)
    return Draft("expect_table_row_count_to_be_between", {"min_value": least}, note=f"Today {rows:,} rows: far fewer is a part")


def _of_column(column: Column, target: Target, roles: Roles) -> Iterator[Draft]:
    named = {"column": column.name}
    yield from _reading(column, named)
    yield from _missing(column, named, column.name == roles.time)
    if column.name in roles.keys:
        yield Draft("expect_column_values_to_be_unique", named, _nothing(column), note="Names one row each")
    is_target = column.name == target.name
    if column.loose:
        return
    if is_target and target.classes:
        listed = target.classes + [plain(v) for v in column.distinct().index if str(v) in target.rare]
        if column.kind != "bool":
            yield Draft("expect_column_values_to_be_in_set", {**named, "value_set": listed}, _nothing(column), note="The classes")
    elif column.kind in ("int", "float"):
        yield from _range(column, named, key=column.name in roles.keys)
    elif column.kind == "text" and column.name in roles.categories and len(column.distinct()) <= _LISTED:
        yield _listed(column, named)
    elif column.kind == "text":
        yield from _code(column, named)
    if is_target and target.task == "regression":
        mean, spread = float(np.nanmean(target.numbers)), float(np.nanstd(target.numbers))
        bounds = {"min_value": _round(mean - spread), "max_value": _round(mean + spread)}
        note = f"Today {mean:.4g}: beyond this the unit or the population has changed"
        yield Draft("expect_column_mean_to_be_between", {**named, **bounds}, note=note)


def _reading(column: Column, named: dict[str, Any]) -> Iterator[Draft]:
    """How a cell is written."""
    if column.loose:
        doubt = "most cells are numbers, with signs or marks that are none: no rule asks for a type, the features read them"
        if column.kind == "time":
            ways = ", ".join(column.formats)
            doubt = f"dates are written in several ways ({ways}): no rule asks for one, the features read them all"
        yield Draft("expect_column_values_to_match_regex", {**named, "regex": r"\d"}, column.bad, doubt, warning=True)
        return
    assert column.kind
    odd = "these cells go to quarantine; what are they?" if column.bad.any() else None
    if column.kind == "time" and column.formats and column.formats[0] != ISO:
        other = f"the dates read as {column.other_format} just as well" if column.other_format else None
        kwargs = {**named, "strftime_format": column.formats[0]}
        yield Draft("expect_column_values_to_match_strftime_format", kwargs, column.bad, other or odd, fixed=True)
        return
    kwargs = {**named, "type_": _TYPE_NAMES[column.kind]}
    yield Draft("expect_column_values_to_be_of_type", kwargs, column.bad, odd, fixed=True)


def _missing(column: Column, named: dict[str, Any], is_time: bool) -> Iterator[Draft]:
    kind = "expect_column_values_to_not_be_null"
    nulls = _written_nulls(column)
    if column.nulls == 0 or is_time:
        yield Draft(kind, named, nulls)
        return
    now = column.nulls / column.rows
    mostly = math.floor(100 * max(0.0, 1 - 2 * now - 0.02)) / 100
    if mostly > 0:
        note = f"{share(column.nulls, column.rows)} are missing today; more than {round(100 * (1 - mostly))}% would be a change"
        yield Draft(kind, {**named, "mostly": mostly}, note=note)


def _range(column: Column, named: dict[str, Any], *, key: bool) -> Iterator[Draft]:
    numbers = column.numbers()
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return
    low, high = float(known.min()), float(known.max())
    first, last = np.quantile(known, [0.01, 0.99])
    middle = float(last - first)
    far = [end for end, edge in ((low, first), (high, last)) if middle and abs(end - edge) > _FAR * middle]
    if key:
        return
    reach = (high - low) or abs(high) or 1.0
    least = 0.0 if low >= 0 else low - reach / 2
    most = 0.0 if high <= 0 else high + reach / 2
    bounds = {"min_value": _round(least), "max_value": _round(most)}
    note = f"Today from {low:g} to {high:g}"
    yield Draft("expect_column_values_to_be_between", {**named, **bounds}, np.isinf(numbers), note=note)
    if far:
        near = {"min_value": _round(float(first) - _FAR * middle), "max_value": _round(float(last) + _FAR * middle)}
        with np.errstate(invalid="ignore"):
            bad = (numbers < near["min_value"]) | (numbers > near["max_value"])
        ends = " and ".join(f"{end:g}" for end in far)
        doubt = f"{ends} is far from the middle 98% ({first:g} to {last:g}): a mark for missing, or another unit?"
        yield Draft("expect_column_values_to_be_between", {**named, **near}, bad, doubt, warning=True)


def _listed(column: Column, named: dict[str, Any]) -> Draft:
    counts = column.distinct()
    unseen = int((counts == 1).sum()) / column.present  # Good and Turing: the chance that the next row brings a new one
    values = sorted(plain(value) for value in counts.index)
    found = Draft("expect_column_values_to_be_in_set", {**named, "value_set": values}, _nothing(column))
    if unseen > _NEW:
        once = int((counts == 1).sum())
        found.doubt = f"{once} of the {len(values)} values came once only, so others will come"
        found.warning = True
    return found


def _code(column: Column, named: dict[str, Any]) -> Iterator[Draft]:
    """Codes of one length: five digits, three letters."""
    lengths = pc.unique(pc.utf8_length(column.values.drop_null())).to_pylist()
    if len(lengths) != 1 or lengths[0] > 20:
        return
    for pattern in _CODES:
        regex = pattern % lengths[0]
        if pc.all(pc.match_substring_regex(column.values.drop_null(), regex)).as_py():
            yield Draft("expect_column_values_to_match_regex", {**named, "regex": regex}, _nothing(column))
            return


def _demote(drafts: list[Draft], rows: int) -> None:
    """Turn rules into warnings, the one that costs most rows first, until few enough rows of today go to quarantine."""
    while True:
        acting = [d for d in drafts if d.bad is not None and not d.warning and "mostly" not in d.kwargs]
        away = np.zeros(rows, dtype=bool)
        for one in acting:
            away |= one.bad
        free = [one for one in acting if not one.fixed and one.bad is not None and one.bad.any()]
        if away.mean() <= MOST_AWAY or not free:
            return
        worst = max(free, key=lambda one: int(one.bad.sum()) if one.bad is not None else 0)
        worst.warning = True
        worst.doubt = worst.doubt or "more rows break it than quarantine should take"


def _written_nulls(column: Column) -> Mask:
    return casting.nulls(column.values) & ~column.bad


def _nothing(column: Column) -> Mask:
    return np.zeros(column.rows, dtype=bool)


def _round(value: float) -> float | int:
    """To three digits, whole where it is."""
    short = float(f"{value:.3g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short
