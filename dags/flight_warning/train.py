"""The model: gradient boosted trees on what the predictor makes of a flight, and the costs that decide on a warning.

A plain function: it runs in a notebook or a test as it does in a pipeline. It returns files, which the predictor loads: where
that serves there is another NumPy, so no pickle would do.
"""

import json

from predictor import FEATURES, WORDS, encode
from xgboost import XGBClassifier


def train(dataset, params):
    """Learn from ``dataset.train`` (``X`` flights, ``y`` late or not) and watch ``dataset.holdout`` meanwhile.

    Args:
        params: ``trees``, ``max_depth``, ``late_cost``, ``warning_cost``, and ``device``: ``cpu`` or ``cuda``.
    """
    words = {name: sorted(dataset.train.X[name].dropna().unique()) for name in WORDS}
    trees = XGBClassifier(
        n_estimators=params.get("trees", 100),
        max_depth=params.get("max_depth", 6),
        learning_rate=0.1,
        max_bin=64,
        min_child_weight=50,
        colsample_bytree=0.5,
        eval_metric=["logloss", "auc"],
        device=params.get("device", "cpu"),
        random_state=0,
    )
    fit = dataset.checkpoint.fit if getattr(dataset, "checkpoint", None) else type(trees).fit  # goes on where it was ended
    held = [(encode(dataset.holdout.X, words), dataset.holdout.y)]
    fit(trees, encode(dataset.train.X, words), dataset.train.y, eval_set=held, verbose=50)
    importance = dict(zip(FEATURES, trees.feature_importances_.tolist(), strict=True))
    print("Most important:", ", ".join(sorted(importance, key=importance.get, reverse=True)[:5]))
    return {
        "trees.ubj": bytes(trees.get_booster().save_raw("ubj")),
        "words.json": json.dumps(words),
        "costs.json": json.dumps({"late": params.get("late_cost", 60.0), "warning": params.get("warning_cost", 15.0)}),
    }
