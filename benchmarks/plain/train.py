"""train.py PIPELINE OUT MLFLOW PARAMS: the same train function, tracked by MLflow."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import xgboost
from matplotlib import pyplot
from mlflow.entities import Metric
from mlflow.models import infer_signature
from sklearn.metrics import log_loss, roc_auc_score

pipeline, out, uri, params = sys.argv[1], Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
sys.path.insert(0, pipeline)
from train import train  # noqa: E402

frame = pd.read_parquet(out / "features")
boundary = frame["time_hour"].sort_values().iloc[int(len(frame) * 0.8)]
held = frame["time_hour"] >= boundary
X, y = frame.drop(columns=["time_hour", "late"]), frame["late"]
dataset = SimpleNamespace(train=SimpleNamespace(X=X[~held], y=y[~held]), holdout=SimpleNamespace(X=X[held], y=y[held]))

mlflow.set_tracking_uri(uri)
mlflow.set_experiment("plain")
with mlflow.start_run() as run:
    mlflow.log_params(params)
    model = train(dataset, params)
    now, curves = int(time.time() * 1000), model[-1].evals_result()["validation_0"]
    points = [Metric(name, value, now, step) for name, values in curves.items() for step, value in enumerate(values)]
    mlflow.MlflowClient().log_batch(run.info.run_id, metrics=points)
    scores = model.predict_proba(X[held])[:, 1]
    mlflow.log_metrics({"holdout_auc": roc_auc_score(y[held], scores), "holdout_logloss": log_loss(y[held], scores)})
    xgboost.plot_importance(model[-1])
    mlflow.log_figure(pyplot.gcf(), "importance.png")
    example = X[held].head(5)
    logged = mlflow.sklearn.log_model(
        model, name="model", signature=infer_signature(example, model.predict_proba(example)), input_example=example,
        serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba", code_paths=[f"{pipeline}/train.py"],
    )  # fmt: skip
(out / "run.json").write_text(json.dumps({"run_id": run.info.run_id, "model_uri": logged.model_uri, "boundary": str(boundary)}))
