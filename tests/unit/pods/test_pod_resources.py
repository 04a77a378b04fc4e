"""What of a profile is in the pod, and how its memory grows."""

from __future__ import annotations

import dataclasses

import pytest
from pod_server import PodServer, terminated
from pod_task import Task

from tradewind.profiles import Profile

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever


def test_all_of_a_profile_is_in_the_pod(task: Task, server: PodServer) -> None:
    tolerated = ({"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},)
    profile = Profile(
        cpu=1.5, memory_mb=100, gpus=2, shared_memory_mb=64, node_selector={"gpu": "a100"}, tolerations=tolerated,
        priority_class="low", queue="ml", spot=True,
    )  # fmt: skip
    task.run(profile, deferrable=False)
    (pod,) = server.made
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "100Mi", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in spec["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert spec["nodeSelector"] == {"gpu": "a100"}
    assert spec["tolerations"] == list(tolerated)
    assert spec["priorityClassName"] == "low"
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "ml"


def test_what_a_profile_does_not_name_is_not_in_the_pod(task: Task, server: PodServer) -> None:
    task.run(deferrable=False)
    (pod,) = server.made
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert not any(volume["name"] == "shm" for volume in spec["volumes"])
    assert not {"nodeSelector", "tolerations", "priorityClassName"} & {name for name, value in spec.items() if value}
    assert "kueue.x-k8s.io/queue-name" not in pod["metadata"]["labels"]


BURST = Profile(cpu=0.5, cpu_limit=2, memory_mb=100, memory_limit_mb=300, gpus=1)


def test_limits_may_be_more_than_requests(task: Task, server: PodServer) -> None:
    """Out of memory it gets more of both, up to the cap, and what it is told is what it may use."""
    profile = dataclasses.replace(BURST, memory_cap_mb=450)
    server.comes_to = lambda pod: terminated(137, "OOMKilled") if len(server.made) == 1 else task.done(pod)
    spec = task.run(profile, deferrable=False)
    first, second = (pod["spec"]["containers"][0]["resources"] for pod in server.made)
    gpus = {"nvidia.com/gpu": "1"}
    assert first == {
        "requests": {"cpu": "500m", "memory": "100Mi", **gpus},
        "limits": {"cpu": "2000m", "memory": "300Mi", **gpus},
    }
    assert second == {
        "requests": {"cpu": "500m", "memory": "150Mi", **gpus},
        "limits": {"cpu": "2000m", "memory": "450Mi", **gpus},
    }
    assert any("300 MiB were not enough. Once more with 450 MiB" in line for line in task.said)
    assert (spec.resources["cpu"], spec.resources["memory_mb"]) == (2, 450)
