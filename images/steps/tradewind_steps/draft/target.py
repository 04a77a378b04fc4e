"""What is to be predicted: which kind of task it is, which classes can be learned, and what makes it impossible."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tradewind.errors import ValidationFailed
from tradewind_steps import split
from tradewind_steps.dataset import plain, recognise_task
from tradewind_steps.draft.kinds import Column

FEWEST_OF_A_CLASS = 10  # rows; a class with less may be on one side of the split only
_FEWEST_ROWS = 50
_MOST_CLASSES = 100
_MOST_CODES = 20  # whole numbers with more values are amounts, as the train step sees it
_SMALL = 2000  # rows below which the holdout is larger
_FEWEST_TIMES = 10


@dataclass(frozen=True, kw_only=True)
class Target:
    """The column to predict.

    Attributes:
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: those with enough rows to learn, sorted; empty in a regression.
        rare: the others, with their rows.
        usable: which rows can be learned from.
        numbers: the target as numbers, positions in ``classes`` in a classification; NaN where it is not usable.
        holdout: the share of rows to hold back.
    """

    column: Column
    task: str
    classes: list[Any]
    rare: dict[str, int]
    usable: np.ndarray[Any, np.dtype[np.bool_]]
    numbers: np.ndarray[Any, np.dtype[np.float64]]
    holdout: float

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def rows(self) -> int:
        return int(self.usable.sum())


def read_target(columns: Sequence[Column], name: str) -> Target:
    """The target among the columns.

    Raises:
        ValidationFailed: it is not there, or no model can learn it; says what would help.
    """
    column = _find(columns, name)
    series = pd.Series(column.numbers(), name=name) if column.loose else column.values.to_pandas().rename(name)
    present = series.notna().to_numpy()
    if present.sum() < _FEWEST_ROWS:
        raise ValidationFailed(f"Target {name!r}: expected at least {_FEWEST_ROWS} rows that have one, got {int(present.sum())}")
    if column.kind in ("int", "float") and series.nunique() <= _MOST_CODES and bool((series[present] % 1 == 0).all()):
        series = series.astype("Int64")  # also where they are written as 1.0
    task = recognise_task(series[present])
    holdout = 0.2 if present.sum() >= _SMALL else 0.3
    if task != "regression":
        return _classes(column, series, int(present.sum()), holdout)
    numbers = series.to_numpy(dtype="float64", na_value=np.nan)
    return Target(
        column=column, task=task, classes=[], rare={}, usable=np.isfinite(numbers), numbers=numbers, holdout=holdout
    )  # fmt: skip


def _find(columns: Sequence[Column], name: str) -> Column:
    by_name = {column.name: column for column in columns}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, 1) or [other for other in by_name if other.lower() == name.lower()]
        raise ValidationFailed(
            f"Target {name!r}: there is no such column; there are {', '.join(map(repr, by_name))}"
            + (f" (may it be {near[0]!r}?)" if near and len(by_name) > 1 else "")
            + ("; are the columns separated by something other than a comma?" if len(by_name) == 1 else "")
        )
    column = by_name[name]
    if column.kind in (None, "time"):
        what = "holds times" if column.kind else "is empty" if column.nulls == column.rows else f"is {column.values.type}"
        raise ValidationFailed(
            f"Target {name!r} {what}: expected numbers, text or true and false, of which a model can learn one"
        )
    return column


def _classes(column: Column, series: pd.Series, present: int, holdout: float) -> Target:
    counts = series.value_counts()
    if len(counts) > _MOST_CLASSES:
        shown = ", ".join(repr(str(value)) for value in counts.index[:3])
        raise ValidationFailed(
            f"Target {column.name!r} is text with {len(counts):,} different values in {present:,} rows ({shown}, ...): "
            f"expected numbers, or at most {_MOST_CLASSES} classes; if these are amounts, write them as plain numbers"
        )
    kept = sorted(counts.index[counts >= FEWEST_OF_A_CLASS])
    if len(kept) < 2:
        rarest = ", ".join(f"{value!r} has {count}" for value, count in counts.tail(3).items())
        raise ValidationFailed(
            f"Target {column.name!r}: expected at least two classes of {FEWEST_OF_A_CLASS} rows each, got {len(kept)} ({rarest})"
        )
    codes = series.map({value: position for position, value in enumerate(kept)}).to_numpy(dtype="float64", na_value=np.nan)
    return Target(
        column=column,
        task="binary" if len(kept) == 2 else "multiclass",
        classes=[plain(value) for value in kept],
        rare={str(value): int(count) for value, count in counts[counts < FEWEST_OF_A_CLASS].items()},
        usable=~np.isnan(codes),
        numbers=codes,
        holdout=holdout,
    )


def cannot_split(target: Target, times: Column) -> str | None:
    """Why the last rows by that time would make no holdout; None where they would."""
    if times.loose:
        return "its dates are written in several ways (written in one, the last rows could be held back)"
    if times.nulls + int(times.bad.sum()) > 0.005 * times.rows:
        return "some rows have none"
    series = times.values.to_pandas()[target.usable].dropna()
    if series.nunique() < _FEWEST_TIMES:
        return f"it has {series.nunique()} different values only"
    held, _ = split.by_time(series, target.holdout)
    numbers = pd.Series(target.numbers)[series.index]
    learned, judged = set(numbers[~held]), set(numbers[held])
    if not 0.5 * target.holdout <= held.mean() <= 2 * target.holdout:
        return f"too many rows are of one instant: the last {held.mean():.0%} of the rows would be held back"
    if target.task != "regression":
        if judged - learned:
            return f"{len(judged - learned)} of the classes come at the end only"
        if len(judged) < 2:
            return "its last rows are all of one class"
    return None


def rules(target: Target, *, by_time: bool) -> list[str]:
    """A gate to begin with: better than no model, and no worse than what serves by more than chance explains.

    Args:
        by_time: the last rows are held back: their mean is none that anybody could have known, and is no measure.
    """
    held = max(target.rows * target.holdout, 1)
    margin = round(min(0.1, max(0.005, 0.5 / math.sqrt(held))), 3)
    if target.task == "binary":
        return ["auc >= 0.5", f"auc >= champion - {margin}"]
    if target.task == "multiclass":
        chance = math.floor(1000 / len(target.classes)) / 1000
        return [f"balanced_accuracy >= {chance}", f"balanced_accuracy >= champion - {margin}"]
    spread = float(np.nanstd(target.numbers))
    better = f"rmse <= {rounded_up(spread)}" if by_time else "r2 >= 0"
    return [better, f"rmse <= champion + {rounded_up(spread * margin)}"]


def rounded_up(value: float) -> str:
    """To three digits, as a rule has numbers."""
    if not value:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return f"{float(f'{math.ceil(value / step) * step:.6g}'):g}"
