"""The model: gradient boosted trees on flights as they are, airline codes and all. They answer in minutes.

A plain function: it runs in a notebook or a test as it does in a sweep. What it returns takes a row as the features have it.
"""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBRegressor


def train(dataset, params, report=None):
    """Learn from ``dataset.train`` (``X`` features, ``y`` minutes) and watch ``dataset.holdout`` meanwhile.

    Args:
        params: what the sweep tries, ``trees``, and ``device``: ``cpu`` or ``cuda``.
        report: of a sweep that ends poor trials early. XGBoost tells it how each round went; a loop of one's own calls
            ``report(step, value)``.
    """
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    encoder = make_column_transformer((codes, make_column_selector(dtype_exclude="number")), remainder="passthrough")
    X = encoder.fit_transform(dataset.train.X)  # noqa: N806
    trees = XGBRegressor(
        n_estimators=params.get("trees", 200),
        max_depth=params.get("max_depth", 5),
        learning_rate=params.get("learning_rate", 0.1),
        subsample=params.get("subsample", 0.8),
        max_bin=64,
        min_child_weight=5,
        device=params.get("device", "cpu"),
        random_state=0,
        callbacks=[report.xgboost] if report else None,
    )
    trees.fit(X, dataset.train.y, eval_set=[(encoder.transform(dataset.holdout.X), dataset.holdout.y)], verbose=False)
    return make_pipeline(encoder, trees)
