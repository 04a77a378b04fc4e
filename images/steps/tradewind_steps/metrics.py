"""The metrics of each task; their names are those that rules may use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tradewind.rules import METRICS

Metrics = dict[str, float | None]
MAIN = {"binary": "auc", "multiclass": "macro_f1", "regression": "rmse"}


def measure(task: str, y: np.ndarray, scores: np.ndarray) -> Metrics:
    """The metrics in `tradewind.rules.METRICS` of one task; None for one that these rows do not define, as the area under
    the curve of rows of one class.

    Args:
        y: the label as the model learns it.
        scores: as `tradewind_steps.flavors.score` gives them.
    """
    if not len(y):
        return dict.fromkeys(METRICS[task])
    found = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[task](y, scores)
    return {name: float(found[name]) if np.isfinite(found.get(name, np.nan)) else None for name in METRICS[task]}


def _binary(y: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    from sklearn import metrics

    late = p >= 0.5
    hits, alarms, positives = int((late & (y == 1)).sum()), int(late.sum()), int((y == 1).sum())
    found: dict[str, Any] = {
        "logloss": _logloss(y, np.column_stack([1 - p, p])),
        "brier": np.mean((p - y) ** 2),
        "accuracy": np.mean(late == (y == 1)),
        "precision": hits / alarms if alarms else np.nan,
        "recall": hits / positives if positives else np.nan,
        "f1": 2 * hits / (alarms + positives) if alarms + positives else np.nan,
    }
    if 0 < positives < len(y):
        found["auc"] = metrics.roc_auc_score(y, p)
        found["average_precision"] = metrics.average_precision_score(y, p)
    return found


def _multiclass(y: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    predicted = p.argmax(axis=1)
    recalls, f1 = [], []
    for kind in np.unique(np.concatenate([y, predicted])):
        hits, there, named = ((y == kind) & (predicted == kind)).sum(), (y == kind).sum(), (predicted == kind).sum()
        f1.append(2 * hits / (there + named))
        if there:
            recalls.append(hits / there)
    return {
        "accuracy": np.mean(predicted == y),
        "balanced_accuracy": np.mean(recalls),
        "macro_f1": np.mean(f1),
        "logloss": _logloss(y, p),
    }


def _regression(y: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    error = y - predicted
    spread = np.sum((y - y.mean()) ** 2)
    return {
        "rmse": np.sqrt(np.mean(error**2)), "mae": np.mean(np.abs(error)), "median_ae": np.median(np.abs(error)),
        "r2": 1 - np.sum(error**2) / spread if spread else np.nan,
    }  # fmt: skip


def _logloss(y: np.ndarray, p: np.ndarray) -> float:
    chosen = p[np.arange(len(y)), y.astype(int)]
    return float(-np.log(np.clip(chosen, 1e-15, 1)).mean())


def importances(task: str, predict: Any, features: pd.DataFrame, y: np.ndarray) -> pd.Series:
    """How much worse the model is with one feature's values shuffled among the rows: the rise of its loss (logloss, or root
    mean squared error), by feature, largest first. Works for any model and in the user's own columns."""
    generator = np.random.default_rng(0)
    tables = [features]
    for name in features.columns:
        shuffled = features.copy(deep=False)
        shuffled[name] = features[name].iloc[generator.permutation(len(features))].to_numpy()
        tables.append(shuffled)
    # One call: what a pipeline does besides predicting takes longer than a thousand rows do.
    scores = np.split(predict(pd.concat(tables, ignore_index=True)), len(tables))
    base, *losses = (_loss(task, y, part) for part in scores)
    return pd.Series({name: loss - base for name, loss in zip(features.columns, losses, strict=True)}).sort_values(
        ascending=False
    )


def _loss(task: str, y: np.ndarray, scores: np.ndarray) -> float:
    if task == "regression":
        return float(np.sqrt(np.mean((y - scores) ** 2)))
    return _logloss(y, np.column_stack([1 - scores, scores]) if task == "binary" else scores)
