"""A predictor as MLflow loads it: for the train and the evaluate step, which ask it what clients will be answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.errors import SpecError
from tradewind_steps.predictor.bundle import NUMBER, Predictor, table

_ROWS = 10_000  # at a time: a request has few, and what the author's code makes of rows may be large


class Answering:
    """What MLflow calls the model."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, frame: pd.DataFrame, params: Any = None) -> np.ndarray:
        return answers(self._predictor, frame)


def answers(predictor: Predictor, frame: pd.DataFrame) -> np.ndarray:
    """What it answers to rows, as an array of numbers."""
    inputs = predictor.statement.inputs
    parts = []
    for first in range(0, len(frame), _ROWS):
        some = frame.iloc[first : first + _ROWS]
        columns = {name: some[name].tolist() if kind == NUMBER else _texts(some[name]) for name, kind in inputs.items()}
        parts.append(_numbers(predictor, predictor.predict(table(columns, inputs), list(inputs), {})))
    return np.concatenate(parts)


def _numbers(predictor: Predictor, answer: Any) -> np.ndarray:
    expected = f"Predictor {predictor.statement.entry_point!r}: expected numbers"
    try:
        found = np.asarray(answer)
    except ValueError as error:
        raise SpecError(f"{expected}, got rows of different lengths: {error}") from error
    if not found.ndim:
        raise SpecError(f"{expected} for each of the rows, got {type(answer).__name__}")
    try:
        return found.astype("float64")
    except (TypeError, ValueError) as error:
        what = "text" if found.dtype.kind in "US" else str(found.dtype)
        raise SpecError(f"{expected}, got an array of {what}") from error


def _texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in column.tolist()]


def _load_pyfunc(path: str) -> Answering:
    return Answering(Predictor(Path(path)))
