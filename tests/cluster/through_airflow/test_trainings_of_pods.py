"""A training whose pod is taken from it: within the same try another pod goes on from what was saved, and the model is byte for
byte that of a training which nobody disturbed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jobs
import pytest
from faults import FAULTS, Fault
from live import until
from on_kubernetes import Cluster
from platform_under_test import Platform
from test_failures_of_pods import ended, log, nothing_left

# A command line that, with `stop` or `start` at its end, does so to the kubelet of the only node.
KUBELET = os.environ.get("TRADEWIND_TEST_KUBELET")
HOURS = 9000  # seconds: who is not disturbed does not end


class Training:
    """One that has saved some rounds, has learned more, and waits."""

    def __init__(self, platform: Platform, cluster: Cluster, profile: str, model: str) -> None:
        self.platform, self.cluster, self.model = platform, cluster, model
        conf = {"what": "boosts", "amount": HOURS, "nonce": f"{time.time()}", "profile": profile}
        self.run_id = platform.api.trigger("job", conf)
        self.pod = cluster.pod(self.run_id)
        platform.said("job", self.run_id, "train", "waiting in round 66", within_s=90)

    def says(self, line: str) -> None:
        self.platform.said("job", self.run_id, "train", line, within_s=90)

    def goes_on(self, fault: Fault, why: str = "") -> None:
        done = ended(self.platform, "job", self.run_id)
        fault.run(done.state)
        assert done.state == "success" and done.tries["train"] == 1, "no retry is used up"
        said = log(self.platform, "job", self.run_id)
        [lost] = [line for line in said if line.startswith("The pod is lost: ")]
        assert re.search(why, lost)
        assert any(f"Resumed from round {jobs.KEPT}" in line for line in said)
        assert done.metrics("train")["content_sha256"] == self.model
        nothing_left(self.cluster, self.run_id, fault)


@pytest.fixture(scope="module")
def model(platform: Platform) -> str:
    """The hash of the model of a training that nobody disturbed."""
    run_id = platform.api.trigger("job", {"what": "boosts", "nonce": f"{time.time()}"})
    done = ended(platform, "job", run_id)
    assert done.state == "success"
    said = log(platform, "job", run_id)
    assert any("Learned in " in line for line in said) and not any("Resumed" in line for line in said)
    return str(done.metrics("train")["content_sha256"])


@pytest.fixture
def begun(platform: Platform, cluster: Cluster, model: str) -> Callable[[str], Training]:
    return lambda profile: Training(platform, cluster, profile, model)


@pytest.mark.parametrize("way", ["deleted", "evicted"])
def test_its_pod_is_taken_away(cluster: Cluster, begun: Callable[[str], Training], way: str) -> None:
    training = begun("cpu-small")
    with FAULTS.injected(f"a training's pod {way}") as fault:
        (cluster.delete_pod if way == "deleted" else cluster.evict)(training.pod)
        training.goes_on(fault)


def test_another_pod_takes_its_place_by_priority(cluster: Cluster, begun: Callable[[str], Training]) -> None:
    """The scheduler's own preemption: all GPUs are the training's, and somebody more important wants one."""
    training = begun("gpu-4")
    image = str(training.pod.spec.containers[0].image)
    with cluster.priority_class(1000) as high, FAULTS.injected("a training preempted") as fault:
        somebody = cluster.occupy_gpus(1, image, high)
        training.says("The pod is lost: ")
        training.says(f"1 nvidia.com/gpu in use by {somebody} (1)")
        cluster.core.delete_namespaced_pod(somebody, cluster.namespace, grace_period_seconds=0)
        training.goes_on(fault, "Preempt")


@pytest.mark.node
def test_its_node_goes_out_of_service(cluster: Cluster, begun: Callable[[str], Training]) -> None:
    training = begun("cpu-small")
    with FAULTS.injected("a training's node tainted NoExecute") as fault:
        with cluster.tainted(training.pod.spec.node_name):
            training.says("The pod is lost: ")
            training.says("nodes with a taint that it does not tolerate: 1")
        training.goes_on(fault, "TaintManager")


@pytest.mark.node
def test_its_node_does_not_answer_any_more(cluster: Cluster, begun: Callable[[str], Training]) -> None:
    """The first pod still runs there, where nobody sees it, when the second one takes its place."""
    assert KUBELET, "TRADEWIND_TEST_KUBELET does not say how to stop the node's kubelet"
    training = begun("cpu-small")
    node = training.pod.spec.node_name
    with FAULTS.injected("a training's node lost: its kubelet stopped") as fault:
        with kubelet_stopped():
            until(lambda: not cluster.is_ready(node), within_s=120, what="the node's being missed")
            with cluster.tainted(node):
                training.says("The pod is lost: ")
                training.says("nodes with a taint that it does not tolerate: 1")
        training.goes_on(fault, "NodeNotReady|TaintManager")


@contextmanager
def kubelet_stopped() -> Iterator[None]:
    subprocess.run([*shlex.split(str(KUBELET)), "stop"], check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run([*shlex.split(str(KUBELET)), "start"], check=True, timeout=60)
