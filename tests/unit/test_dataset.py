from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from tradewind.errors import ValidationFailed
from tradewind_steps import smoke
from tradewind_steps.dataset import class_list, encode, features_of, need_columns, recognise_task


def label(*values: Any) -> pd.Series:
    return pd.Series(values, name="y")


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, 1], "binary"),
        ([0.0, 1.0], "binary"),
        ([True, False], "binary"),
        (["no", "yes"], "binary"),
        ([1, 2, 3], "multiclass"),
        (["a", "b", "c"], "multiclass"),
        (list(range(21)), "regression"),
        ([0.5, 1.5, 2.5], "regression"),
    ],
)
def test_the_task_is_recognised(values: list[Any], task: str) -> None:
    assert recognise_task(label(*values)) == task


@pytest.mark.parametrize(
    ("values", "wanted", "message"),
    [
        ([1, 1], None, "all 2 rows have the value 1"),
        ([1, None, 0], None, "1 of 3 rows have none"),
        (["a", "b"], "regression", "is str, expected numbers"),
        ([1, 2, 3], "binary", "3 distinct values, expected 2"),
        ([0, 1], "ranking", "expected binary, multiclass, regression"),
    ],
)
def test_labels_that_cannot_be_learned(values: list[Any], wanted: str | None, message: str) -> None:
    with pytest.raises(ValidationFailed, match=message):
        recognise_task(label(*values), wanted)


def test_a_task_may_be_told() -> None:
    assert recognise_task(label(1, 2, 3), "regression") == "regression"


def test_classes_are_positions() -> None:
    words = label("on time", "late", "late")
    assert class_list(words) == ["late", "on time"]
    assert encode(words, "binary", ["late", "on time"], "train").tolist() == [1, 0, 0]
    assert encode(label(2, 3), "regression", [], "train").tolist() == [2.0, 3.0]
    with pytest.raises(ValidationFailed, match="'early' in the holdout rows but not among those to learn from"):
        encode(label("early", "late"), "binary", ["late", "on time"], "holdout")
    with pytest.raises(ValidationFailed, match="all 2 holdout rows are of class 'late'"):
        encode(label("late", "late"), "binary", ["late", "on time"], "holdout")


def test_features_are_numbers_or_text() -> None:
    table = pd.DataFrame(
        {
            "whole": [1, 2],
            "gap": pd.array([1, None], dtype="Int32"),
            "yes": [True, False],
            "money": [Decimal("1.5"), None],
            "word": ["a", None],
            "kind": pd.Categorical(["x", "y"]),
            "none": [None, None],
        }
    )
    found = features_of(table, list(table))
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        "whole": "float64", "gap": "float64", "yes": "float64", "money": "float64", "word": "str", "kind": "str", "none": "str",
    }  # fmt: skip
    assert found["money"].tolist()[0] == 1.5
    assert found.isna().sum().to_dict() == {"whole": 0, "gap": 1, "yes": 0, "money": 1, "word": 1, "kind": 0, "none": 2}


@pytest.mark.parametrize("values", [pd.to_datetime(["2013-01-01"]), [{"a": 1}], [[1, 2]], [b"x"]])
def test_other_features_are_refused(values: Any) -> None:
    with pytest.raises(ValidationFailed, match="Feature 'odd' is "):
        features_of(pd.DataFrame({"odd": values}), ["odd"])


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ValidationFailed, match="label: no column 'lat' in the dataset; it has late, hour"):
        need_columns(pd.DataFrame({"late": [1], "hour": [2]}), ["lat"], "label")


def test_smoke_rows_hold_missing_values_of_every_column() -> None:
    table = pd.DataFrame({"n": [1.0] * 500, "rare": [1.0] * 499 + [None], "word": ["a"] * 321 + [None] + ["b"] * 178})
    rows = smoke.choose(features_of(table, list(table)))
    assert len(rows) == 16
    assert rows.isna().sum().to_dict() == {"n": 0, "rare": 1, "word": 1}
    few = smoke.choose(features_of(table[:3], list(table)))
    assert len(few) == 3


def test_a_smoke_request_has_a_tensor_per_column() -> None:
    table = features_of(pd.DataFrame({"n": [1, None], "word": ["ü", None]}), ["n", "word"])
    assert smoke.document(table, [[0.25, 0.75], [0.5, 0.5]]) == {
        "request": {
            "parameters": {"content_type": "pd"},
            "inputs": [
                {"name": "n", "shape": [2, 1], "datatype": "FP64", "data": [1.0, None]},
                {
                    "name": "word",
                    "shape": [2, 1],
                    "datatype": "BYTES",
                    "data": ["ü", None],
                    "parameters": {"content_type": "str"},
                },
            ],
        },
        "outputs": [[0.25, 0.75], [0.5, 0.5]],
        "shape": [2, 2],
    }
