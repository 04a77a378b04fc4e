"""The model: gradient boosted trees on a table as it is. They see a text by its words, a category with many values by what
the label is on average where it has this value.

A plain function: it runs in a notebook or a test as it does in a pipeline. What it returns takes a row as the features
have it.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, TargetEncoder
from xgboost import XGBClassifier, XGBRegressor

FEW = 30  # categories with at most so many values are numbered


def train(dataset, params):
    """Learn from ``dataset.train`` (``X`` features, ``y`` label) and watch ``dataset.holdout`` meanwhile.

    Args:
        params: ``trees``, ``max_depth``, ``learning_rate``, ``words``, and ``device``: ``cpu`` or ``cuda``.
    """
    table = json.loads(Path(__file__).with_name("table.json").read_text(encoding="utf-8"))
    encoder = encoded(dataset, [name for name in table["texts"] if name in dataset.features], params.get("words", 200))
    X = encoder.fit_transform(dataset.train.X, dataset.train.y)  # noqa: N806
    boosted = XGBRegressor if dataset.task == "regression" else XGBClassifier
    trees = boosted(
        n_estimators=params.get("trees", 100),
        max_depth=params.get("max_depth", 4),
        learning_rate=params.get("learning_rate", 0.1),
        max_bin=64,
        min_child_weight=max(1, min(50, len(X) // 2000)),
        subsample=0.8,
        colsample_bytree=0.8,
        device=params.get("device", "cpu"),
        random_state=0,
    )
    fit = dataset.checkpoint.fit if getattr(dataset, "checkpoint", None) else type(trees).fit  # goes on where it was ended
    fit(trees, X, dataset.train.y, eval_set=[(encoder.transform(dataset.holdout.X), dataset.holdout.y)], verbose=50)
    return make_pipeline(encoder, trees)


def encoded(dataset, texts, words):
    """What makes numbers of the columns; numbers pass as they are, missing ones too."""
    X = dataset.train.X  # noqa: N806
    others = [name for name in X.columns if X[name].dtype != "float64" and name not in texts]
    few = [name for name in others if X[name].nunique() <= FEW]
    many = [name for name in others if name not in few]
    numbers = [name for name in X.columns if name not in (*texts, *others)]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    means = TargetEncoder(target_type="continuous" if dataset.task == "regression" else dataset.task, random_state=0)
    steps = [("numbers", "passthrough", numbers), ("few", codes, few), ("many", make_pipeline(filled(), means), many)]
    for place, name in enumerate(texts):
        steps.append((f"text{place}", make_pipeline(filled(), words_of(words)), name))
    return ColumnTransformer(steps, sparse_threshold=0)


def words_of(most):
    return TfidfVectorizer(max_features=most, sublinear_tf=True, token_pattern=r"\w+", dtype=np.float32)  # noqa: S106


def filled():
    return FunctionTransformer(without_missing, feature_names_out="one-to-one")


def without_missing(column):
    return column.fillna("")
