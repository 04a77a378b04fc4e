"""evaluate.py OUT MLFLOW: the logged model on the holdout, all of it and by carrier."""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd
from matplotlib import pyplot
from sklearn.metrics import RocCurveDisplay, accuracy_score, average_precision_score, log_loss, roc_auc_score

out, uri = Path(sys.argv[1]), sys.argv[2]
run = json.loads((out / "run.json").read_text())
frame = pd.read_parquet(out / "features")
holdout = frame[frame["time_hour"] >= pd.Timestamp(run["boundary"])]
X, y = holdout.drop(columns=["time_hour", "late"]), holdout["late"]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(run["model_uri"])
scores = pd.Series(model.predict(X)[:, 1], index=X.index)
found = {
    "auc": roc_auc_score(y, scores),
    "average_precision": average_precision_score(y, scores),
    "logloss": log_loss(y, scores),
    "accuracy": accuracy_score(y, scores > 0.5),
    "carrier": {
        carrier: roc_auc_score(y[rows.index], scores[rows.index])
        for carrier, rows in X.groupby("carrier")
        if len(rows) >= 200 and y[rows.index].nunique() == 2
    },
}
assert found["auc"] >= 0.6 and min(found["carrier"].values()) >= 0.5, found
RocCurveDisplay.from_predictions(y, scores)
pyplot.savefig(out / "roc.png")
(out / "evaluation.json").write_text(json.dumps(found, indent=1))
