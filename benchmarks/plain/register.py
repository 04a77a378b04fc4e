"""register.py OUT MLFLOW: a new version of a registered model."""

import json
import sys
from pathlib import Path

import mlflow

out, uri = Path(sys.argv[1]), sys.argv[2]
mlflow.set_tracking_uri(uri)
version = mlflow.register_model(json.loads((out / "run.json").read_text())["model_uri"], "plain")
mlflow.MlflowClient().set_registered_model_alias("plain", "champion", version.version)
