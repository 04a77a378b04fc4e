"""A column as it is written -> what it holds, and the cells that are written otherwise.

Nearly all cells must agree before a column is called more than text: a type is a rule whose breach costs a row. Where
some more disagree it is *loose*: numbers with a currency sign or a mark for missing among them, dates in several formats.
No rule asks for the type then; the features take what can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tradewind_steps.validate import casting
from tradewind_steps.validate.casting import Mask, TypeKind

STRICT = 0.005  # the largest share of odd cells in a column that has a type
LOOSE = 0.1  # ... and in one that is read as far as it can be
CODE = r"^[+-]?0\d"  # a leading zero: a code, whose digits are no amount
DECORATED = r"^[-+(]?\s*[$€£¥]?\s*[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?\s*[$€£¥%]?\)?$"

# strftime for a suite and pandas, with the same for Spark. The first that fits is taken; of two that fit the other is named.
FORMATS: dict[str, str] = {
    "%Y-%m-%d": "yyyy-MM-dd",
    "%Y-%m-%dT%H:%M:%SZ": "yyyy-MM-dd'T'HH:mm:ss'Z'",
    "%Y-%m-%dT%H:%M:%S": "yyyy-MM-dd'T'HH:mm:ss",
    "%Y-%m-%d %H:%M:%S": "yyyy-MM-dd HH:mm:ss",
    "%Y-%m-%d %H:%M": "yyyy-MM-dd HH:mm",
    "%Y/%m/%d": "yyyy/M/d",
    "%m/%d/%Y": "M/d/yyyy",
    "%d/%m/%Y": "d/M/yyyy",
    "%m/%d/%Y %H:%M": "M/d/yyyy H:mm",
    "%d/%m/%Y %H:%M": "d/M/yyyy H:mm",
    "%m/%d/%Y %H:%M:%S": "M/d/yyyy H:mm:ss",
    "%d/%m/%Y %H:%M:%S": "d/M/yyyy H:mm:ss",
    "%m/%d/%y": "M/d/yy",
    "%d/%m/%y": "d/M/yy",
    "%d.%m.%Y": "d.M.yyyy",
    "%d.%m.%Y %H:%M": "d.M.yyyy H:mm",
    "%d-%m-%Y": "d-M-yyyy",
    "%d-%b-%Y": "d-MMM-yyyy",
    "%d %b %Y": "d MMM yyyy",
    "%b %d, %Y": "MMM d, yyyy",
    "%b %d %Y": "MMM d yyyy",
    "%d %B %Y": "d MMMM yyyy",
    "%B %d, %Y": "MMMM d, yyyy",
    "%b %Y": "MMM yyyy",
    "%Y-%m": "yyyy-MM",
}
ISO = "ISO8601"
_LOOKS_DATED = r"^\s*(\d{1,4}[-/. ]|[A-Z][a-z]{2,8}\.? \d)"
_SAMPLE = 5000  # distinct values that a format is chosen by


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table.

    Attributes:
        kind: None where it holds nothing that a model could take: empty, nested, binary.
        values: typed, cells that do not read as the kind null; as written where it is loose.
        bad: cells, not null, that do not read as the kind.
        nulls: how many cells are missing as it is written.
        formats: of dates written as text: one of `FORMATS` or `ISO`; several where it is loose.
        other_format: a second one that all dates fit, as 01/02/2013 does.
        loose: no rule may ask for the type.
        typed_source: the file itself has a type for it (Parquet).
    """

    name: str
    kind: TypeKind | None
    values: pa.ChunkedArray
    bad: Mask
    nulls: int
    formats: Sequence[str] = ()
    other_format: str | None = None
    loose: bool = False
    typed_source: bool = False

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def present(self) -> int:
        return self.rows - self.nulls

    def distinct(self) -> pd.Series:
        """How often each value comes, the most frequent first; missing and odd ones are not counted."""
        counts = pc.value_counts(self.values.drop_null().combine_chunks())
        found = pd.Series(counts.field("counts").to_numpy(), index=counts.field("values").to_pylist(), dtype="int64")
        return found.sort_values(ascending=False, kind="stable")

    def numbers(self) -> np.ndarray:
        """The values as 64-bit floats, missing ones NaN."""
        column = (
            loose_numbers(self.values) if casting.is_text(self.values.type) else pc.cast(self.values, pa.float64(), safe=False)
        )
        return np.asarray(column.to_numpy(), dtype="float64")


def recognise(name: str, column: pa.ChunkedArray) -> Column:
    """What a column holds."""
    nulls = column.null_count
    nothing: Mask = np.zeros(len(column), dtype=bool)
    if not casting.is_text(column.type):
        kind = casting.kind_of_arrow(column.type) if nulls < len(column) else None
        values = casting.as_times(column) if kind == "time" else column
        if pa.types.is_decimal(column.type):
            values = pc.cast(column, pa.float64())
        return Column(name=name, kind=kind, values=values, bad=nothing, nulls=nulls, typed_source=True)
    if nulls == len(column):
        return Column(name=name, kind=None, values=column, bad=nothing, nulls=nulls)
    found = _bool(name, column) or _number(name, column) or _time(name, column)
    return found or Column(name=name, kind="text", values=column, bad=nothing, nulls=nulls)


def loose_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers out of text: signs of currency, percent and thousands are taken away; null where no number is left."""
    plain = pc.replace_substring_regex(column, r"[$€£¥%,\s]", "")
    number = pd.to_numeric(plain.to_pandas(), errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    number = np.where(np.isfinite(number), number, np.nan)
    return pa.chunked_array([pa.array(number, mask=np.isnan(number))])


def _bool(name: str, column: pa.ChunkedArray) -> Column | None:
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    if not pc.all(pc.is_in(plain.drop_null(), value_set=pa.array(["true", "false"]))).as_py():
        return None
    done = casting.cast(column, "bool")
    return Column(name=name, kind="bool", values=done.column, bad=done.bad, nulls=column.null_count)


def _number(name: str, column: pa.ChunkedArray) -> Column | None:
    present = len(column) - column.null_count
    done = casting.cast(column, "float")
    odd = int(done.bad.sum())
    if odd > LOOSE * present:
        decorated = pc.sum(pc.match_substring_regex(column, DECORATED)).as_py() or 0
        if decorated < (1 - LOOSE) * present:
            return None
    if pc.any(pc.match_substring_regex(column, CODE)).as_py():
        return None
    if odd > STRICT * present:
        bad = casting.nulls(loose_numbers(column)) & ~casting.nulls(column)
        if bad.sum() > present / 2:
            return None
        return Column(name=name, kind="float", values=column, bad=bad, nulls=column.null_count, loose=True)
    whole = casting.cast(column, "int")
    kind: TypeKind = "float"
    if int(whole.bad.sum()) == odd:
        kind, done = "int", whole
    return Column(name=name, kind=kind, values=done.column, bad=done.bad, nulls=column.null_count)


def _time(name: str, column: pa.ChunkedArray) -> Column | None:
    distinct = pc.unique(column.drop_null())
    if not pc.sum(pc.match_substring_regex(distinct, _LOOKS_DATED)).as_py():
        return None
    some = pa.chunked_array([distinct.take(pa.array(np.linspace(0, len(distinct) - 1, min(_SAMPLE, len(distinct))).astype(int)))])
    fits = {name: 1 - float(_odd(some, name).mean()) for name in [*FORMATS, ISO]}
    best = max(fits, key=lambda name: fits[name])
    if fits[best] >= 1 - LOOSE:
        done = casting.cast(column, "time", None if best == ISO else best)
        if done.bad.sum() <= STRICT * (len(column) - column.null_count):
            others = [other for other in FORMATS if other != best and fits[other] == fits[best]]
            other = next((other for other in others if _swapped(best) == other), None)
            return Column(
                name=name,
                kind="time",
                values=done.column,
                bad=done.bad,
                nulls=column.null_count,
                formats=(best,),
                other_format=other,
            )
    chosen = _cover({candidate: ~_odd(some, candidate) for candidate in FORMATS})
    if not chosen:
        return None
    bad = np.logical_and.reduce([_odd(column, candidate) for candidate in chosen]) & ~casting.nulls(column)
    return Column(name=name, kind="time", values=column, bad=bad, nulls=column.null_count, formats=chosen, loose=True)


def _cover(reads: dict[str, Mask]) -> list[str]:
    """The formats that together read the dates, the one that reads most first; none where too many are left."""
    chosen: list[str] = []
    left = np.ones(len(next(iter(reads.values()))), dtype=bool)
    while left.mean() > STRICT:
        best = max(reads, key=lambda name: int((left & reads[name]).sum()))
        if (left & reads[best]).mean() <= STRICT:
            break
        chosen.append(best)
        left &= ~reads[best]
    return chosen if left.mean() <= LOOSE else []


def _odd(column: pa.ChunkedArray, date_format: str) -> Mask:
    return casting.odd_dates(column, date_format)


def _swapped(date_format: str) -> str:
    """The format with day and month in each other's place."""
    return date_format.translate(str.maketrans("dm", "md"))
