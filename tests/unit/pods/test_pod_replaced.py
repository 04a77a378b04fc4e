"""A pod that is lost, and the one that takes its place."""

from __future__ import annotations

import pytest
from pod_server import Pod, PodServer, running
from pod_task import Task, both

from tradewind.errors import RuntimeUnavailable
from tradewind.profiles import Profile
from tradewind.store import MANIFEST

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever


@both
@pytest.mark.parametrize(("spot", "replaced"), [(False, 3), (True, 20)])
def test_a_pod_that_is_lost_is_replaced_so_many_times(
    task: Task, server: PodServer, deferrable: bool, spot: bool, replaced: int
) -> None:
    server.comes_to = lambda _: {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"}
    with pytest.raises(RuntimeUnavailable, match=r"The pod of step 'train' was lost: Evicted: the node was low on memory"):
        task.run(Profile(cpu=1, memory_mb=100, spot=spot), deferrable=deferrable)
    assert len(server.made) == 1 + replaced
    assert sum("Another one takes its place" in line for line in task.said) == replaced
    assert server.pods == {}


@both
def test_events_tell_what_took_a_pod_away(task: Task, server: PodServer, deferrable: bool) -> None:
    """Preempted, it may be gone between two looks, and its status with it."""

    def gone(pod: Pod) -> Pod:
        del server.pods[pod["metadata"]["name"]]
        server.then = None
        return running()

    server.comes_to = lambda pod: running() if len(server.made) == 1 else task.done(pod)
    server.then = gone
    server.events = [("Pulled", "Container image already present"), ("Preempted", "Preempted by pod b on node n")]
    task.run(deferrable=deferrable)
    (said,) = [line for line in task.said if line.startswith("The pod is lost: ")]
    assert "not there any more: Preempted by pod b on node n (Preempted)." in said


def test_a_replaced_pod_may_still_succeed(task: Task, server: PodServer) -> None:
    lost = {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"}
    server.comes_to = lambda pod: lost if len(server.made) < 3 else task.done(pod)
    spec = task.run(deferrable=False)
    assert len(server.made) == 3
    assert task.store.exists(f"{spec.outputs_uri}/{MANIFEST}")
