"""Text -> types, and which cells do not read as what they should be.

Rules about how a cell is written (its type, its date format) are judged here, where it is read: after the cast a bad
cell is gone, and before it Great Expectations either raises or takes seconds per column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TypeKind = Literal["int", "float", "bool", "time", "text"]
Mask = npt.NDArray[np.bool_]

ARROW_TYPES: dict[TypeKind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "text": pa.string(),
}
SAID: dict[TypeKind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "time": "a time",
    "text": "text",
}

_KIND_BY_PREFIX: list[tuple[str, TypeKind]] = [
    ("int", "int"),
    ("uint", "int"),
    ("bigint", "int"),
    ("smallint", "int"),
    ("float", "float"),
    ("double", "float"),
    ("number", "float"),
    ("decimal", "float"),
    ("bool", "bool"),
    ("datetime", "time"),
    ("timestamp", "time"),
    ("date", "time"),
    ("str", "text"),
    ("object", "text"),
    ("varchar", "text"),
    ("text", "text"),
]
_FLOAT_EXACT = 2.0**53
_LONG = r"^[+-]?\d{16,}$"  # digits, as many as 2**53 has: with fewer each whole number is exact as a float


def kind_of_name(name: str) -> TypeKind | None:
    """What a type's name in an expectations file (pandas', NumPy's, SQL's) means here; None where it means nothing."""
    plain = name.lower().removesuffix("type").removesuffix("_")
    return next((kind for prefix, kind in _KIND_BY_PREFIX if plain.startswith(prefix)), None)


def kind_of_arrow(data_type: pa.DataType) -> TypeKind | None:
    """What a Parquet column holds; None where it is none of ours (nested, binary)."""
    if pa.types.is_integer(data_type):
        return "int"
    if pa.types.is_floating(data_type) or pa.types.is_decimal(data_type):
        return "float"
    if pa.types.is_boolean(data_type):
        return "bool"
    if pa.types.is_timestamp(data_type) or pa.types.is_date(data_type):
        return "time"
    return "text" if is_text(data_type) else None


def is_text(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


@dataclass(frozen=True, kw_only=True)
class Cast:
    """A column with its type, and the mask of cells (not null before) that do not read as it; those are null now."""

    column: pa.ChunkedArray
    bad: Mask


def cast(column: pa.ChunkedArray, kind: TypeKind, date_format: str | None = None) -> Cast:
    """Text as ``kind``. Times without an offset are UTC; without a ``date_format`` they are ISO 8601."""
    good = np.zeros(len(column), dtype=bool)
    if kind == "text":
        return Cast(column=column, bad=good)
    if kind == "time":
        return _cast_time(column, date_format)
    try:
        return Cast(column=pc.cast(column, ARROW_TYPES[kind]), bad=good)
    except pa.ArrowInvalid:
        return _cast_bool(column) if kind == "bool" else _cast_number(column, kind)


def infer(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as whole numbers or numbers where every cell is one. A leading zero (``007``) is a code, and so are digits that
    no number here holds exactly: two of them must not become one. They stay text."""
    if column.null_count == len(column) or pc.any(pc.match_substring_regex(column, r"^[+-]?0\d")).as_py():
        return column
    for data_type in (pa.int64(), pa.float64()):
        try:
            found = pc.cast(column, data_type)
        except pa.ArrowInvalid:
            continue
        return column if pa.types.is_floating(data_type) and _rounded(column) else found
    return column


def _rounded(column: pa.ChunkedArray) -> bool:
    """Whether a cell of digits only is another number as a float."""
    long = pc.filter(column, pc.match_substring_regex(column, _LONG))
    return any(math.isinf(number := float(cell)) or int(number) != int(cell) for cell in long.to_pylist())


def as_times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A Parquet column of dates or times as instants; those without a zone are UTC."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return pc.cast(column, ARROW_TYPES["time"], safe=False)
    return pc.assume_timezone(pc.cast(column, pa.timestamp("us"), safe=False), "UTC")


def odd_dates(column: pa.ChunkedArray, date_format: str) -> Mask:
    """Which cells, of those not null, are not written in the format."""
    parsed = pd.to_datetime(column.to_pandas(), format=date_format, utc=True, errors="coerce")
    return np.asarray(parsed.isna()) & ~nulls(column)


def nulls(column: pa.ChunkedArray) -> Mask:
    return np.asarray(column.is_null().combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)


def _cast_time(column: pa.ChunkedArray, date_format: str | None) -> Cast:
    parsed: Any = pd.to_datetime(column.to_pandas(), format=date_format or "ISO8601", utc=True, errors="coerce")
    times = pa.chunked_array([pa.Array.from_pandas(parsed).cast(ARROW_TYPES["time"], safe=False)])
    return Cast(column=times, bad=nulls(times) & ~nulls(column))


def _cast_bool(column: pa.ChunkedArray) -> Cast:
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    known = pc.is_in(plain, value_set=pa.array(["true", "false", "1", "0"]))
    bad = ~_mask(known) & ~nulls(column)
    return Cast(column=pc.cast(pc.if_else(known, plain, pa.scalar(None, pa.string())), pa.bool_()), bad=bad)


def _cast_number(column: pa.ChunkedArray, kind: TypeKind) -> Cast:
    """The slow way, taken where a cell is odd: blanks around it, ``517.0`` for 517, or no number at all."""
    plain = pc.utf8_trim_whitespace(column)
    number = pd.to_numeric(plain.to_pandas(), errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    bad = np.isnan(number) & ~nulls(column)
    if kind == "float":
        return Cast(column=pa.chunked_array([pa.array(number, mask=np.isnan(number))]), bad=bad)
    with np.errstate(invalid="ignore"):
        bad |= ~nulls(column) & ((number % 1 != 0) | (np.abs(number) >= 2.0**63))
        rounded = ~np.isnan(number) & ~bad & (np.abs(number) >= _FLOAT_EXACT)
    left = pc.if_else(pa.array(bad), pa.scalar(None, pa.string()), plain)
    try:
        return Cast(column=pc.cast(left, pa.int64()), bad=bad)
    except pa.ArrowInvalid:
        bad |= rounded  # written as a float and too large to be exact: which number is meant, nobody knows
        empty = bad | nulls(column)
        return Cast(column=pa.chunked_array([pa.array(np.where(empty, 0, number).astype("int64"), mask=empty)]), bad=bad)


def _mask(column: pa.ChunkedArray) -> Mask:
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
