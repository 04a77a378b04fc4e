"""KubernetesPodOperator's callbacks, and its arguments that would do nothing for a step."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import pytest
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from pod_server import PodServer, terminated
from pod_task import Task, both, ends_once_seen

from tradewind.errors import SpecError, StepFailed
from tradewind.operators import TrainModelOperator
from tradewind.runtimes.unheeded import UNHEEDED, UNHEEDED_CALLBACKS, UNHEEDED_IN_TRIGGERER, check_pod

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever


class Told(KubernetesPodOperatorCallback):
    """Notes what it is told."""

    said: ClassVar[list[str]] = []

    @staticmethod
    def on_pod_completion(*, pod: Any, **kwargs: Any) -> None:
        Told.said.append(f"completed {pod.status.phase}")

    @staticmethod
    def on_pod_teardown(*, pod: Any, **kwargs: Any) -> None:
        Told.said.append("torn down")

    @staticmethod
    def on_pod_cleanup(*, pod: Any, **kwargs: Any) -> None:
        Told.said.append("cleaned up")


class Lines(Told):
    @staticmethod
    def progress_callback(*, line: str, **kwargs: Any) -> None:
        Told.said.append(line)


@both
@pytest.mark.parametrize("code", [0, 1])
def test_callbacks_are_told_the_end(task: Task, server: PodServer, deferrable: bool, code: int) -> None:
    ends_once_seen(task, server)
    Told.said.clear()
    if code:
        server.then = lambda _: terminated(code, "Error")
        with pytest.raises(StepFailed, match="exit code 1"):
            task.run(deferrable=deferrable, callbacks=Told)
    else:
        task.run(deferrable=deferrable, callbacks=Told)
    assert Told.said == [f"completed {'Failed' if code else 'Succeeded'}", "torn down", "cleaned up"]


def test_callbacks_in_the_worker_are_told_each_line(task: Task, server: PodServer) -> None:
    ends_once_seen(task, server)
    Told.said.clear()
    task.run(deferrable=False, callbacks=[Lines])
    assert Told.said[:2] == ["one", "two"]


def test_what_would_do_nothing_is_refused_at_parse() -> None:
    known = inspect.signature(KubernetesPodOperator.__init__).parameters
    for name in {*UNHEEDED, *UNHEEDED_IN_TRIGGERER}:
        assert name in known
        with pytest.raises(SpecError, match=rf"^pod: '{name}' would do nothing for a step: "):
            TrainModelOperator(task_id="t", train="train:train", dataset="a", label_column="y", pod={name: True})
    for name in UNHEEDED_CALLBACKS:
        told = type("Mine", (KubernetesPodOperatorCallback,), {name: staticmethod(lambda **kwargs: None)})
        for callbacks in (told, [Told, told]):
            with pytest.raises(SpecError, match=rf"^pod: Mine\.{name} would not be called for a step: .* deferrable=False"):
                check_pod({"callbacks": callbacks}, deferrable=True)
            check_pod({"callbacks": callbacks}, deferrable=False)
    check_pod({"init_container_logs": True, "deferrable": False}, deferrable=True)
    check_pod({"callbacks": Told, "get_logs": False, "image": "mine:1", "labels": {}}, deferrable=True)
