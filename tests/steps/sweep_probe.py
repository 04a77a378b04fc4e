"""What MLflow knows of a sweep's run and of those below it, as JSON; in the train environment.

``python sweep_probe.py URI RUN_ID``, or ``last``: the newest sweep's.
"""

import json
import sys

import mlflow

client = mlflow.MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("sweep").experiment_id
runs = client.search_runs([experiment], max_results=1000)
run_id = sys.argv[2]
if run_id == "last":
    run_id = next(run.info.run_id for run in runs if "tradewind.sweep" in run.data.tags)


def shown(run):
    models = client.search_logged_models(experiment_ids=[experiment], filter_string=f"source_run_id = '{run.info.run_id}'")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "metrics": run.data.metrics,
        "models": len(models),
        "files": [file.path for file in client.list_artifacts(run.info.run_id)],
    }


below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == run_id]
found = {
    "parent": shown(client.get_run(run_id)),
    "children": [shown(run) for run in sorted(below, key=lambda run: int(run.data.tags["tradewind.trial"]))],
    "statuses": sorted(run.info.status for run in runs),
}
print(json.dumps(found))
