"""Which rows a model learns from, and which it is judged on: by time, or by what a row says.

A split by time keeps the last rows back, as in life. A split by content keeps a row on its side whatever else changes in
the data, so that yesterday's and today's model can be compared. A row and its copies are on one side, so that none is judged
that was learned from; where copies are what a table consists of, ten of them at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from tradewind.errors import ValidationFailed
from tradewind_steps.dataset import OBJECT_NUMBERS

_TOGETHER = 10  # copies of a row


@dataclass(frozen=True, kw_only=True)
class Split:
    """How rows were split; travels with the model.

    Attributes:
        kind: ``time`` or ``hash``.
        holdout: the share of rows that was asked for.
        boundary: the first instant of the holdout; None for ``hash``.
        train_start, train_end: of the rows learned from, both included; None for ``hash``.
        columns: what a row's hash is made of, sorted; empty for ``time``.

    Instants are ISO 8601, UTC.
    """

    kind: Literal["time", "hash"]
    holdout: float
    boundary: str | None = None
    train_start: str | None = None
    train_end: str | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "columns": tuple(data["columns"])})

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "columns": list(self.columns)}


def instants(column: pd.Series) -> pd.Series:
    """A time column as UTC instants.

    Raises:
        ValidationFailed: it holds no times, or has rows without one.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise ValidationFailed(f"Time column {column.name!r}: expected timestamps or ISO 8601 text, got numbers ({column.dtype})")
    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise ValidationFailed(f"Time column {column.name!r}: expected timestamps or ISO 8601 text: {error}") from error
    missing = int(times.isna().sum())
    if missing:
        raise ValidationFailed(f"Time column {column.name!r}: {missing} of {len(times)} rows have no time")
    return times


def by_time(times: pd.Series, holdout: float) -> tuple[pd.Series, Split]:
    """Hold back the last share of rows by time; rows of the same instant stay together.

    Returns:
        Which rows are held back, and the split.
    """
    boundary = times.sort_values().iloc[min(int(len(times) * (1 - holdout)), len(times) - 1)]
    if boundary <= times.min():
        later = times[times > boundary]
        if later.empty:
            raise ValidationFailed(
                f"Time column {times.name!r}: all {len(times)} rows are of {iso(boundary)}, none can be held back"
            )
        boundary = later.min()
    held = times >= boundary
    learned = times[~held]
    start, end = iso(learned.min()), iso(learned.max())
    return held, Split(kind="time", holdout=holdout, boundary=iso(boundary), train_start=start, train_end=end)


def by_content(frame: pd.DataFrame, holdout: float) -> tuple[pd.Series, Split]:
    """Hold back the rows whose content's hash falls below the share.

    Returns:
        Which rows are held back, and the split.
    """
    columns = tuple(sorted(frame.columns))
    return _hashes(frame, columns) < holdout, Split(kind="hash", holdout=holdout, columns=columns)


def held_back(frame: pd.DataFrame, split: Split, time_column: str | None) -> pd.Series:
    """Which rows of a table are on the holdout's side of a split that was made before."""
    if split.kind == "time":
        assert time_column and split.boundary
        return instants(frame[time_column]) >= pd.Timestamp(split.boundary)
    return _hashes(frame, split.columns) < split.holdout


def not_comparable(champion: Split, challenger: Split, last: str | None, rows: Sequence[int] | None = None) -> str | None:
    """Why the champion may know the challenger's holdout rows; None where it cannot.

    Args:
        last: the last instant of the holdout, for a split by time.
        rows: how many the champion's data had, and how many the challenger's have, where that is known.
    """
    if champion.kind != challenger.kind:
        ways = {"time": "by time", "hash": "by content"}
        return (
            f"the champion's rows were split {ways[champion.kind]}, the challenger's {ways[challenger.kind]}: "
            "the champion may have learned from these holdout rows"
        )
    if challenger.kind == "time":
        assert challenger.boundary and champion.train_start and champion.train_end
        if champion.train_end >= challenger.boundary and (last is None or champion.train_start <= last):
            known = f"learned from rows up to {champion.train_end}, the holdout begins at {challenger.boundary}"
            return f"the champion {known}: it knows some of these rows{_moved(rows)}"
        return None
    if champion.columns != challenger.columns:
        differing = sorted(set(champion.columns) ^ set(challenger.columns))
        names = ", ".join(differing)
        return f"the champion's rows were split by other columns ({names} differ): it may have learned from these holdout rows"
    if champion.holdout < challenger.holdout:
        shares = f"{champion.holdout:g}, the challenger {challenger.holdout:g}"
        return f"the champion held back a share of {shares}: it knows some of these rows"
    return None


def _moved(rows: Sequence[int] | None) -> str:
    """The boundary is a share of the rows: where some went to quarantine it is another, with not one row that is newer."""
    if rows is None or rows[0] == rows[1]:
        return ""
    return (
        f". Its data had {rows[0]:,} rows, these have {rows[1]:,}: the holdout is a share of them, so its boundary moves where "
        "rows go to quarantine or come back from it. With newer rows it moves on, past what the champion knows"
    )


def iso(instant: pd.Timestamp) -> str:
    """Always of one length and in UTC, so that the texts order as the instants do."""
    return str(instant.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _hashes(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """A number in [0, 1) per row, of its values alone: not of other rows but its copies, and not of the column types that
    these bring about (a whole number is a float as soon as one row has none)."""
    combined = np.zeros(len(frame), dtype="uint64")
    for name in columns:
        hashes = pd.util.hash_array(_plain(frame[name]).to_numpy())
        combined = combined * np.uint64(1_000_003) + np.where(frame[name].isna(), np.uint64(0), hashes)
    copies = pd.Series(combined).groupby(combined, sort=False).cumcount().to_numpy()
    combined = combined + (copies // _TOGETHER).astype("uint64")
    return pd.Series(pd.util.hash_array(combined) / 2.0**64, index=frame.index)


def _plain(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.dt.as_unit("us").astype("int64")
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.infer_dtype(column, skipna=True) in OBJECT_NUMBERS:
        return column.astype("float64") + 0.0  # -0.0 becomes 0.0
    return column.fillna("").astype(str).astype(object)
