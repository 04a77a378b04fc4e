"""A step as a pod: what it says, whose pod it is, and what lacks."""

from __future__ import annotations

import pytest
import structlog
from airflow.sdk.exceptions import TaskDeferred
from pod_server import PodServer, running
from pod_task import SMALL, Task, both, ends_once_seen, text

import tradewind
from tradewind.errors import SpecError
from tradewind.operators import TrainModelOperator
from tradewind.runtimes.kubernetes.request import WORK_ANNOTATION, pod_arguments
from tradewind.settings import Settings
from tradewind.store import MANIFEST

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever


@both
def test_its_lines_are_said_and_its_pod_goes(task: Task, server: PodServer, deferrable: bool) -> None:
    spec = task.run(deferrable=deferrable)
    assert task.store.exists(f"{spec.outputs_uri}/{MANIFEST}")
    assert [line for line in task.said if line in ("one", "two")] == ["one", "two"]
    assert server.pods == {}


def test_another_image_of_the_task_is_another_environment_and_another_work(task: Task, settings: Settings) -> None:
    own = {"image": "localhost/mine:2"}
    identities, works = [], []
    for more in ({}, own, {"image": None}):
        operator = TrainModelOperator(task_id="train", train="train:train", dataset="a", label_column="y", pod=more)
        identities.append(operator._new_runtime(task.context, settings).environment_id(operator.image))
        arguments = pod_arguments(settings, SMALL, task.spec(), "uri", more)
        works.append(arguments["annotations"][WORK_ANNOTATION])
        assert arguments["image"] == identities[-1]
    ours = f"tradewind/train:{tradewind.__version__}"
    assert identities == [ours, "localhost/mine:2", ours]
    assert works[0] == works[2] != works[1]


def test_a_pod_of_another_image_is_not_taken_over(task: Task, server: PodServer) -> None:
    server.comes_to = lambda _: running()
    with pytest.raises(TaskDeferred):
        task.started_with(task.spec())(task.runtime(image="mine:1", deferrable=True))
    server.comes_to = task.done
    task.run(image="mine:2")
    assert [pod["spec"]["containers"][0]["image"] for pod in server.made] == ["mine:1", "mine:2"]
    assert any(line.startswith("Deleting pod ") for line in task.said)


@both
@pytest.mark.parametrize(
    ("request_", "permission", "lines"), [("GET pods/log", "get pods/log", 0), ("PATCH pods", "patch pods", 2)]
)
def test_a_permission_that_lacks_is_named_once(
    task: Task, server: PodServer, deferrable: bool, request_: str, permission: str, lines: int
) -> None:
    ends_once_seen(task, server)
    server.refuses[request_] = (403, 'pods "x" is forbidden: User "airflow" cannot do that')
    with structlog.testing.capture_logs() as logged:
        task.run(deferrable=deferrable)
    (said,) = (text(one) for one in logged if one["log_level"] == "warning" and "forbids" in text(one))
    assert f"forbids `{permission}` in namespace tradewind-steps" in said
    told = [*task.said, *map(text, logged)]
    assert len({line for line in told if line in ("one", "two")}) == lines
    assert not any('"kind"' in line for line in told), "what the server says is no line of the step's"


@both
def test_a_log_that_is_not_wanted_is_not_read(task: Task, server: PodServer, deferrable: bool) -> None:
    ends_once_seen(task, server)
    server.refuses["GET pods/log"] = (403, "never asked")
    with structlog.testing.capture_logs() as logged:
        task.run(deferrable=deferrable, get_logs=False)
    assert not any("forbids" in text(one) for one in logged)


def test_a_connection_that_is_not_there_is_named(task: Task) -> None:
    with pytest.raises(SpecError, match=r"^kubernetes_conn_id: Airflow has no connection 'nowhere'$"):
        task.run(kubernetes_conn_id="nowhere")
    task.run(kubernetes_conn_id="kubernetes_default")
