"""What MLflow knows of a run, as JSON; in the train environment.

``python mlflow_probe.py URI run RUN_ID``, or ``last EXPERIMENT``; ``begin EXPERIMENT`` first begins a run there as the train
step does in its first try, and leaves it running.
"""

import json
import sys

import mlflow

client = mlflow.MlflowClient(sys.argv[1])
what, name = sys.argv[2:]
if what == "begin":
    tags = {"tradewind.dag_id": "test", "tradewind.run_id": f"run {name}", "tradewind.task_id": name, "tradewind.map_index": "-1"}
    run = client.create_run(
        client.create_experiment(name, sys.argv[1].replace("sqlite:///", "file://") + ".artifacts"), tags=tags
    )
elif what == "last":
    run = client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1)[0]
else:
    run = client.get_run(name)
models = client.search_logged_models(
    experiment_ids=[run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
)
found = {
    "status": run.info.status,
    "name": run.info.run_name,
    "params": run.data.params,
    "metrics": run.data.metrics,
    "tags": run.data.tags,
    "curves": {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics},
    "files": [file.path for file in client.list_artifacts(run.info.run_id)],
    "models": [
        {
            "id": model.model_id,
            "status": str(model.status),
            "metrics": {metric.key: metric.value for metric in model.metrics or []},
            "files": [file.path for file in client.list_logged_model_artifacts(model.model_id)],
        }
        for model in models
    ],
    "statuses": sorted(other.info.status for other in client.search_runs([run.info.experiment_id])),
}
print(json.dumps(found))
