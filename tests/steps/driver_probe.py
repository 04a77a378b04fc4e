"""Prints, as JSON, Spark's configuration of a driver in a pod, of which the API server does not know the address yet.

Runs in the data environment.

Usage: ``python driver_probe.py FOLDER``; the pod is in ``FOLDER/pod.json``, what an executor's is made of goes beside it.
"""

import json
import sys
from pathlib import Path

from tradewind.contract import StepSpec
from tradewind_steps.features.executors import Cluster, Executors
from tradewind_steps.features.pods import Pods


def main(folder: Path) -> None:
    pod = json.loads((folder / "pod.json").read_text())
    executors = Executors.asked({"executors": 3, "min_executors": 1, "executor_cpu": 0.5, "executor_cpu_limit": 2})
    assert executors
    spec = StepSpec(
        step="features", dag_id="d", run_id="r", task_id="features", map_index=-1, try_number=1, params={}, inputs={}, code=None,
        entry_point=None, image="data", outputs_uri="s3://store/out", store_uri="s3://store",
    )  # fmt: skip
    pods = Pods("here", server="http://10.0.0.1", account=folder)
    cluster = Cluster(executors=executors, pods=pods, pod=pod, container=pod["spec"]["containers"][0], spec=spec)
    print(json.dumps(cluster.settings(folder, None)))


main(Path(sys.argv[1]))
