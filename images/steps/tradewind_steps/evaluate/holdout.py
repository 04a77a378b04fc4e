"""The rows that a model was not shown, taken from the table as they were in its training, and models measured on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.errors import SpecError, ValidationFailed
from tradewind_steps import split as splits
from tradewind_steps.dataset import encode, features_of, need_columns, read_table
from tradewind_steps.flavors import score
from tradewind_steps.gate import Measured
from tradewind_steps.metrics import measure
from tradewind_steps.replay.compare import Answers, compare
from tradewind_steps.step import Step
from tradewind_steps.train import CARD
from tradewind_steps.train.prepare import until

_MOST_SLICES = 100  # per column, the largest
_MOST_VALUES = 20  # a number with more distinct values than this is cut into quarters
MISSING = "(missing)"


def read_card(step: Step, name: str) -> dict[str, Any]:
    """What the train step wrote down beside a model.

    Raises:
        SpecError: the input is no model of a train step.
    """
    path = step.input_path(name) / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SpecError(f"{name}: expected a model that a train step made; there is no {path}") from error
    return card


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows, and by column the slice that each is in."""

    frame: pd.DataFrame
    slices: dict[str, list[str]]

    def batches(self, features: list[str], size: int) -> Iterator[pd.DataFrame]:
        """The rows' features, ``size`` rows at a time."""
        table = features_of(self.frame, features)
        for first in range(0, len(table), size):
            yield table.iloc[first : first + size]


class Holdout:
    """The challenger's holdout rows.

    Args:
        card: the challenger's.
        columns: to slice by.

    Raises:
        ValidationFailed: the dataset lacks the label, the time, a feature or a column to slice by.
    """

    def __init__(self, step: Step, card: dict[str, Any], columns: list[str]) -> None:
        self.task: str = card["task"]
        self.split = splits.Split.from_dict(card["split"])
        self.classes: list[Any] = card["classes"]
        time_column, label = card["time_column"], card["label"]
        frame = read_table(step.input_path("dataset"))
        need_columns(frame, [label, *([time_column] if time_column else []), *card["features"]], "The challenger needs")
        need_columns(frame, columns, "slices")
        need_columns(frame, self.split.columns, "The split by content needs")
        times = None
        if time_column:
            frame, times = until(frame, time_column, step.spec.as_of)
        held = splits.held_back(frame, self.split, time_column)
        self.end = splits.iso(times.max()) if times is not None else None
        self.start = self.split.boundary
        self.frame = frame[held]
        missing = int(self.frame[label].isna().sum())
        if missing:
            raise ValidationFailed(f"Label {label!r}: {missing} of {len(self.frame)} holdout rows have none")
        self.y = encode(self.frame[label], self.task, self.classes, "evaluated").to_numpy()
        self._groups = {column: groups(self.frame[column]) for column in columns}

    def cannot_measure(self, champion: dict[str, Any], challenger: dict[str, Any]) -> str | None:
        """Why a champion cannot be measured on these rows at all; None where it can. Takes both models' cards."""
        for what in ("label", "task", "classes"):
            if champion[what] != challenger[what]:
                return (
                    f"the champion's {what} is {champion[what]!r}, the challenger's {challenger[what]!r}: they cannot be compared"
                )
        missing = [name for name in champion["features"] if name not in self.frame]
        if missing:
            return f"the champion needs {', '.join(map(repr, missing))}, which the dataset has not: it cannot be measured"
        return None

    def measure(self, folder: Path, features: list[str]) -> tuple[Measured, np.ndarray]:
        """A saved model's metrics on all rows and on each slice, and its scores."""
        import mlflow.pyfunc

        if not len(self.frame):
            return Measured(rows=0, metrics=measure(self.task, self.y, self.y), slices={}), self.y
        model = mlflow.pyfunc.load_model(str(folder))
        scores = score(model.predict(features_of(self.frame, features)), self.task)
        slices = {
            column: {value: self._measured(scores, np.flatnonzero(of_row == value)) for value in values}
            for column, (of_row, values) in self._groups.items()
        }
        return Measured(rows=len(self.y), metrics=measure(self.task, self.y, scores), slices=slices), scores

    def compare(self, champion: np.ndarray, challenger: np.ndarray) -> Measured:
        """How far two models' scores of all these rows are apart: what a replay says of answers, less errors and time."""
        # By its place among the kept slices, all others being one: a column may have a value in every row.
        of_rows = {
            column: pd.Index(values).get_indexer(pd.Index(of_row)).astype(str).tolist()
            for column, (of_row, values) in self._groups.items()
        }
        beside = compare(_answers(champion), _answers(challenger), self.task, of_rows)
        slices = {
            column: {value: _apart(beside.slices[column][str(place)]) for place, value in enumerate(values)}
            for column, (_, values) in self._groups.items()
        }
        return Measured(rows=beside.rows, metrics=_apart(beside).metrics, slices=slices)

    def spread(self, most: int) -> Rows:
        """At most so many of the rows, from first to last."""
        chosen = np.unique(np.linspace(0, len(self.frame) - 1, min(most, len(self.frame))).astype(int))
        slices = {column: of_row[chosen].tolist() for column, (of_row, _) in self._groups.items()}
        return Rows(frame=self.frame.iloc[chosen], slices=slices)

    def _measured(self, scores: np.ndarray, rows: np.ndarray) -> Measured:
        return Measured(rows=len(rows), metrics=measure(self.task, self.y[rows], scores[rows]))


def _answers(scores: np.ndarray) -> Answers:
    table = scores.reshape(len(scores), -1)
    return Answers(scores=table, failed=np.isnan(table).all(axis=1), ms=np.empty(0))


def _apart(measured: Measured) -> Measured:
    kept = {name: value for name, value in measured.metrics.items() if name not in ("errors", "latency_ratio")}
    return Measured(rows=measured.rows, metrics=kept)


def groups(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The slice of each row as text, and the slices, largest first: one a value, or quarters of a number's range."""
    missing = column.isna()
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        if column.nunique() > _MOST_VALUES:
            texts = pd.qcut(column, 4, duplicates="drop").astype(str)
        else:
            texts = column.map(lambda value: f"{value:g}", na_action="ignore").astype(object)
    else:
        texts = column.astype(str)
    texts = texts.astype(object).where(~missing, MISSING)
    return texts.to_numpy(), texts.value_counts().index[:_MOST_SLICES].tolist()
