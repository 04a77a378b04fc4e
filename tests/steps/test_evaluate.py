"""The evaluate step, for real: models that the train step made, verdicts of all kinds, hostile names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learning import FLIGHTS, TEMPLATE, Learning, make_tables

from tradewind.contract import StepManifest
from tradewind.runtimes.environments import Environments

RunStep = Callable[..., StepManifest]
BY_CONTENT = {"time_column": None, "holdout": 0.25}
TREE = """
from sklearn.tree import {0}

def train(dataset, params):
    numbers = dataset.train.X.select_dtypes("number").columns.tolist()
    return {0}(max_depth=4, random_state=0).fit(dataset.train.X[numbers], dataset.train.y)
"""
NO_IDEA = """
import mlflow.pyfunc
import numpy as np

class Chance(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return np.random.default_rng(0).random(len(model_input))

def train(dataset, params):
    return Chance()
"""
SMALL = {"params": {"trees": 30, "max_depth": 3}}
NUMBERS = {"exclude": ["carrier", "engine"]}
RULES = ["auc >= 0.6", "auc >= champion - 0.005"]


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> dict[str, Any]:
    learning = Learning(make_tables(tmp_path_factory.mktemp("learning"), environments), environments)
    learning.train("good", TEMPLATE, "flights", {**FLIGHTS, **SMALL})
    learning.train("earlier", TEMPLATE, "early", {**FLIGHTS, **SMALL})
    learning.train("good_too", TEMPLATE, "flights", {**FLIGHTS, "params": {"trees": 29, "max_depth": 3}})
    learning.train("other", TEMPLATE, "other_data", {**FLIGHTS, **SMALL})
    learning.train("chance", NO_IDEA, "flights", FLIGHTS)
    learning.train("by_content", TEMPLATE, "flights", {**FLIGHTS, **BY_CONTENT, **SMALL, "exclude": ["time_hour"]})
    learning.train(
        "smaller_holdout", TEMPLATE, "flights", {**FLIGHTS, **BY_CONTENT, **SMALL, "holdout": 0.2, "exclude": ["time_hour"]}
    )
    learning.train("without_temp", TEMPLATE, "without_temp", {**FLIGHTS, **SMALL})
    learning.train("words", TEMPLATE, "words", {**FLIGHTS, **SMALL})
    learning.train("hostile", TEMPLATE, "hostile", {**FLIGHTS, **SMALL})
    learning.train(
        "kinds", TREE.format("DecisionTreeClassifier"), "kinds", {"label": "kind", **BY_CONTENT, "exclude": ["carrier", "engine"]}
    )
    learning.train("amounts", TREE.format("DecisionTreeRegressor"), "amounts", {"label": "price", **BY_CONTENT, **NUMBERS})

    learning.evaluate("first", "good", "flights", rules=RULES, slices=["carrier"])
    learning.evaluate("no_good", "chance", "flights", rules=RULES)
    learning.evaluate("worse", "chance", "flights", "earlier", rules=["auc >= champion - 0.005"], champion_version="3")
    learning.evaluate("better", "good", "flights", "earlier", rules=["auc >= champion - 0.05"], champion_version="3")
    learning.evaluate("beside", "other", "other_data", "earlier", reference="early", slices=["carrier"])
    learning.evaluate("data_gone", "good", "flights", "good_too", reference="never_made")
    learning.evaluate("data_broken", "good", "flights", "good_too", reference="broken")
    learning.evaluate("data_later", "good", "flights", "good_too", reference="early", reference_as_of="2012-01-01T00:00Z")
    learning.evaluate("data_untimed", "good", "flights", "good_too", reference="odd_times", reference_as_of="2014-01-01T00:00Z")
    learning.evaluate("same_data", "good", "flights", "good_too", reference="flights")
    learning.evaluate("itself", "good", "flights", "good", rules=["auc > champion"], champion_version="3")
    learning.evaluate("knows", "earlier", "early", "good", rules=RULES)
    learning.evaluate("knows_more", "earlier", "early", "good", rules=RULES, reference="flights")
    learning.evaluate("knows_but_unasked", "earlier", "early", "good", rules=["auc >= 0.6"])
    learning.evaluate("knows_and_bad", "earlier", "early", "good", rules=["auc >= 0.99", "auc >= champion"])
    learning.evaluate("too_few", "good", "flights", rules=["auc >= 0.99"], min_rows=1001)
    learning.evaluate("no_rows", "good", "few", rules=["auc >= 0.6"])
    learning.evaluate("lacks", "without_temp", "without_temp", "earlier", rules=RULES)
    learning.evaluate("other_classes", "words", "words", "earlier", rules=RULES)
    learning.evaluate("other_split", "good", "flights", "by_content", rules=RULES)
    learning.evaluate("same_split", "by_content", "flights", "smaller_holdout", rules=RULES)
    learning.evaluate("wider_split", "smaller_holdout", "flights", "by_content", rules=["auc >= champion - 0.05"])
    learning.evaluate("slice_floor", "good", "flights", rules=["slice(carrier).accuracy >= 0.99"], min_slice_rows=50)
    learning.evaluate("small_slices", "good", "flights", rules=["slice(carrier).auc >= 0.5"], min_slice_rows=900)
    learning.evaluate("hostile_report", "hostile", "hostile", rules=["auc >= 0.6"], slices=["<script>alert(1)</script>"])
    learning.evaluate(
        "kinds_report", "kinds", "kinds", rules=["macro_f1 >= 0.9", "logloss < 1"], slices=["carrier", "hour", "temp"]
    )
    learning.evaluate("amounts_report", "amounts", "amounts", rules=["r2 >= 0.9", "rmse <= 3"], slices=["row"])
    learning.evaluate("bad_rule", "good", "flights", rules=["auc is fine"])
    learning.evaluate("no_such_metric", "good", "flights", rules=["rmse <= 1"])
    learning.evaluate("no_such_slice", "good", "flights", rules=[], slices=["airline"])
    learning.evaluate("no_feature", "good", "without_temp", rules=[])
    learning.evaluate("no_model", "good", "flights", learning.table("flights"), rules=[])
    return learning.run()


def verdict(came: dict[str, Any], name: str) -> tuple[str, list[str]]:
    return came[name]["metrics"]["verdict"], came[name]["metrics"]["reasons"]


def text(came: dict[str, Any], name: str, output: str) -> str:
    return Path(came[name]["outputs"][output]["uri"].removeprefix("file://")).read_text()


def test_a_first_model_passes_without_a_champion(came: dict[str, Any]) -> None:
    metrics = came["first"]["metrics"]
    assert verdict(came, "first") == ("PASSED", [])
    assert [rule["verdict"] for rule in metrics["rules"]] == ["PASSED", "NOT APPLICABLE"]
    assert (metrics["rows"], metrics["champion"], metrics["champion_version"]) == (1000, None, None)
    assert metrics["challenger"]["auc"] == pytest.approx(came["good"]["metrics"]["auc"], abs=1e-9), (
        "the very rows of the training"
    )
    assert metrics["data_end"] == came["good"]["metrics"]["data_end"]
    found = json.loads(text(came, "first", "verdict"))
    assert {part["value"]: part["rows"] > 200 for part in found["slices"]["challenger"]["carrier"]} == dict.fromkeys(
        ["UA", "AA", "DL", "OO"], True
    )


def test_a_bad_model_fails_and_says_by_how_much(came: dict[str, Any]) -> None:
    auc = came["no_good"]["metrics"]["challenger"]["auc"]
    assert verdict(came, "no_good") == ("FAILED", [f"auc {auc:.4g}, expected >= 0.6: {0.6 - auc:.3g} short"])


def test_the_champion_is_measured_on_the_same_rows(came: dict[str, Any]) -> None:
    worse, better = came["worse"]["metrics"], came["better"]["metrics"]
    assert worse["verdict"] == "FAILED"
    assert worse["champion"] == better["champion"]
    bound = worse["champion"]["auc"] - 0.005
    short = bound - worse["challenger"]["auc"]
    assert worse["reasons"] == [
        f"auc {worse['challenger']['auc']:.4g}, expected >= champion - 0.005 = {bound:.4g}: {short:.3g} short"
    ]
    assert better["verdict"] == "PASSED"
    assert better["champion_version"] == "3"
    assert "champion (version 3)" in text(came, "better", "report")


def test_the_two_models_answers_are_compared_as_a_replay_does(came: dict[str, Any]) -> None:
    found = came["beside"]["metrics"]["differences"]
    assert found.keys() == {"disagreement", "psi", "ks"}
    assert 0 < found["disagreement"] < 0.3 and 0 < found["ks"] < 0.3 and found["psi"] > 0
    parts = json.loads(text(came, "beside", "verdict"))["slices"]["differences"]["carrier"]
    assert {part["value"] for part in parts} == {"UA", "AA", "DL", "OO", "Z<", "a"}
    rows = sum(part["rows"] for part in parts)
    assert rows == came["beside"]["metrics"]["rows"]
    assert sum(part["rows"] * part["disagreement"] for part in parts) / rows == pytest.approx(found["disagreement"])
    assert "<h2>The two models' answers to the same rows</h2>" in text(came, "beside", "report")
    assert "disagreement" not in text(came, "first", "report")
    assert (came["first"]["metrics"]["differences"], json.loads(text(came, "first", "verdict"))["data"]) == (None, None)


def test_the_data_are_held_beside_the_champions(came: dict[str, Any]) -> None:
    data = json.loads(text(came, "beside", "verdict"))["data"]
    assert data["rows"] == [3000, 4000]
    columns = {column["column"]: column for column in data["columns"]}
    assert columns["time_hour"]["high"][0] < columns["time_hour"]["high"][1]
    assert columns["seats"]["type"] == ["int32", "double"]
    assert columns["gate"]["type"] == [None, "string"]
    carrier = columns["carrier"]
    assert (carrier["came"], carrier["went"], carrier["texts"]) == ([2, ["Z<", "a"]], [0, []], [4, 6])
    assert carrier["psi"] > 0.05 > columns["hour"]["psi"]
    assert columns["temp"]["missing"] == [pytest.approx(0.02), pytest.approx(0.5, abs=0.02)]
    assert columns["night"]["high"] == [1, 1]
    assert {column["column"] for column in data["columns"][:2]} == {"seats", "gate"}, "another type comes first"
    assert json.loads(text(came, "same_data", "verdict"))["data"] == {"rows": [4000, 4000], "columns": None}


@pytest.mark.parametrize("name", ["data_gone", "data_broken", "data_later", "data_untimed"])
def test_champions_data_that_cannot_be_compared_fail_no_gate(came: dict[str, Any], name: str) -> None:
    assert verdict(came, name) == ("PASSED", [])
    assert json.loads(text(came, name, "verdict"))["data"] is None


def test_a_model_is_not_its_own_champion(came: dict[str, Any]) -> None:
    assert verdict(came, "itself") == ("PASSED", [])
    assert came["itself"]["metrics"]["champion_version"] is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "knows",
            ["the champion learned from rows up to 2013-03-04T11:00", "holdout begins at 2013-02-", "knows some of these rows"],
        ),
        ("knows_more", ["knows some of these rows. Its data had 4,000 rows, these have 3,000: ", "go to quarantine"]),
        ("too_few", ["1000 holdout rows, expected at least 1001"]),
        ("no_rows", ["0 holdout rows"]),
        ("lacks", ["the champion needs 'temp'"]),
        ("other_classes", ["the champion's classes is [0, 1]", "['late', 'on time']"]),
        ("other_split", ["split by content, the challenger's by time"]),
        ("same_split", ["held back a share of 0.2, the challenger 0.25"]),
        ("small_slices", ["no slice of carrier has at least 900 rows"]),
    ],
)
def test_inconclusive_says_why(name: str, words: list[str], came: dict[str, Any]) -> None:
    found, reasons = verdict(came, name)
    assert found == "INCONCLUSIVE"
    assert [word for word in words if not any(word in reason for reason in reasons)] == []


def test_only_rules_about_the_champion_need_a_fair_one(came: dict[str, Any]) -> None:
    assert verdict(came, "knows_but_unasked") == ("PASSED", [])
    found, reasons = verdict(came, "knows_and_bad")
    assert found == "FAILED"
    assert "expected >= 0.99" in reasons[0]
    assert "knows some of these rows" in reasons[1]


def test_a_champion_that_held_back_more_is_comparable(came: dict[str, Any]) -> None:
    assert verdict(came, "wider_split") == ("PASSED", [])


def test_a_floor_in_every_slice(came: dict[str, Any]) -> None:
    found, reasons = verdict(came, "slice_floor")
    assert found == "FAILED"
    assert any(" for carrier = UA, expected >= 0.99: 0." in reason for reason in reasons)


def test_hostile_names_are_text_in_the_report(came: dict[str, Any]) -> None:
    page = text(came, "hostile_report", "report")
    assert "<script" not in page
    assert "<b>$x" not in page
    assert "By &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;$x$ &amp; y&lt;/b&gt;" in page


def test_reports_need_nothing_else(came: dict[str, Any]) -> None:
    for name, plots in (("first", 2), ("kinds_report", 1), ("amounts_report", 1), ("better", 2)):
        page = text(came, name, "report")
        assert page.count("<svg") == plots
        assert page.count("</html>") == 1
        assert "src=" not in page
        assert "<link" not in page
    assert came["kinds_report"]["metrics"]["verdict"] == "PASSED"
    assert came["amounts_report"]["metrics"]["verdict"] == "PASSED"
    quarters = json.loads(text(came, "amounts_report", "verdict"))["slices"]["challenger"]["row"]
    assert len(quarters) == 4


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("bad_rule", "SpecError", ["'auc is fine'", "champion", "auc"]),
        ("no_such_metric", "SpecError", ["'rmse <= 1'", "'rmse'", "a binary model has auc"]),
        ("no_such_slice", "ValidationFailed", ["slices", "'airline'", "carrier"]),
        ("no_feature", "ValidationFailed", ["The challenger needs", "'temp'"]),
        ("no_model", "SpecError", ["champion", "tradewind.json"]),
    ],
)
def test_mistakes_are_named(name: str, kind: str, words: list[str], came: dict[str, Any]) -> None:
    assert came[name]["type"] == kind
    assert [word for word in words if word not in came[name]["message"]] == []
