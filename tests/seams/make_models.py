"""Makes small real models in MLflow's format, each with a smoke request. Runs in the train environment.

Usage: ``python make_models.py FOLDER``; makes ``FOLDER/logistic``, ``FOLDER/trees`` and ``FOLDER/predictor``, a custom predictor.
All have a text column and answer with two numbers a row.
"""

import json
import sys
from pathlib import Path

import mlflow
import numpy
import pandas
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from tradewind_steps.predictor.model import PredictorModel

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
        if name == "logistic":  # as the train step names its classes
            (folder / name / "tradewind.json").write_text(json.dumps({"classes": ["on time", "late"]}))
    predictor(folder / "predictor", rows.astype({"hour": "float64"}))


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
