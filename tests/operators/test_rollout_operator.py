"""What the rollout's task says when it resumes late: by then the record beside the serving may be another rollout's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from live import linked_home, services
from rollout_world import ALL_OLD, CANARY, State, World

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.operators import SeldonRolloutOperator
from tradewind.operators.release_input import rollout_spec
from tradewind.registry import Registry
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.client import LocalServing
from tradewind.settings import Settings

NAME = "late"
ASKED = {"name": NAME, "version": "2"}
MODEL = ArtifactRef(uri="file:///nowhere", sha256="0" * 64, size=1, kind="model")
CONTEXT: Any = {"ti": SimpleNamespace(dag_id=NAME, run_id="manual__1", task_id="rollout", try_number=1, max_tries=2)}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[str]:
    """MLflow, with one release record."""
    home = linked_home(tmp_path_factory.mktemp("registry") / "home", environments)
    with services(home, home, "mlflow") as (_, at), Registry(at.mlflow) as found:
        found.note_release(NAME, "mine", {"at": 1.0, "outcome": "rolled back", "version": "2", "reason": "errors: 5 of 9"})
        yield at.mlflow


@pytest.fixture
def task(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeldonRolloutOperator]:
    """A task that waits for the attempt ``mine``, while the record is the attempt ``other``'s, of version 3, which is done."""
    monkeypatch.setenv("AIRFLOW__TRADEWIND__HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__TRADEWIND__TRACKING_URI", registry)
    other = Record(
        id="other", target=NAME, version="3", model=MODEL, stable="1", champion="1", spec=RolloutSpec(), by="x", phase="done"
    )
    LocalServing(folder=tmp_path / "serving").keep_record(NAME, other.to_dict())
    Settings.load.cache_clear()
    yield SeldonRolloutOperator(task_id="rollout", version={"metrics": ASKED})
    Settings.load.cache_clear()


def resumed(task: SeldonRolloutOperator, attempt: str) -> Any:
    return task.resume(CONTEXT, {"phase": "rolled_back"}, asked=ASKED, attempt=attempt)


def test_its_own_end_is_told_not_the_next_ones(task: SeldonRolloutOperator) -> None:
    with pytest.raises(AirflowFailException, match="Version 2 of late was rolled back: errors: 5 of 9"):
        resumed(task, "mine")


def test_what_nobody_knows_is_no_success(task: SeldonRolloutOperator) -> None:
    with pytest.raises(AirflowFailException, match="no release record says what came of version 2"):
        resumed(task, "unknown")


def test_a_template_may_stand_anywhere_in_the_rollout() -> None:
    """Rendered by a Dag that renders no native objects, all is text."""
    rendered = {"steps": [{"weight": "10", "bake_s": "60"}], "mirror": {"percent": "50"}, "replay": ["errors <= 0"]}
    asked = {"steps": [{"weight": 10, "bake_s": 60}], "mirror": {"percent": 50}, "replay": ["errors <= 0"]}
    assert rollout_spec(rendered) == rollout_spec(asked) == rollout_spec({**asked, "steps": str(asked["steps"])})


STAYS: State = ({"1": 100}, {"1", "2"}, "1")


@pytest.mark.parametrize(
    ("kind", "last", "state"),
    [(RuntimeUnavailable, False, STAYS), (RuntimeUnavailable, True, ALL_OLD)],
)
def test_who_gives_up_leaves_no_canary_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], last: bool, state: State
) -> None:
    world = World(tmp_path).serving("1")
    record = world.begin("2", CANARY)
    shift = world.shift

    def refused(target: str, weights: dict[str, int], **given: Any) -> None:
        if "2" in weights:
            raise kind("The gateway takes no change")
        shift(target, weights, **given)

    monkeypatch.setattr(world, "shift", refused)
    monkeypatch.setattr("tradewind.operators.rollout._SILENCE_S", 0.0)
    task = SeldonRolloutOperator(task_id="rollout", version={})
    with pytest.raises(kind, match="takes no change"):
        task._carried_out(world.driver(), record.id, last=last)
    assert world.state() == state


def test_a_moments_silence_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path).serving("1")
    record = world.begin("2", CANARY)
    shift, silent = world.shift, iter(range(3))

    def late(target: str, weights: dict[str, int], **given: Any) -> None:
        if next(silent, None) is not None:
            raise RuntimeUnavailable("Nothing answers")
        shift(target, weights, **given)

    monkeypatch.setattr(world, "shift", late)
    task = SeldonRolloutOperator(task_id="rollout", version={}, poll_interval=0.0)
    waits = task._carried_out(world.driver(), record.id, last=True)
    assert waits and waits.phase == "canary" and next(silent, None) is None


def test_ended_in_the_silence_it_is_taken_back_when_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path).serving("1")
    record = world.begin("2", CANARY)
    task = SeldonRolloutOperator(task_id="rollout", version={})
    lock, calls = world.lock, iter(range(100))

    def silent(target: str, **given: Any) -> Any:
        if 3 < next(calls) < 8:
            raise RuntimeUnavailable("Nothing answers")
        return lock(target, **given)

    def sleep(seconds: float) -> None:
        if not task._killed:
            task.on_kill()

    monkeypatch.setattr(world, "lock", silent)
    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(RolloutAborted, match="The task was ended"):
        task._carried_out(world.driver(), record.id, last=False)
    assert next(calls) > 8
    assert world.state() == ALL_OLD
