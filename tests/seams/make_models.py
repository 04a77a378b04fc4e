"""Makes small real models in MLflow's format, each with a smoke request. Runs in the train environment.

Usage: ``python make_models.py FOLDER``; makes ``FOLDER/logistic``, ``FOLDER/trees`` and ``FOLDER/predictor``, a custom predictor;
and that of ``logistic`` in two more formats, ``FOLDER/skops``, MLflow's default, and ``FOLDER/flavor``, its author's.
All have a text column and answer with two numbers a row.
"""

import json
import pickle
import sys
from pathlib import Path

import mlflow
import numpy
import pandas
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from tradewind_steps.predictor.model import PredictorModel

FLAVOR = """
import pathlib, pickle

class Late:
    def __init__(self, model):
        self.model = model

    def predict(self, rows):
        return self.model.predict_proba(rows)

def _load_pyfunc(path):
    return Late(pickle.loads(pathlib.Path(path).read_bytes()))
"""
_DATATYPES = {"carrier": "BYTES", "distance": "FP64", "hour": "INT64"}


def request(rows: pandas.DataFrame) -> dict[str, object]:
    size = len(rows)
    inputs = [{"name": n, "shape": [size, 1], "datatype": t, "data": rows[n].tolist()} for n, t in _DATATYPES.items()]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def main(folder: Path) -> None:
    random = numpy.random.default_rng(7)
    rows = pandas.DataFrame(
        {
            "carrier": random.choice(["AA", "B6", "UA"], 400),
            "distance": random.uniform(100, 3000, 400).round(),
            "hour": random.integers(0, 24, 400),
        }
    )
    late = ((rows.hour > 14) & (rows.carrier != "AA")).astype(int)
    classifiers = {"logistic": LogisticRegression(max_iter=5000), "trees": XGBClassifier(n_estimators=20, n_jobs=1)}
    for name, classifier in classifiers.items():
        columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"]), remainder="passthrough")
        model = make_pipeline(columns, classifier).fit(rows, late)
        mlflow.sklearn.save_model(
            model,
            folder / name,
            signature=infer_signature(rows, model.predict_proba(rows)),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        example = rows.head(3)
        asked = {"request": request(example), "outputs": model.predict_proba(example).ravel().tolist()}
        (folder / name / "smoke.json").write_text(json.dumps(asked))
        if name == "logistic":
            # as the train step names its classes
            (folder / name / "tradewind.json").write_text(json.dumps({"classes": ["on time", "late"]}))
            in_other_formats(folder, model, rows, json.dumps(asked))
    predictor(folder / "predictor", rows.astype({"hour": "float64"}))


def in_other_formats(folder: Path, model: Pipeline, rows: pandas.DataFrame, asked: str) -> None:
    """As somebody else's pipeline may have registered them."""
    signature = infer_signature(rows, model.predict_proba(rows))
    mlflow.sklearn.save_model(
        model, folder / "skops", signature=signature, pyfunc_predict_fn="predict_proba", serialization_format="skops",
        skops_trusted_types=["numpy.dtype"], pip_requirements=[],
    )  # fmt: skip
    source = folder / "of the author"
    source.mkdir()
    (source / "late_flavor.py").write_text(FLAVOR)
    data = source / "model.pkl"
    data.write_bytes(pickle.dumps(model))
    mlflow.pyfunc.save_model(
        folder / "flavor", loader_module="late_flavor", data_path=str(data), code_paths=[str(source / "late_flavor.py")],
        signature=signature, pip_requirements=[],
    )  # fmt: skip
    for name in ("skops", "flavor"):
        (folder / name / "smoke.json").write_text(asked)


def predictor(folder: Path, rows: pandas.DataFrame) -> None:
    """As the train step saves one."""
    source = Path(__file__).with_name("lateness")
    model = PredictorModel(
        {"weights.json": json.dumps({"of": [2.0, 0.3], "base": -6.0})},
        task="binary",
        classes=2,
        asked={"class": "predictor:Late", "code": ["places.py", "predictor.py"]},
        features=rows.head(1),
        source=source,
        folder=folder.with_name("packed") / "predictor",
    )
    model.save(folder, example=rows.head(3), code=source)
    example = rows.head(3)
    answers = mlflow.pyfunc.load_model(str(folder)).predict(example)
    asked = request(example.astype({"hour": "int64"}))  # as MLServer's models beside it want it
    (folder / "smoke.json").write_text(json.dumps({"request": asked, "outputs": answers.tolist()}))


main(Path(sys.argv[1]))
