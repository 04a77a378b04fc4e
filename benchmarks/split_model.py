"""Makes a model of XGBoost alone, in MLflow's format, with ``request.json``, a request of one row. Runs in the train environment.

Usage: ``python split_model.py FOLDER``. Three numbers in, no columns to encode: what a request costs is mostly the way to the
model, which is what is measured.
"""

import json
import sys
from pathlib import Path

import mlflow
import numpy
import pandas
from mlflow.models import infer_signature
from xgboost import XGBClassifier


def main(folder: Path) -> None:
    random = numpy.random.default_rng(7)
    rows = pandas.DataFrame({name: random.uniform(0, 1, 400) for name in ("distance", "hour", "wind")})
    model = XGBClassifier(n_estimators=20, n_jobs=1).fit(rows, (rows.hour > 0.6).astype(int))
    mlflow.xgboost.save_model(model, folder, signature=infer_signature(rows, model.predict(rows)), pip_requirements=[])
    one = rows.head(1)
    inputs = [{"name": n, "shape": [1, 1], "datatype": "FP64", "data": one[n].tolist()} for n in one.columns]
    (folder / "request.json").write_text(json.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs}))


main(Path(sys.argv[1]))
