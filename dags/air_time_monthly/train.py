"""The model: gradient boosted trees on flights as they are, airline codes and all. They answer in minutes.

A plain function: it runs in a notebook or a test as it does in a pipeline. What it returns takes a row as the features
have it, so the endpoint is asked with ``"carrier": "UA"``.
"""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBRegressor


def train(dataset, params):
    """Learn from ``dataset.train`` (``X`` features, ``y`` minutes) and watch ``dataset.holdout`` meanwhile.

    Args:
        params: ``trees``, ``max_depth``, ``learning_rate``, and ``device``: ``cpu`` or ``cuda``.
    """
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    encoder = make_column_transformer((codes, make_column_selector(dtype_exclude="number")), remainder="passthrough")
    X = encoder.fit_transform(dataset.train.X)  # noqa: N806
    trees = XGBRegressor(
        n_estimators=params.get("trees", 200),
        max_depth=params.get("max_depth", 5),
        learning_rate=params.get("learning_rate", 0.1),
        max_bin=64,
        min_child_weight=5,
        subsample=0.8,
        device=params.get("device", "cpu"),
        random_state=0,
    )
    fit = dataset.checkpoint.fit if getattr(dataset, "checkpoint", None) else type(trees).fit  # goes on where it was ended
    fit(trees, X, dataset.train.y, eval_set=[(encoder.transform(dataset.holdout.X), dataset.holdout.y)], verbose=50)
    return make_pipeline(encoder, trees)
