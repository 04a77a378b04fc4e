"""The train step, for real: the template's model in a process of its own, other kinds of models and of mistakes in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learning import FLIGHTS, TEMPLATE, Learning, call, make_tables

from tradewind.contract import StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.store import hash_folder

RunStep = Callable[..., StepManifest]
FOREST = """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import {0}
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
import mlflow
import pandas as pd

def as_text(table):
    return table.astype(str)

def train(dataset, params):
    from sklearn.preprocessing import FunctionTransformer
    text = make_pipeline(FunctionTransformer(as_text, feature_names_out="one-to-one"), OneHotEncoder(handle_unknown="ignore"))
    encoder = make_column_transformer(
        (text, make_column_selector(dtype_exclude="number")), remainder=SimpleImputer()
    )
    mlflow.log_metric("of_the_user", 7)
    dataset.train.X["added"] = 1
    return make_pipeline(encoder, {0}(n_estimators=10, random_state=0, max_depth=6)).fit(
        dataset.train.X.drop(columns="added"), dataset.train.y
    )
"""
BARE = """
from xgboost import XGBClassifier

def train(dataset, params):
    return XGBClassifier(n_estimators=5, max_depth=2).fit(dataset.train.X, dataset.train.y)
"""
BOOSTER = """
import xgboost

def train(dataset, params):
    data = xgboost.DMatrix(dataset.train.X, dataset.train.y)
    return xgboost.train({"objective": "reg:squarederror"}, data, 20)
"""
OWN = """
import mlflow.pyfunc
import numpy as np

class Always(mlflow.pyfunc.PythonModel):
    def __init__(self, p):
        self.p = p

    def predict(self, context, model_input):
        return np.full(len(model_input), self.p)

def train(dataset, params):
    return Always(float(dataset.train.y.mean()))
"""
OTHER_CLASSES = """
from sklearn.tree import DecisionTreeClassifier

def train(dataset, params):
    return DecisionTreeClassifier().fit(dataset.train.X[["hour"]], dataset.train.y + 1)
"""
MLFLOW_GONE = """
import os
import mlflow

def train(dataset, params):
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    {}
"""
NUMBERS_ONLY = {"exclude": ["carrier", "engine"]}
SMALL = {"params": {"trees": 30, "max_depth": 3}}
BY_CONTENT = {"time_column": None, "holdout": 0.25}


def returning(value: str, imports: str = "") -> str:
    return f"{imports}\ndef train(dataset, params):\n    return {value}\n"


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Learning:
    return Learning(make_tables(tmp_path_factory.mktemp("learning"), environments), environments)


@pytest.fixture(scope="module")
def came(learning: Learning) -> dict[str, Any]:
    """All trainings that need no process of their own, and what came of each."""
    learning.train("template", TEMPLATE, "flights", {**FLIGHTS, **SMALL})
    learning.train("words", FOREST.format("RandomForestClassifier"), "words", FLIGHTS)
    learning.train("bare", BARE, "flights", {**FLIGHTS, **NUMBERS_ONLY})
    learning.train("kinds", FOREST.format("RandomForestClassifier"), "kinds", {"label": "kind", **BY_CONTENT})
    learning.train("amounts", FOREST.format("RandomForestRegressor"), "amounts", {"label": "price", **BY_CONTENT})
    learning.train("booster", BOOSTER, "amounts", {"label": "price", **BY_CONTENT, **NUMBERS_ONLY})
    learning.train("own", OWN, "flights", FLIGHTS)
    learning.train("until", OWN, "flights", FLIGHTS, as_of="2013-02-01T00:00:00+00:00")
    never = returning("1 / 0")
    learning.train("no_label", never, "flights", {**FLIGHTS, "label": "lat"})
    learning.train("no_time", never, "flights", {**FLIGHTS, "time_column": "time"})
    learning.train("no_excluded", never, "flights", {**FLIGHTS, "exclude": ["arr_delay"]})
    learning.train("constant", never, "constant", FLIGHTS)
    learning.train("unlabelled", never, "unlabelled", FLIGHTS)
    learning.train("none", never, "none", FLIGHTS)
    learning.train("broken", never, "broken", FLIGHTS)
    learning.train("nowhere", never, "nowhere", FLIGHTS)
    learning.train("text_amount", never, "words", {**FLIGHTS, "task": "regression"})
    learning.train("last_all_late", never, "last_all_late", FLIGHTS)
    learning.train("with_date", never, "with_date", FLIGHTS)
    learning.train("as_of_before_all", never, "flights", FLIGHTS, as_of="2012-01-01T00:00:00+00:00")
    learning.train("returns_none", returning("None"), "flights", FLIGHTS)
    learning.train("returns_text", returning("'model'"), "flights", FLIGHTS)
    learning.train("no_probabilities", returning("LinearSVC()", "from sklearn.svm import LinearSVC"), "flights", FLIGHTS)
    learning.train("other_classes", OTHER_CLASSES, "flights", FLIGHTS)
    learning.train("raises", returning("{}['trees']"), "flights", FLIGHTS)
    learning.train("odd_param", never, "flights", {**FLIGHTS, "params": {"../trees": 1}})
    learning.train("raises_without_mlflow", MLFLOW_GONE.format("return {}['trees']"), "flights", FLIGHTS)
    learning.train("logs_without_mlflow", MLFLOW_GONE.format("mlflow.log_metric('x', 1)"), "flights", FLIGHTS)
    learning.train("needs_gpu", never, "flights", {**FLIGHTS, "params": {"require_gpu": True}})
    learning.train("wants_gpu", OWN, "flights", FLIGHTS, resources={"cpu": 1, "device": "gpu"})
    learning.train("no_mlflow", never, "flights", FLIGHTS, tracking_uri="http://127.0.0.1:9")
    learning.train("killed", OWN, "flights", FLIGHTS, try_number=2)
    call(learning.python, "mlflow_probe.py", learning.tracking_uri, "begin", "killed")
    return learning.run()


def test_the_template(learning: Learning, came: dict[str, Any], run_step: RunStep) -> None:
    done = run_step(
        "train", image="train", code=TEMPLATE, entry_point="train:train", inputs={"dataset": learning.table("flights")},
        params={**FLIGHTS, **SMALL, "experiment": "flights"},
        tracking_uri=learning.tracking_uri, resources={"cpu": 2, "device": "cpu"}, fingerprint="f" * 64,
    )  # fmt: skip
    assert done.status == "success", done.error
    metrics, model = done.metrics, done.outputs["model"]
    folder = Path(model.uri.removeprefix("file://"))
    assert model.kind == "model"
    assert model.sha256 == hash_folder(folder)
    assert 0.75 < metrics["auc"] < 0.95
    assert metrics["train_auc"] > metrics["auc"] - 0.1
    assert (metrics["rows_train"], metrics["rows_holdout"], metrics["features"]) == (3000, 1000, 6)
    assert (metrics["task"], metrics["device"]) == ("binary", "cpu")
    assert metrics["data_start"] == "2013-01-01T00:00:00.000000Z"
    assert metrics["data_end"] == "2013-03-25T07:00:00.000000Z"

    card = json.loads((folder / "tradewind.json").read_text())
    assert card["features"] == ["carrier", "engine", "hour", "seats", "temp", "night"]
    assert card["classes"] == [0, 1]
    assert card["split"]["boundary"] == "2013-03-04T12:00:00.000000Z"
    assert card["split"]["train_end"] == "2013-03-04T11:00:00.000000Z"
    assert (card["mlflow_run_id"], card["model_id"]) == (metrics["mlflow_run_id"], metrics["model_id"])
    assert "xgboost==" in (folder / "requirements.txt").read_text()
    listed = done.outputs["environment"]
    assert listed.kind == "code", "no report: it is for whoever compares two trainings"
    assert "xgboost==" in learning.store.read(listed.uri).decode()

    run = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "run", metrics["mlflow_run_id"])
    assert (run["status"], run["name"]) == ("FINISHED", "run")
    assert run["params"] == {"trees": "30", "max_depth": "3", "device": "cpu"}
    assert run["metrics"]["auc"] == pytest.approx(metrics["auc"])
    assert run["curves"]["validation_0.auc"] == run["curves"]["validation_0.logloss"] == 30
    assert run["files"] == ["environment.txt", "feature_importance.json", "feature_importance.png"]
    expected = {
        "tradewind.dag_id": "test",
        "tradewind.task_id": "train",
        "tradewind.run_id": "run",
        "tradewind.data": "flights" + "0" * 57,
        "tradewind.fingerprint": "f" * 64,
    }
    assert expected.items() <= run["tags"].items()
    assert len(run["tags"]["tradewind.code"]) == 64
    (logged,) = run["models"]
    assert (logged["id"], logged["status"]) == (metrics["model_id"], "READY")
    assert logged["metrics"]["auc"] == pytest.approx(metrics["auc"])
    assert {"MLmodel", "model.pkl", "smoke.json", "tradewind.json", "input_example.json"} <= set(logged["files"])

    again = came["template"]["metrics"]
    assert again["content_sha256"] == metrics["content_sha256"], "equal training, equal model"
    assert again["auc"] == metrics["auc"]


def test_the_serving_environment_answers_as_the_model_did(came: dict[str, Any], environments: Environments) -> None:
    names = ["template", "words", "bare", "kinds", "amounts", "booster", "own"]
    folders = [came[name]["outputs"]["model"]["uri"].removeprefix("file://") for name in names]
    found = dict(zip(names, call(environments.python("serve"), "serve_probe.py", *folders), strict=True))
    assert {name: answer["rows"] for name, answer in found.items()} == dict.fromkeys(names, 16)
    assert [name for name in names if not found[name]["nulls"]] == []
    assert [name for name in names if not found[name]["difference"] <= 1e-6] == []


def test_tasks_are_recognised(came: dict[str, Any]) -> None:
    tasks = {name: came[name]["metrics"]["task"] for name in ("words", "kinds", "amounts", "own")}
    assert tasks == {"words": "binary", "kinds": "multiclass", "amounts": "regression", "own": "binary"}
    assert came["words"]["metrics"]["auc"] > 0.7
    assert came["kinds"]["metrics"]["macro_f1"] > 0.9
    assert came["amounts"]["metrics"]["r2"] > 0.9
    assert came["booster"]["metrics"]["r2"] > 0.9
    assert came["own"]["metrics"]["auc"] == 0.5


def test_a_split_by_content_keeps_about_the_share_back(came: dict[str, Any]) -> None:
    metrics = came["amounts"]["metrics"]
    assert metrics["rows_train"] + metrics["rows_holdout"] == 4000
    assert 850 < metrics["rows_holdout"] < 1150
    assert metrics["data_end"] is None


def test_as_of_hides_later_rows(came: dict[str, Any]) -> None:
    assert came["until"]["metrics"]["data_end"] == "2013-01-31T23:00:00.000000Z"


def test_what_the_user_logs_is_in_the_run(learning: Learning, came: dict[str, Any]) -> None:
    run = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "run", came["words"]["metrics"]["mlflow_run_id"])
    assert run["metrics"]["of_the_user"] == 7


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("no_label", "ValidationFailed", ["label", "'lat'", "it has carrier, engine, hour"]),
        ("no_time", "ValidationFailed", ["time_column", "'time'", "time_hour"]),
        ("no_excluded", "ValidationFailed", ["exclude", "'arr_delay'"]),
        ("constant", "ValidationFailed", ["'late'", "all 4000 rows", "1"]),
        ("unlabelled", "ValidationFailed", ["'late'", "3 of 4000 rows have none"]),
        ("none", "ValidationFailed", ["no rows in", "none"]),
        ("broken", "ValidationFailed", ["expected a Parquet file or folder", "broken"]),
        ("nowhere", "ValidationFailed", ["expected a Parquet file or folder", "nowhere"]),
        ("text_amount", "ValidationFailed", ["'late' is str", "expected numbers in a regression"]),
        ("last_all_late", "ValidationFailed", ["all 1000 holdout rows are of class 1"]),
        ("with_date", "ValidationFailed", ["'sold' is datetime64", "exclude"]),
        ("as_of_before_all", "ValidationFailed", ["No rows before 2012-01-01", "2013-01-01"]),
        ("returns_none", "SpecError", ["user_returns_none:train returned None", "return model"]),
        ("returns_text", "SpecError", ["builtins.str", "scikit-learn", "xgboost.Booster", "mlflow.pyfunc.PythonModel"]),
        ("no_probabilities", "SpecError", ["LinearSVC", "predict_proba"]),
        ("other_classes", "SpecError", ["[1, 2]", "expected 0 to 1"]),
        ("raises", "KeyError", ["trees"]),
        ("raises_without_mlflow", "KeyError", ["trees"]),
        ("logs_without_mlflow", "RuntimeUnavailable", ["MLflow at sqlite:", "does not answer"]),
    ],
)
def test_mistakes_are_named(name: str, kind: str, words: list[str], came: dict[str, Any]) -> None:
    assert came[name]["type"] == kind
    assert [word for word in words if word not in came[name]["message"]] == []


def test_only_what_may_pass_is_tried_again(came: dict[str, Any]) -> None:
    assert came["no_label"]["retryable"] is False
    assert came["returns_none"]["retryable"] is False
    assert came["no_mlflow"] == {**came["no_mlflow"], "type": "RuntimeUnavailable", "retryable": True}
    assert "MLflow at http://127.0.0.1:9" in came["no_mlflow"]["message"]


def test_without_a_gpu_nothing_pretends(came: dict[str, Any]) -> None:
    assert came["wants_gpu"]["metrics"]["device"] == "cpu"
    assert (came["needs_gpu"]["type"], came["needs_gpu"]["retryable"]) == ("RuntimeUnavailable", True)
    assert "no GPU" in came["needs_gpu"]["message"]


def test_a_fall_back_to_the_cpu_is_told(tmp_path: Path, environments: Environments) -> None:
    """A driver that sees a GPU is not yet one that XGBoost can use."""
    learning = Learning(make_tables(tmp_path, environments), environments)
    booster = BOOSTER.replace('{"objective"', '{"device": params["device"], "objective"')
    amounts = {"label": "price", **BY_CONTENT, **NUMBERS_ONLY}
    learning.train("trees", TEMPLATE, "flights", {**FLIGHTS, **SMALL}, resources={"cpu": 1, "device": "gpu"})
    learning.train("booster", booster, "amounts", amounts, resources={"cpu": 1, "device": "gpu"})
    learning.train("own", OWN, "flights", FLIGHTS, resources={"cpu": 1, "device": "gpu"})
    learning.train("required", booster, "amounts", {**amounts, "params": {"require_gpu": True}})
    came = learning.run(gpus=1)
    assert {name: came[name]["metrics"]["device"] for name in ("trees", "booster", "own")} == {
        "trees": "cpu", "booster": "cpu", "own": "cuda",
    }, "of what says nothing itself the device is the chosen one"  # fmt: skip
    assert (came["required"]["type"], came["required"]["retryable"]) == ("RuntimeUnavailable", True)
    assert "require_gpu is set, and XGBoost learned on the CPU" in came["required"]["message"]
    run = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "run", came["trees"]["metrics"]["mlflow_run_id"])
    assert run["tags"]["tradewind.device"] == "cpu"


def test_a_failed_training_is_a_failed_run(learning: Learning, came: dict[str, Any]) -> None:
    found = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "last", "raises")
    assert found["status"] == "FAILED"
    assert found["tags"]["tradewind.error"] == "KeyError: 'trees'"


def test_a_run_that_could_not_begin_does_not_run_for_ever(learning: Learning, came: dict[str, Any]) -> None:
    assert came["odd_param"]["type"] == "SpecError"
    found = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "last", "odd_param")
    assert found["status"] == "FAILED"


def test_the_run_of_a_killed_try_does_not_run_for_ever(learning: Learning, came: dict[str, Any]) -> None:
    found = call(learning.python, "mlflow_probe.py", learning.tracking_uri, "run", came["killed"]["metrics"]["mlflow_run_id"])
    assert found["statuses"] == ["FINISHED", "KILLED"]
