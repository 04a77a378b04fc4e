"""A step as a pod, with the real operator, trigger and clients, on an API that refuses and ends pods as it is told."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import structlog
from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import TaskDeferred
from pod_server import Pod, PodServer, running, terminated

import tradewind
from tradewind.contract import SPEC_VARIABLE, StepManifest, StepSpec
from tradewind.errors import RuntimeUnavailable, SpecError, StepFailed
from tradewind.operators import TrainModelOperator
from tradewind.profiles import Profile
from tradewind.runtimes.kubernetes import KubernetesRuntime, runtime
from tradewind.runtimes.kubernetes.request import WORK_ANNOTATION, pod_arguments
from tradewind.runtimes.unheeded import UNHEEDED, UNHEEDED_CALLBACKS, UNHEEDED_IN_TRIGGERER, check_pod
from tradewind.settings import Settings
from tradewind.store import MANIFEST, Store

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever
SMALL = Profile(cpu=1, memory_mb=100)
LOG = ["2026-11-26T05:00:00.000000001Z one", "2026-11-26T05:00:01Z two"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {
        "home": str(tmp_path), "store_uri": f"memory://tradewind{tmp_path}", "tracking_uri": "http://mlflow:5000",
        "runtime": "kubernetes",
    }  # fmt: skip
    return Settings.read(given.get)


@pytest.fixture
def server() -> Iterator[PodServer]:
    made = PodServer()
    with made.running():
        yield made


class Task:
    """One try of a task whose step is a pod."""

    def __init__(self, settings: Settings, server: PodServer, kubeconfig: str) -> None:
        self.settings = settings
        self.server = server
        self.said: list[str] = []
        self.store = Store(settings.store_uri)
        self.started = datetime.now(UTC)
        self._own = {"task_id": "train", "poll_interval": 0.05, "config_file": kubeconfig}

    def spec(self, **more: Any) -> StepSpec:
        ids: dict[str, Any] = {"dag_id": "flights", "run_id": "r", "task_id": "train", "map_index": -1, "try_number": 1}
        given = {
            "step": "train", "params": {}, "inputs": {}, "code": None, "entry_point": None, "image": "train",
            "outputs_uri": self.store.new_try(*ids.values()), "store_uri": self.store.root, "resources": SMALL.to_dict(), **more,
        }  # fmt: skip
        return StepSpec(**{**ids, **given})

    def runtime(self, profile: Profile = SMALL, **own: Any) -> KubernetesRuntime:
        return KubernetesRuntime(self.settings, profile=profile, context=self.context, own={**self._own, **own})

    @property
    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id="flights", run_id="r", task_id="train", map_index=-1, try_number=1, start_date=self.started,
            xcom_push=lambda key, value: None,
        )  # fmt: skip
        return {"ti": ti, "run_id": "r", "dag": SimpleNamespace()}

    def run(self, profile: Profile = SMALL, **own: Any) -> StepSpec:
        """As Airflow does: where the task is deferred its trigger runs, and then a new process goes on."""
        spec = self.spec(resources=profile.to_dict())
        runtime, go_on = self.runtime(profile, **own), self.started_with(spec)
        while True:
            try:
                return go_on(runtime)
            except TaskDeferred as deferred:
                event = asyncio.run(_event(deferred.trigger))
                runtime, go_on = self.runtime(profile, **own), self.resumed_by(deferred, event)

    def started_with(self, spec: StepSpec) -> Callable[[KubernetesRuntime], StepSpec]:
        uri = self.store.put_spec(spec)
        return lambda runtime: runtime.run(spec, spec_uri=uri, say=self.said.append)

    def resumed_by(self, deferred: TaskDeferred, event: Any) -> Callable[[KubernetesRuntime], StepSpec]:
        return lambda runtime: runtime.resume(event, say=self.said.append, **(deferred.kwargs or {}))

    def done(self, pod: Pod) -> dict[str, Any]:
        """The status of a pod whose step leaves its manifest."""
        (uri,) = (found["value"] for found in pod["spec"]["containers"][0]["env"] if found["name"] == SPEC_VARIABLE)
        now = datetime.now(UTC).isoformat()
        manifest = StepManifest(status="success", fingerprint=None, outputs={}, metrics={}, started_at=now, ended_at=now)
        self.store.put_manifest(uri.rsplit("/", 1)[0], manifest)
        return terminated(0)


async def _event(trigger: Any) -> Any:
    return (await anext(trigger.run().__aiter__())).payload


@pytest.fixture
def task(settings: Settings, server: PodServer, tmp_path: Path) -> Task:
    made = Task(settings, server, server.kubeconfig(tmp_path))
    server.comes_to = made.done
    server.log = LOG
    return made


both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "in the triggerer"])


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


def ends_once_seen(task: Task, server: PodServer) -> None:
    """Pods run when they are made, and end well after some looks."""
    server.comes_to = lambda _: running()
    server.then = task.done


def text(logged: Any) -> str:
    return str(logged["event"]) % logged["positional_args"] if logged.get("positional_args") else str(logged["event"])


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


QUOTA = (403, 'pods "x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0')


class Hours:
    """Time that passes when somebody waits, or the triggerer does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(runtime.time, "time", lambda: self.now)
        monkeypatch.setattr(runtime.time, "sleep", self.pass_by)
        self.waited: list[float] = []

    def pass_by(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(monkeypatch)


def waits(task: Task, hours: Hours, **own: Any) -> None:
    """Until it waits no more: in the triggerer, where Airflow's own timer begins anew each time."""
    runtime, go_on = task.runtime(deferrable=True, **own), task.started_with(task.spec())
    while True:
        try:
            go_on(runtime)
            return
        except TaskDeferred as deferred:
            hours.pass_by(round((deferred.trigger.moment - datetime.now(UTC)).total_seconds()))
            runtime, go_on = task.runtime(deferrable=True, **own), task.resumed_by(deferred, None)


def test_the_wait_for_the_quota_ends_with_the_tasks_time(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(
        StepFailed, match=r"execution_timeout of 0:01:40: it waited 2 min for the namespace's quota: .*quota: none"
    ):
        waits(task, hours, execution_timeout=timedelta(seconds=100))
    assert hours.waited == [30, 30, 30, 10]
    assert len([line for line in task.said if line.startswith("Waiting ")]) == 2, "every minute"


def test_the_wait_for_the_quota_in_the_worker_ends_too(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(StepFailed, match="execution_timeout of 0:01:40"):
        task.run(deferrable=False, execution_timeout=timedelta(seconds=100))
    assert [round(pause) for pause in hours.waited] == [30, 30, 30, 10]


def test_the_wait_for_the_quota_has_a_limit_of_its_own(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(RuntimeUnavailable, match=r"The namespace's quota was used up for 60 min: .*quota: none"):
        waits(task, hours)
    assert 3600 < sum(hours.waited) <= 3630
    assert [line.split(" for ")[0] for line in task.said[:3]] == ["Waiting 0 s", "Waiting 1 min", "Waiting 2 min"]


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


@both
def test_a_log_that_is_not_wanted_is_not_read(task: Task, server: PodServer, deferrable: bool) -> None:
    ends_once_seen(task, server)
    server.refuses["GET pods/log"] = (403, "never asked")
    with structlog.testing.capture_logs() as logged:
        task.run(deferrable=deferrable, get_logs=False)
    assert not any("forbids" in text(one) for one in logged)


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


def test_a_connection_that_is_not_there_is_named(task: Task) -> None:
    with pytest.raises(SpecError, match=r"^kubernetes_conn_id: Airflow has no connection 'nowhere'$"):
        task.run(kubernetes_conn_id="nowhere")
    task.run(kubernetes_conn_id="kubernetes_default")
