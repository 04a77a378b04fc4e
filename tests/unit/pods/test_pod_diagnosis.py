"""What a pod's status says. The statuses are as Kubernetes 1.35 gives them; ``tests/cluster`` makes some of them happen."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiClient

from tradewind.errors import RuntimeUnavailable
from tradewind.runtimes.kubernetes import diagnosis, trigger, waiting
from tradewind.runtimes.kubernetes.diagnosis import End, diagnose
from tradewind.runtimes.kubernetes.waiting import Waiting

NO_GPU = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are available: "
    "1 No preemption victims found for incoming pod."
)


def pod(
    *,
    phase: str = "Running",
    state: dict[str, Any] | None = None,
    reason: str | None = None,
    conditions: list[dict[str, str]] | None = None,
    deleted: datetime | None = None,
    gpus: int = 0,
    node: str | None = "node",
    task: str = "train",
) -> Any:
    """A pod as the API's own client reads it."""
    found = {
        "metadata": {
            "name": f"pod-{task}", "uid": task, "annotations": {"tradewind.io/dag-id": "flights", "tradewind.io/task-id": task},
            **({"deletionTimestamp": deleted.isoformat()} if deleted else {}),
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "step", "resources": {"requests": {"nvidia.com/gpu": str(gpus)} if gpus else {}}}],
        },
        "status": {
            "phase": phase, "reason": reason, "message": "the node was low on memory" if reason else None,
            "conditions": conditions,
            "containerStatuses": [{
                "name": "step", "image": "tradewind/train:1", "imageID": "", "ready": False, "restartCount": 0, "state": state,
            }] if state else None,
        },
    }  # fmt: skip
    return ApiClient().deserialize(SimpleNamespace(data=json.dumps(found)), "V1Pod")


def terminated(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}]


@pytest.mark.parametrize(
    ("found", "end", "says"),
    [
        (pod(phase="Succeeded", state=terminated(0, "Completed")), End.DONE, "0"),
        (pod(phase="Failed", state=terminated(137, "OOMKilled")), End.OUT_OF_MEMORY, "limit"),
        (pod(phase="Failed", state=terminated(137)), End.CRASHED, "SIGKILL"),
        (pod(phase="Failed", state=terminated(1)), End.CRASHED, "exit code 1"),
        (pod(phase="Failed", reason="Evicted"), End.LOST, "low on memory"),
        (pod(phase="Failed", state=terminated(143), conditions=DISRUPTED), End.LOST, "PreemptionByScheduler"),
        (pod(phase="Failed", state=terminated(137, "ContainerStatusUnknown")), End.LOST, "lost sight"),
        (pod(state={"running": {}}, deleted=datetime.now(UTC)), End.LOST, "deleted while it was Running"),
        (None, End.LOST, "not there any more"),
        (pod(phase="Pending", state=waits("ErrImageNeverPull", "no image")), End.CANNOT_START, "tradewind/train:1"),
        (pod(phase="Pending", state=waits("ImagePullBackOff", "not found")), End.CANNOT_START, "cannot be pulled"),
        (pod(phase="Pending", state=waits("ErrImagePull", "no route")), End.CANNOT_START, "no route"),
        (pod(phase="Pending", state=waits("CreateContainerConfigError", 'secret "x" not found')), End.CANNOT_START, 'secret "x"'),
    ],
)
def test_why_a_pod_ended(found: Any, end: End, says: str) -> None:
    got = diagnose(found, "step")
    assert got.end is end
    assert says in got.message


def test_a_registry_that_is_busy_for_a_moment_is_waited_for() -> None:
    for reason, message in (("ErrImagePull", "not found"), ("ImagePullBackOff", "toomanyrequests: Too Many Requests")):
        assert diagnosis.cannot_start(pod(phase="Pending", state=waits(reason, message)), "step") is None


def test_a_pod_on_a_node_that_is_gone_has_ended_some_time_after_it_was_deleted() -> None:
    now = datetime.now(UTC)
    assert not diagnosis.ended(pod(state={"running": {}}), "step")
    assert not diagnosis.ended(pod(state={"running": {}}, deleted=now), "step")
    assert diagnosis.ended(pod(state={"running": {}}, deleted=now - timedelta(seconds=31)), "step")


def unscheduled(message: str, reason: str = "Unschedulable") -> Any:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod(phase="Pending", conditions=[condition], node=None, task="mine")


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (NO_GPU, "no node has a free nvidia.com/gpu"),
        (
            "0/5 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 Insufficient memory.",
            "no node has enough cpu free, no node has enough memory free",
        ),
        (
            "0/6 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector, "
            "1 node(s) had untolerated taint {spot: }, 1 node(s) had untolerated taint {gpu: }, 1 node(s) were unschedulable.",
            "no node has a free nvidia.com/gpu, nodes with a taint that it does not tolerate: 2, "
            "nodes without the labels that it wants: 2, nodes that take no pods: 1",
        ),
        ("0/1 nodes are available: 1 node(s) had volume node affinity conflict.", "a node"),
        ("", "a node"),
    ],
)
def test_why_no_node_takes_it_in_words(message: str, says: str) -> None:
    found = unscheduled(message)
    assert diagnosis.waits_for(found, "step") == says
    theirs = message.split(". no new")[0].rstrip(".")
    assert waiter([], []).reason(found) == (f"{says} ({theirs})" if theirs else says)


def test_what_a_pod_with_a_node_waits_for() -> None:
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    assert (
        diagnosis.waits_for(unscheduled("", "SchedulingGated"), "step") == "its queue has not admitted it yet (SchedulingGated)"
    )
    assert diagnosis.waits_for(pod(phase="Pending"), "step") == "the scheduler"
    creating = pod(phase="Pending", state=waits("ContainerCreating"), conditions=scheduled)
    assert diagnosis.waits_for(creating, "step") == "its container to be made"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(waiting.time, "time", lambda: self.now)


def waiter(said: list[str], others: list[Any], **limits: float) -> Waiting:
    limits = {"schedule_timeout_s": 600, "startup_timeout_s": 300, **limits}
    return Waiting(container="step", say=said.append, others=lambda _: others, **limits)


def test_it_says_every_minute_what_it_waits_for_and_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(monkeypatch), []
    others = [pod(gpus=3, task="train"), pod(gpus=1, task="sweep"), pod(phase="Succeeded", gpus=4, task="old")]
    wait = waiter(said, others)
    for _ in range(130):
        assert not wait.over(unscheduled(NO_GPU))
        clock.now += 1
    assert [line.split(":")[0] for line in said] == ["Waiting 10 s", "Waiting 1 min"]
    assert said[0] == (
        "Waiting 10 s: no node has a free nvidia.com/gpu; 4 nvidia.com/gpu in use by flights train (3), flights sweep (1) "
        "(0/1 nodes are available: 1 Insufficient nvidia.com/gpu)"
    )
    assert wait.over(pod(state={"running": {}}))
    assert said[-1] == "Waited 2 min"


def test_the_others_are_asked_for_only_where_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(monkeypatch), []
    wait = Waiting(
        container="step", say=lambda line: None, schedule_timeout_s=600, startup_timeout_s=300,
        others=lambda pod: asked.append(pod) or [],
    )  # fmt: skip
    for _ in range(130):
        wait.over(unscheduled(NO_GPU))
        clock.now += 1
    assert len(asked) == 2, "of a thousand pods that wait, each would ask for a thousand, every few seconds"


def test_who_waits_for_no_device_asks_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch).now += 20
    wait = waiter([], [], since=1000.0)
    assert [wait.will_ask(unscheduled(why)) for why in (NO_GPU, NO_GPU.replace("nvidia.com/gpu", "memory"))] == [True, False]


def test_a_thousand_triggers_list_the_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def ask() -> list[Any]:
        await asyncio.sleep(0.01)
        asked.append("pods")
        return list(asked)

    async def each(place: str) -> list[Any]:
        return await trigger.Others.of("kubernetes_default", place).pods(ask)

    async def all_at_once() -> None:
        found = await asyncio.gather(*(each("steps") for _ in range(1000)))
        assert found == [["pods"]] * 1000
        await each("another")
        assert len(asked) == 2
        monkeypatch.setattr(trigger, "_FRESH_S", -1.0)
        trigger.Others.of("kubernetes_default", "steps")._until = 0.0
        await each("steps")
        await each("steps")
        assert len(asked) == 4, "what is old is listed again"

    for _ in range(2):  # as many event loops
        asked.clear()
        monkeypatch.setattr(trigger, "_FRESH_S", 30.0)
        asyncio.run(all_at_once())


def test_the_longer_it_waits_the_less_often_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    wait = waiter([], [])
    pauses = []
    for waited in (0, 20, 100, 600, 6000):
        clock.now += waited - (pauses[-1][0] if pauses else 0)
        pauses.append((waited, wait.pause(5)))
    assert pauses == [(0, 1), (20, 1), (100, 5), (600, 30), (6000, 30)]
    assert (wait.pause(60), waiter([], []).pause(0.2)) == (60, 0.2), "as the author says, where that is more or less"


def test_it_gives_up_and_says_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    wait = waiter([], [], schedule_timeout_s=60)
    assert not wait.over(unscheduled(NO_GPU))
    clock.now += 61
    with pytest.raises(RuntimeUnavailable, match=r"waited 1 min in vain: no node has a free nvidia.com/gpu \("):
        wait.over(unscheduled(NO_GPU))


def test_the_time_for_images_begins_when_there_is_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(monkeypatch), []
    wait = waiter(said, [], schedule_timeout_s=1000, startup_timeout_s=60)
    clock.now += 900
    pulling = pod(phase="Pending", state=waits("ContainerCreating"), conditions=[{"type": "PodScheduled", "status": "True"}])
    assert not wait.over(pulling)
    clock.now += 61
    with pytest.raises(RuntimeUnavailable, match="1 min in vain: its container to be made"):
        wait.over(pulling)


def test_what_starts_at_once_needs_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(monkeypatch), []
    wait = waiter(said, [])
    assert not wait.over(pod(phase="Pending"))
    clock.now += 3
    assert wait.over(pod(state={"running": {}}))
    assert said == []
