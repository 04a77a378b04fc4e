"""Saves models with one column of each of MLflow's types, and others; says which column MLflow takes for which.

Runs in the train environment.

Usage: ``python signature_probe.py FOLDER``; makes ``FOLDER/<name>`` each, and prints ``[[sent, wanted], ...]``.
"""

import itertools
import json
import sys
from pathlib import Path

import mlflow
import numpy
import pandas
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.utils import _enforce_schema
from mlflow.types import ColSpec, DataType, Schema

VALUES = {
    "boolean": pandas.Series([True, False]),
    "integer": pandas.Series([2, 3], dtype="int32"),
    "long": pandas.Series([2, 3], dtype="int64"),
    "float": pandas.Series([2.5, 3], dtype="float32"),
    "double": pandas.Series([2.5, 3], dtype="float64"),
    "string": pandas.Series(["a", "b"]),
    "datetime": pandas.Series(pandas.to_datetime(["2013-01-01", "2013-01-02"])),
}


class Answers(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return numpy.zeros(len(model_input))


def save(folder: Path, signature: ModelSignature | None) -> None:
    mlflow.pyfunc.save_model(folder, python_model=Answers(), signature=signature, pip_requirements=[])


def taken(sent: str, wanted: str) -> bool:
    schema = Schema([ColSpec(DataType[wanted], "x")])
    try:
        _enforce_schema(pandas.DataFrame({"x": VALUES[sent]}), schema)
    except MlflowException:
        return False
    return True


def main(folder: Path) -> None:
    answers = numpy.array([[0.5, 0.5]])
    for name, values in VALUES.items():
        save(folder / name, infer_signature(pandas.DataFrame({"x": values}), answers))
    frame = pandas.DataFrame({"x": [2.5, 3], "more": [1.5, 2]})
    one = frame[["x"]]
    save(folder / "two", infer_signature(frame, answers))
    with_optional = Schema([ColSpec(DataType.double, "x"), ColSpec(DataType.double, "more", required=False)])
    save(folder / "optional", ModelSignature(inputs=with_optional, outputs=infer_signature(one, answers).outputs))
    save(folder / "narrow", infer_signature(one, answers.astype("float32")))
    save(folder / "classes", infer_signature(one, numpy.array([1, 0])))
    save(folder / "column", infer_signature(one, numpy.array([[1], [0]])))
    save(folder / "words", infer_signature(one, pandas.DataFrame({"late": ["yes"]})))
    save(folder / "silent", None)
    print(json.dumps([pair for pair in itertools.product(VALUES, VALUES) if taken(*pair)]))


main(Path(sys.argv[1]))
