"""The train step with a custom predictor, for real: what it leaves, what of an author's mistakes it says, and that two
predictors in one process are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from learning import FLIGHTS, Learning, make_tables

from tradewind.contract import PREDICTOR
from tradewind.runtimes.environments import Environments
from tradewind.store import hash_folder

RULE = """
import numpy as np

class Rule:
    def __init__(self, model_uri):
        self.file = model_uri + "/limit.txt"

    def load(self):
        self.limit = float(open(self.file).read())

    def transform_input(self, X, names):
        return X[:, [names.index("hour")]].astype("float64")

    def predict(self, X, names):
        late = 1 / (1 + np.exp(-(X[:, 0] - self.limit) * {slope}))
        return {answer}
"""
TRAIN = """
{0}

def train(dataset, params):
    return {1}
"""
FILES = '{"limit.txt": "14"}'


def body(returned: str = FILES, answer: str = "np.column_stack([1 - late, late])", before: str = "", slope: float = 0.25) -> str:
    return TRAIN.format(before + RULE.format(answer=answer, slope=slope), returned)


def folder(root: Path, name: str, slope: float) -> Path:
    """A pipeline's folder; all have modules of the same names."""
    made = root / "folders" / name
    made.mkdir(parents=True)
    (made / "predictor.py").write_text("from slopes import SLOPE\n" + RULE.format(answer="late", slope="SLOPE"))
    (made / "slopes.py").write_text(f"SLOPE = {slope}\n")
    (made / "train.py").write_text(TRAIN.format("import predictor", FILES))
    (made / "notes.md").write_text("Not of the predictor")
    return made


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Learning:
    return Learning(make_tables(tmp_path_factory.mktemp("learning"), environments), environments)


@pytest.fixture(scope="module")
def came(learning: Learning) -> dict[str, Any]:
    def alone(name: str, text: str, **asked: Any) -> None:
        predictor = {"class": f"user_{name}:Rule", "code": [f"user_{name}.py"], **asked}
        learning.train(name, text, "flights", {**FLIGHTS, "predictor": predictor})

    alone("good", body())
    alone("returns_model", body("object()"))
    alone("returns_folders", body('{"../limit.txt": b"14"}'))
    alone("no_class", body(), **{"class": "user_no_class:Rules"})
    alone("no_module", body(), **{"class": "rules:Rule"})
    alone("load_raises", body('{"other.txt": "14"}'))
    alone("too_few", body(answer="late[:5]"))
    alone("none_at_all", body(answer="None"))
    alone("no_probability", body(answer="late * 2"))
    alone("no_number", body(answer="np.where(late > 0.5, 'late', 'in time')"))
    seldons = folder(learning.folder, "imports_seldon", 0.25)
    (seldons / "wrapped.py").write_text("from seldon_core.user_model import SeldonComponent\n")
    (seldons / "train.py").write_text(TRAIN.format("", FILES))
    asked = {"class": "wrapped:Rule", "code": ["wrapped.py"]}
    learning.train("imports_seldon", seldons, "flights", {**FLIGHTS, "predictor": asked})
    for name, slope in (("one", 0.25), ("other", -0.25)):
        predictor = {"class": "predictor:Rule", "code": ["predictor.py", "slopes.py"]}
        learning.train(name, folder(learning.folder, name, slope), "flights", {**FLIGHTS, "predictor": predictor})
    learning.evaluate("compared", "one", "flights", champion="other")
    return learning.run()


def test_a_model_is_the_class_its_imports_and_what_the_training_returned(came: dict[str, Any]) -> None:
    model = came["one"]["outputs"]["model"]
    path = Path(model["uri"].removeprefix("file://"))
    packed = (path / PREDICTOR).parent
    assert sorted(file.relative_to(packed).as_posix() for file in packed.rglob("*") if file.is_file()) == [
        "code/predictor.py", "code/slopes.py", "model/limit.txt", "predictor.json",
    ]  # fmt: skip
    assert model["sha256"] == hash_folder(path), "nothing was written into it when it was asked"
    inputs = json.loads((path / PREDICTOR).read_text())["inputs"]
    assert inputs == {"carrier": "BYTES", "engine": "BYTES", "hour": "FP64", "seats": "FP64", "temp": "FP64", "night": "FP64"}
    smoke = json.loads((path / "smoke.json").read_text())
    assert [tensor["name"] for tensor in smoke["request"]["inputs"]] == list(inputs), "rows as clients send them"
    assert len(smoke["outputs"]) == 16


def test_the_gate_measures_what_the_class_answers(came: dict[str, Any]) -> None:
    assert came["good"]["metrics"]["auc"] == pytest.approx(came["one"]["metrics"]["auc"])
    assert came["good"]["metrics"]["auc"] > 0.75


def test_champion_and_challenger_each_have_their_own_code(came: dict[str, Any]) -> None:
    found = came["compared"]["metrics"]
    assert found["challenger"]["auc"] == pytest.approx(came["one"]["metrics"]["auc"])
    assert found["champion"]["auc"] == pytest.approx(1 - found["challenger"]["auc"])


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("returns_model", "SpecError", "returns the files that its class loads, {'model.ubj': bytes, ...}; got builtins.object"),
        ("returns_folders", "SpecError", "a file called '../limit.txt': expected a plain name"),
        ("no_class", "SpecError", "user_no_class.py has no class 'Rules'; it has: Rule"),
        ("no_module", "SpecError", "has no module 'rules'"),
        ("imports_seldon", "SpecError", "a plain class is enough"),
        ("load_raises", "FileNotFoundError", "limit.txt"),
        ("too_few", "SpecError", "expected one or more numbers for each of 1000 rows, got an array of shape (5,)"),
        ("none_at_all", "SpecError", "expected numbers for each of the rows, got NoneType"),
        ("no_probability", "SpecError", "expected the second class's probability in the last column, got numbers from"),
        ("no_number", "SpecError", "expected numbers, got an array of text"),
    ],
)
def test_mistakes_are_named(name: str, kind: str, says: str, came: dict[str, Any]) -> None:
    assert came[name]["type"] == kind
    assert says in came[name]["message"]
