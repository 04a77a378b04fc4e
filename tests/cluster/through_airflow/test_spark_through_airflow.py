"""A features task of Airflow's whose profile has executors: what becomes of them when it ends, and when it is ended."""

from __future__ import annotations

import re
import time

from faults import FAULTS
from live import until
from on_kubernetes import Cluster
from platform_under_test import Platform


def test_a_task_has_executors(platform: Platform, cluster: Cluster) -> None:
    run_id = platform.api.trigger("spread", {"nonce": f"{time.time()}"})
    ended = platform.ended("spread", run_id, within_s=300)
    assert ended.state == "success" and ended.tries["features"] == 1
    assert ended.metrics("features")["rows"] == 100
    said = platform.api.log("spread", run_id, "features", 1)
    [on] = [line.split()[2:] for line in said if line.startswith("ran on ")]
    assert len(on) == 2 and all("-exec-" in name for name in on)
    assert len([line for line in said if re.search(r"^Executor \S+-exec-\d+ runs on node", line)]) == 2
    cluster.no_pods(run_id)
    assert not cluster.executors()


def test_executors_end_with_their_task(platform: Platform, cluster: Cluster) -> None:
    run_id = platform.api.trigger("spread", {"what": "waits", "nonce": f"{time.time()}"})
    until(lambda: cluster.executors(), within_s=120, what="an executor")
    with FAULTS.injected("a task with Spark's executors marked failed") as fault:
        platform.mark("failed", "spread", run_id, "features")
        try:
            until(lambda: not cluster.pods(run_id) and not cluster.executors(), within_s=60, what="the pods' end")
        finally:
            fault.pods([*cluster.pods(run_id), *cluster.executors()])
