"""A sweep whose trials are mapped tasks: each is a pod, and one that is lost is replaced like any step's."""

from __future__ import annotations

import json
import time

from faults import FAULTS
from on_kubernetes import Cluster, said
from platform_under_test import Platform
from test_failures_of_pods import nothing_left

from tradewind.cli.airflow_api import ENDED


def test_each_trial_is_a_pod(platform: Platform, cluster: Cluster) -> None:
    run_id = platform.api.trigger("sweep", {"nonce": f"{time.time()}"})
    pods: dict[tuple[str, str], set[str]] = {}  # by task and map index
    most, lost = 0, ""
    with FAULTS.injected("a sweep's trial's pod deleted by force") as fault:
        while platform.api.run_state("sweep", run_id) not in ENDED:
            there = [pod for pod in cluster.pods(run_id) if pod.metadata.deletion_timestamp is None]
            for pod in there:
                pods.setdefault((str(said(pod, "task-id")), str(said(pod, "map-index"))), set()).add(pod.metadata.name)
            trials = [pod for pod in there if ".trials" in str(said(pod, "task-id")) and pod.status.phase == "Running"]
            most = max(most, len(trials))
            if trials and not lost:
                lost = trials[0].metadata.name
                cluster.force_delete(trials[0])
            time.sleep(0.3)
        done = platform.ended("sweep", run_id)
        fault.run(done.state)
        assert done.state == "success" and set(done.tries.values()) == {1}
        nothing_left(cluster, run_id, fault)
    trials_of = {place: names for place, names in pods.items() if ".trials" in place[0]}
    assert {place: len(names) - (lost in names) for place, names in trials_of.items()} == dict.fromkeys(
        [(f"sweep.trials_{batch}", f"{number}") for batch in (1, 2) for number in (0, 1)], 1
    )
    assert most == 2, "as many at once as it may be"
    best = platform.store.get_manifest(done.results["sweep.best"]["manifest"])
    listed = json.loads(platform.store.read(best.outputs["study"].uri))["trials"]
    assert [trial["state"] for trial in listed] == ["complete"] * 4
    assert best.outputs["model"].uri.startswith("s3://")
