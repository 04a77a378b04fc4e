"""The table that a model learns from: read, checked, split. Training and evaluation see the same rows through this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.errors import ValidationFailed
from tradewind_steps.checkpoint import Checkpoint

# What pandas calls numbers in a column of objects, as booleans are that have missing values among them.
OBJECT_NUMBERS = ("decimal", "integer", "floating", "mixed-integer-float", "boolean")
TASKS = ("binary", "multiclass", "regression")
_MOST_CLASSES = 20  # whole numbers with more distinct values than this are amounts, not classes


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows: ``X`` the features as `features_of` gives them, ``y`` the label."""

    X: pd.DataFrame
    y: pd.Series


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What the user's ``train(dataset, params)`` is given.

    Attributes:
        train, holdout: the rows to learn from, and those that the model must not learn from (to stop early, to watch).
        label: the label's column.
        features: the features' columns, in the order of ``X``.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: what the label's values were, sorted; ``y`` holds positions in it (0, 1, ...). Empty in a regression.
        checkpoint: a folder that outlives this process, for a training that goes on where it was ended. None where the rows
            are only read.
    """

    train: Part
    holdout: Part
    label: str
    features: list[str]
    task: str
    classes: list[Any]
    checkpoint: Checkpoint | None = None


def read_table(path: Path, name: str = "dataset") -> pd.DataFrame:
    """A Parquet file or folder as a table.

    Raises:
        ValidationFailed: it is no Parquet, or has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path).to_pandas().reset_index(drop=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValidationFailed(f"{name}: expected a Parquet file or folder at {path}: {error}") from error
    if frame.empty:
        raise ValidationFailed(f"{name}: no rows in {path}")
    return frame


def need_columns(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raises ValidationFailed, with the columns that there are, where one of ``columns`` is not there."""
    missing = [column for column in columns if column not in frame]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise ValidationFailed(f"{what}: no column {', '.join(map(repr, missing))} in the dataset; it has {there}")


def features_of(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The features as a model sees them, in training and in serving: numbers (64-bit floats, booleans as 0 and 1) and text,
    missing values NaN.

    One type for all numbers: whether a column of whole numbers has missing values today must not change what the next
    model's endpoint, or the champion on tomorrow's rows, takes.

    Raises:
        ValidationFailed: a column is of another type.
    """
    return pd.DataFrame({column: _feature(frame[column]) for column in columns}, index=frame.index)


def _feature(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_numeric_dtype(column.dtype):  # booleans too
        return column.astype("float64")
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("string", "empty"):
        return column.astype("str")
    if kind in OBJECT_NUMBERS:
        return column.astype("float64")
    raise ValidationFailed(
        f"Feature {column.name!r} is {_type_name(column)}, expected numbers, booleans or text: derive one of these from it, "
        "or name it in the train task's exclude"
    )


def _type_name(column: pd.Series) -> str:
    if column.dtype != object:
        return str(column.dtype)
    return str(pd.api.types.infer_dtype(column, skipna=True))


def recognise_task(label: pd.Series, wanted: str | None = None) -> str:
    """The kind of learning task that a label's values ask for.

    Raises:
        ValidationFailed: the label has missing values, one value only, or is text in a regression.
    """
    if wanted is not None and wanted not in TASKS:
        raise ValidationFailed(f"task {wanted!r}: expected {', '.join(TASKS)}")
    missing = int(label.isna().sum())
    if missing:
        raise ValidationFailed(f"Label {label.name!r}: {missing} of {len(label)} rows have none; leave them out of the features")
    distinct = label.nunique()
    if distinct < 2:
        raise ValidationFailed(
            f"Label {label.name!r}: all {len(label)} rows have the value {plain(label.iloc[0])!r}: nothing to learn"
        )
    numeric = pd.api.types.is_numeric_dtype(label.dtype) and not pd.api.types.is_bool_dtype(label.dtype)
    if wanted == "regression" and not numeric:
        raise ValidationFailed(f"Label {label.name!r} is {_type_name(label)}, expected numbers in a regression")
    if wanted == "binary" and distinct > 2:
        raise ValidationFailed(f"Label {label.name!r} has {distinct} distinct values, expected 2 in a binary task")
    if wanted:
        return wanted
    if distinct == 2:
        return "binary"
    if not numeric:
        return "multiclass"
    whole = pd.api.types.is_integer_dtype(label.dtype)
    return "multiclass" if whole and distinct <= _MOST_CLASSES else "regression"


def class_list(label: pd.Series) -> list[Any]:
    """The label's values, sorted, as plain JSON values."""
    return [plain(value) for value in sorted(label.unique())]


def plain(value: Any) -> Any:
    """A value as JSON and messages have it."""
    return value.item() if isinstance(value, np.generic) else value


def encode(label: pd.Series, task: str, classes: Sequence[Any], part: str) -> pd.Series:
    """The label as a model learns it: positions in ``classes``, or numbers.

    Raises:
        ValidationFailed: a class that is not in ``classes``, or, in the holdout, one class only.
    """
    if task == "regression":
        return label.astype("float64")
    codes = label.map({value: position for position, value in enumerate(classes)})
    if codes.isna().any():
        unknown = sorted(repr(plain(value)) for value in label[codes.isna()].unique())
        raise ValidationFailed(f"Label {label.name!r}: {', '.join(unknown)} in the {part} rows but not among those to learn from")
    if part == "holdout" and codes.nunique() < 2:
        raise ValidationFailed(
            f"Label {label.name!r}: all {len(label)} holdout rows are of class {plain(label.iloc[0])!r}; a larger holdout share "
            "or another split is needed to judge a model"
        )
    return codes.astype("int64")
