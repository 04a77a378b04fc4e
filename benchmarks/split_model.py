"""Makes a model of XGBoost alone, in MLflow's format, with a smoke request of one row. Runs in the train environment.

Usage: ``python split_model.py FOLDER``. Three numbers in, and no other library between the server and XGBoost: what a request
costs is the way to the server, not the model's own columns.
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
    request = {"parameters": {"content_type": "pd"}, "inputs": inputs}
    (folder / "smoke.json").write_text(json.dumps({"request": request, "outputs": model.predict(one).tolist()}))


main(Path(sys.argv[1]))
