"""What answers: flights as their clients know them go in; whether to warn, and how likely the flight is late, come out.

A class in the form of Seldon's Python wrapper. It runs where the model is trained and judged as it does where it serves, so
the gate measures what clients get; it needs NumPy and XGBoost, and nothing of Seldon's.
"""

import json
from datetime import date
from pathlib import Path

import numpy as np
import xgboost

WORDS = ["carrier", "origin", "dest"]
FIGURES = ["distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]
FEATURES = [*WORDS, *FIGURES, "hour", "minute", "arrival_hour", "month", "weekday"]


class BadRow(ValueError):
    """A client's mistake: it is told so, and it counts as no error of this version."""

    status_code = 400


class Warnings:
    """Warns of a flight where that costs less than what it saves: the chance to be late times the cost of being so.

    Args:
        model_uri: the folder with the files that ``train`` returned.
    """

    def __init__(self, model_uri):
        self.folder = Path(model_uri)
        self.asked = self.warned = self.unknown = 0
        self.saved = 0.0

    def load(self):
        self.trees = xgboost.Booster(model_file=self.folder / "trees.ubj")
        self.words = json.loads((self.folder / "words.json").read_text())
        self.costs = json.loads((self.folder / "costs.json").read_text())

    def transform_input(self, X, names, meta=None):  # noqa: N803
        """Rows as the table has them, texts and all, to the numbers that the trees know."""
        found = encode(dict(zip(names, np.asarray(X, dtype=object).T, strict=True)), self.words)
        self.unknown = int(np.isnan(found[:, : len(WORDS)]).any(axis=1).sum())
        return found

    def feature_names(self):
        return FEATURES

    def predict(self, X, names, meta=None):  # noqa: N803
        """Of each flight, whether to warn (1 or 0) and the probability that it is late. The last column is the one that the
        gate's metrics are about; of the two the larger says whether to warn, which is what a replay counts."""
        late = self.trees.inplace_predict(np.asarray(X, dtype="float32")).astype("float64")
        saving = late * self.costs["late"] - self.costs["warning"]
        warn = saving > 0
        self.asked, self.warned, self.saved = len(late), int(warn.sum()), float(saving[warn].sum())
        return np.column_stack([warn, late])

    def class_names(self):
        return ["warn", "late"]

    def tags(self):
        """With each answer."""
        return {"warned": self.warned, "warn_from": round(self.costs["warning"] / self.costs["late"], 4)}

    def metrics(self):
        """For Prometheus, after each request."""
        return [
            {"type": "COUNTER", "key": "flights_asked", "value": self.asked},
            {"type": "COUNTER", "key": "flights_warned", "value": self.warned},
            {"type": "COUNTER", "key": "flights_unknown", "value": self.unknown},
            {"type": "COUNTER", "key": "expected_saving", "value": self.saved},
        ]


def encode(columns, words):
    """The features of some rows, of shape (rows, features); what is missing or was never seen is NaN.

    Args:
        columns: by name, an array or a list of the rows' values.
        words: by column, the texts in the order of their codes.
    """
    leaves, arrives = figures(columns["sched_dep_time"]), figures(columns["sched_arr_time"])
    days = [day(text) for text in columns["date"]]
    return np.column_stack(
        [
            *(codes(columns[name], words[name]) for name in WORDS),
            *(figures(columns[name]) for name in FIGURES),
            leaves // 100,  # by the clock: 517 is 5:17
            leaves % 100,
            arrives // 100,
            [d.month if d else np.nan for d in days],
            [d.weekday() if d else np.nan for d in days],
        ]
    )


def codes(values, words):
    known = {word: float(code) for code, word in enumerate(words)}
    return np.array([known.get(value, np.nan) for value in values])


def figures(values):
    try:
        return np.asarray(values, dtype="float64")
    except (TypeError, ValueError) as error:
        raise BadRow(f"expected numbers: {error}") from error


def day(text):
    if not isinstance(text, str):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadRow(f"date: expected one such as 2013-12-01, got {text!r}") from error
