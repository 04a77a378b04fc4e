"""Profiles against nodes, from what the API tells of them."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.cli.doctor.nodes import GPU, nodes_of, verdict
from tradewind.profiles import PROFILES, Profile


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", gpus: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": {"taints": more.get("taints", []), "unschedulable": more.get("cordoned", False)},
        "status": {
            "conditions": [{"type": "Ready", "status": more.get("ready", "True")}],
            "allocatable": {"cpu": cpu, "memory": memory, **({GPU: str(gpus)} if gpus else {})},
        },
    }


def pod(on: str, *, cpu: str, memory: str = "0", init_cpu: str = "0", sidecar: bool = False) -> dict[str, Any]:
    init = {"resources": {"requests": {"cpu": init_cpu}}, **({"restartPolicy": "Always"} if sidecar else {})}
    return {
        "spec": {
            "nodeName": on,
            "containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}],
            "initContainers": [init],
        }
    }


def test_what_pods_asked_for_is_not_free() -> None:
    pods = [
        pod("a", cpu="500m", memory="1Gi", init_cpu="2"),
        pod("a", cpu="500m", init_cpu="250m", sidecar=True),
        {"spec": {"containers": []}},
    ]
    (found,) = nodes_of([node("a")], pods)
    assert (found.allocatable.cpu, found.allocatable.memory_mb) == (4, 8192)
    assert (found.free.cpu, found.free.memory_mb) == (4 - 2 - 0.75, 7168)


def test_a_node_that_takes_no_pods_does_not_count() -> None:
    assert [n.name for n in nodes_of([node("a", ready="Unknown"), node("b", cordoned=True), node("c")], [])] == ["c"]


@pytest.mark.parametrize(
    ("profile", "nodes", "state", "said"),
    [
        (Profile(cpu=2, memory_mb=4096), [node("a")], "pass", "1 of 1 nodes have that free, as a"),
        (Profile(cpu=2, memory_mb=4096), [], "fail", "no node is ready"),
        (Profile(cpu=2, memory_mb=4096), [node("busy")], "pass", "busy is large enough, and busy now"),
        (
            Profile(cpu=1, memory_mb=16384, gpus=1),
            [node("a"), node("g", gpus=2)],
            "fail",
            f"no node has 1 {GPU}, 1 cores and 16384 MiB; the largest free is 2 {GPU}, 4 cores and 8192 MiB on g",
        ),
        (Profile(cpu=1, memory_mb=1, node_selector={"gpu": "a100"}), [node("a")], "fail", "no node has the labels gpu=a100"),
        (Profile(cpu=1, memory_mb=1, node_selector={"gpu": "a100"}), [node("a", labels={"gpu": "a100"})], "pass", "as a"),
        (
            Profile(cpu=1, memory_mb=1),
            [node("a", taints=[{"key": "spot", "value": "yes", "effect": "NoSchedule"}])],
            "fail",
            "none of its tolerations fits the taint spot=yes:NoSchedule of a",
        ),
        (
            Profile(cpu=1, memory_mb=1, tolerations=({"key": "spot", "value": "no"},)),
            [node("a", taints=[{"key": "spot", "value": "yes", "effect": "NoSchedule"}])],
            "fail",
            "spot=yes:NoSchedule",
        ),
        (
            Profile(cpu=1, memory_mb=1, tolerations=({"key": "spot", "value": "yes", "effect": "NoSchedule"},)),
            [node("a", taints=[{"key": "spot", "value": "yes", "effect": "NoSchedule"}])],
            "pass",
            "as a",
        ),
        (
            Profile(cpu=1, memory_mb=1, tolerations=({"operator": "Exists"},)),
            [node("a", taints=[{"key": "spot", "effect": "NoExecute"}])],
            "pass",
            "as a",
        ),
        (Profile(cpu=1, memory_mb=1), [node("a", taints=[{"key": "spot", "effect": "PreferNoSchedule"}])], "pass", "as a"),
        (Profile(cpu=1, cpu_limit=9, memory_mb=4000, memory_limit_mb=9000), [node("a")], "pass", "1 cores and 4000 MiB"),
        (Profile(cpu=1, cpu_limit=9, memory_mb=4000), [node("a")], "pass", "as a; it may use up to 9 cores and 4000 MiB"),
        (Profile(cpu=1, memory_mb=4200, memory_limit_mb=9000), [node("a")], "pass", "out of memory it would ask for 8400 MiB"),
        (Profile(cpu=1, memory_mb=5000), [node("a")], "pass", "out of memory it would ask for 10000 MiB, which no node has"),
        (
            Profile(cpu=1, memory_mb=1, executors=3, executor_cpu=5, executor_memory_mb=9),
            [node("a")],
            "fail",
            "each of 3 executors: no node has 5 cores and 9 MiB",
        ),
    ],
)
def test_a_profile_against_nodes(profile: Profile, nodes: list[dict[str, Any]], state: str, said: str) -> None:
    found = verdict("mine", profile, nodes_of(nodes, [pod("busy", cpu="3")]))
    assert (found.state, found.name) == (state, "profile mine")
    assert said in found.detail
    assert bool(found.fix) == (state == "fail")


def test_a_built_in_profile_that_finds_no_node_is_no_failure() -> None:
    assert verdict("gpu-1", PROFILES["gpu-1"], nodes_of([node("a")], [])).state == "skipped"
    assert verdict("other", PROFILES["gpu-1"], nodes_of([node("a")], [])).state == "fail"
