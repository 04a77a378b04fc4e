"""What goes wrong with pods, made to go wrong for real."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from faults import FAULTS, Fault
from live import until
from on_kubernetes import Cluster
from platform_under_test import Ended, Platform

LINES = 300  # thirty seconds of them


@pytest.fixture
def start(platform: Platform) -> Callable[..., str]:
    def trigger(dag_id: str, what: str, **conf: Any) -> str:
        return platform.api.trigger(dag_id, {"what": what, "nonce": f"{time.time()}", **conf})

    return trigger


def log(platform: Platform, dag_id: str, run_id: str, attempt: int = 1) -> list[str]:
    return platform.api.log(dag_id, run_id, "train", attempt)


def ended(platform: Platform, dag_id: str, run_id: str, within_s: float = 180) -> Ended:
    return platform.ended(dag_id, run_id, within_s=within_s)


def lines_said(lines: list[str]) -> Counter[str]:
    return Counter(line[line.index("line ") :][:9] for line in lines if "line 0" in line)


def lines_of(count: int) -> set[str]:
    """What the job of that many lines says."""
    return {f"line {number:04}" for number in range(count)}


def nothing_left(cluster: Cluster, run_id: str, fault: Fault, *, within_s: float = 60) -> None:
    """The pods go; the fault counts those that do not."""
    try:
        cluster.no_pods(run_id, within_s=within_s)
    finally:
        fault.pods(cluster.pods(run_id))


def test_each_line_once_while_it_runs(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:
    runs = [(dag_id, start(dag_id, "lines", amount=LINES)) for dag_id in ("job", "job_in_worker")]
    for dag_id, run_id in runs:
        platform.said(dag_id, run_id, "train", "line 0010", within_s=90)
        [pod] = cluster.pods(run_id)
        assert pod.status.phase == "Running", "the lines come while it runs"
        amounts = pod.spec.containers[0].resources
        assert amounts.requests == {"cpu": "200m", "memory": "1500Mi"} and amounts.limits == {"cpu": "1500m", "memory": "1600Mi"}
    for dag_id, run_id in runs:
        assert ended(platform, dag_id, run_id).state == "success"
        assert lines_said(log(platform, dag_id, run_id)) == dict.fromkeys(lines_of(LINES), 1), dag_id
        cluster.no_pods(run_id)


def test_out_of_memory_once_more_with_more_and_remembered(
    platform: Platform, cluster: Cluster, start: Callable[..., str]
) -> None:
    run_id = start("job", "memory", amount=500, profile="tight")
    with FAULTS.injected("out of memory, less than the cap") as fault:
        done = ended(platform, "job", run_id)
        fault.run(done.state)
        assert done.state == "success" and done.tries["train"] == 1
        said = log(platform, "job", run_id)
        assert any("600 MiB were not enough. Once more with 1200 MiB" in line for line in said)
    again = start("job", "memory", amount=500, profile="tight")
    assert ended(platform, "job", again).state == "success"
    said = log(platform, "job", again)
    assert any("1200 MiB of memory: this task ran out of 600 before" in line for line in said)
    assert not any("not enough" in line for line in said)


@pytest.fixture(scope="module")
def doomed(platform: Platform) -> dict[str, str]:
    """Runs that come to a bad end whatever else happens, begun at once; by name."""
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "no_image": ("no_image", {}),
        "bad_pod": ("bad_pod", {}),
        "raises": ("job_retried", {"what": "raises"}),
        "memory": ("job_retried", {"what": "memory", "amount": 4000, "profile": "tight"}),
    }
    return {name: platform.api.trigger(dag_id, {**conf, "nonce": name}) for name, (dag_id, conf) in asked.items()}


def test_out_of_memory_with_the_most_it_may_have(platform: Platform, doomed: dict[str, str]) -> None:
    run_id = doomed["memory"]
    with FAULTS.injected("out of memory, at the cap"):
        done = ended(platform, "job_retried", run_id)
        assert done.state == "failed" and done.tries["train"] == 1, "another try would meet the same"
        said = log(platform, "job_retried", run_id)
        assert any("ran out of memory with 1400 MiB, the most that its profile allows" in line for line in said)


def test_a_lost_pod_is_replaced_without_using_up_a_retry(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:
    ways = {"pod evicted": cluster.evict, "pod deleted by force": cluster.force_delete}
    runs = {name: start("job", "waits", amount=30) for name in ways}
    with ExitStack() as stack:
        faults, firsts = {}, {}
        for name, lose in ways.items():  # at once: neither may run through while the other is looked at
            firsts[name] = cluster.pod(runs[name])
            faults[name] = stack.enter_context(FAULTS.injected(name))
            lose(firsts[name])
        for name, first in firsts.items():
            second = cluster.pod(runs[name], but=first.metadata.name)
            assert second.metadata.name != first.metadata.name
        for name, run_id in runs.items():
            done = ended(platform, "job", run_id)
            faults[name].run(done.state)
            assert done.state == "success" and done.tries["train"] == 1
            assert any("The pod is lost: " in line for line in log(platform, "job", run_id))


def test_it_waits_for_a_gpu_and_says_who_has_them(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:
    holder = start("job", "waits", amount=300, profile="gpu-4")
    cluster.pod(holder)
    with FAULTS.injected("no GPU free") as fault:
        run_id = start("job", "learn", profile="gpu-1")
        platform.said(
            "job", run_id, "train", "no node has a free nvidia.com/gpu; 4 nvidia.com/gpu in use by job train (4)", within_s=60
        )
        platform.mark("success", "job", holder, "train")
        for run in (holder, run_id):
            fault.run(ended(platform, "job", run).state)
        assert not fault.runs_lost
    assert any("The profile asks for a GPU and there is none here" in line for line in log(platform, "job", run_id)), (
        "nothing pretends"
    )


def test_it_waits_for_the_quota(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}

    def heeded() -> bool:
        found = cluster.core.read_namespaced_resource_quota("none", cluster.namespace)
        return (found.status.hard or {}).get("pods") == "0"

    cluster.core.create_namespaced_resource_quota(cluster.namespace, quota)
    with FAULTS.injected("quota used up") as fault:
        try:
            until(heeded, within_s=30, what="the quota")
            run_id = start("job", "learn")
            platform.said("job", run_id, "train", "for the namespace's quota: ", within_s=60)
        finally:
            cluster.core.delete_namespaced_resource_quota("none", cluster.namespace)
        done = ended(platform, "job", run_id)
        fault.run(done.state)
        assert done.state == "success"


@pytest.mark.parametrize(
    ("dag_id", "says"),
    [
        ("no_image", "cannot start: the image cannot be pulled localhost/tradewind/none:1"),
        ("bad_pod", "Kubernetes refuses the pod: "),
    ],
)
def test_what_no_retry_mends_fails_at_once(
    platform: Platform, cluster: Cluster, doomed: dict[str, str], dag_id: str, says: str
) -> None:
    run_id = doomed[dag_id]
    with FAULTS.injected({"no_image": "image not there", "bad_pod": "pod that the API server refuses"}[dag_id]) as fault:
        done = ended(platform, dag_id, run_id)
        assert done.state == "failed" and done.tries["train"] == 1
        assert any(says in line for line in log(platform, dag_id, run_id)), log(platform, dag_id, run_id)[-20:]
        nothing_left(cluster, run_id, fault)


def test_the_users_exception_arrives(platform: Platform, cluster: Cluster, doomed: dict[str, str]) -> None:
    run_id = doomed["raises"]
    with FAULTS.injected("the user's code raises") as fault:
        done = ended(platform, "job_retried", run_id)
        assert done.state == "failed" and done.tries["train"] == 1
        said = log(platform, "job_retried", run_id)
        assert any("KeyError: 'no column of that name'" in line for line in said)
        assert any("train.py" in line for line in said), "the stack names the user's file"
        nothing_left(cluster, run_id, fault)
