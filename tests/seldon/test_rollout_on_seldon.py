"""Rollouts with real MLServers behind Istio's gateway, under load: what clients see, which pods serve, what is left."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS
from live import again_and_again, until
from released import CANARY, LONG, NAME, TARGET, Released, errors, failed, names
from seldon_child import FileAlias
from seldon_place import NAMESPACE, Place
from served import Alias, example, roll_out

from tradewind.cli.traffic import Traffic
from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.kube import Conflict, Kube
from tradewind.rollout.record import Order, Record
from tradewind.serving.seldon import client

ALIKE = {"latency_ratio": 50, "answer_distance": 1}  # the two models do answer otherwise, which is none of what is tested


@pytest.fixture
def released(clear: Place, models: Path) -> Iterator[Released]:
    yield Released(clear, models)


def test_a_first_release_serves_nobody_before_its_answers_are_right(clear: Place, models: Path, tmp_path: Path) -> None:
    alias, serving = Alias(), clear.serving()
    model = clear.refer(models / "logistic")
    serving.load(TARGET, "1", model)
    url = serving.observe(TARGET).endpoint_url
    assert serving.observe(TARGET).weights == {}
    with Traffic(url, [example(models)]) as early:
        time.sleep(1)
    assert set(early.answers) == {"failed: 404"}
    record = roll_out(serving, alias, "1", model)
    assert record.smoke and record.smoke["difference"] < 1e-6
    assert (serving.observe(TARGET).weights, alias.champion) == ({"1": 100}, "1")
    with Traffic(url, [example(models)]) as late:
        time.sleep(1)
    assert set(late.answers) == {"1"}


def test_a_canary_is_promoted_on_its_pods_and_no_request_is_lost(released: Released) -> None:
    with released.traffic() as load:
        released.begin(CANARY)
        released.until_canary(20)
        pods = released.seldon.pods(NAME, "v2")
        assert len(pods) == 1
        began = time.monotonic()
        record = released.driver().finish(poll_s=0.3)
        took = time.monotonic() - began
        time.sleep(13)  # the old pods have gone
    assert record.phase == "done"
    assert failed(load) == {} and set(load.answers) == {"1", "2"}
    after = released.seldon.pods(NAME, "v2")
    assert set(after) == set(pods), "the promoted pods are those that were the canary"
    assert sum(s["restartCount"] for p in after.values() for s in p["status"]["containerStatuses"]) == 0
    assert (released.weights, released.alias.champion) == ({"2": 100}, "2")
    until(lambda: names(released.seldon) == {f"{NAME}-v2-0-model"}, within_s=60, what="the old version's end")
    assert {r["metadata"]["name"] for r in released.seldon.all("destinationrules")} == {f"{NAME}-v2"}
    counted = record.of("2").requests
    print(f"{sum(load.answers.values())} requests, {dict(load.answers)}; canary counted {counted}; {took:.1f} s to the end")
    assert counted > 60


def test_live_errors_take_it_back_within_ten_seconds(released: Released) -> None:
    with released.traffic() as load:
        released.begin(LONG)
        released.until_canary(25)
        released.spoil(errors)
        record, to_zero = released.finished()
        time.sleep(1)
    assert record.phase == "rolled_back" and record.reason.startswith("errors: "), record.reason
    assert load.ask() == "1"
    print(f"{record.reason}; {to_zero:.1f} s from the decision to no requests")
    assert to_zero < 10
    released.assert_all_old()


def test_a_canary_that_crashes_is_taken_out(released: Released) -> None:
    with released.traffic() as load:
        released.begin(LONG)
        released.until_canary(25)
        released.spoil(lambda p: p["componentSpecs"][0]["spec"]["containers"][0].update(args=["nonsense"]))
        record, to_zero = released.finished()
        time.sleep(1)
    assert record.phase == "rolled_back" and "ended by itself" in record.reason, record.reason
    print(f"{record.reason.splitlines()[0]}; {to_zero:.1f} s; {dict(load.answers)}")
    assert to_zero < 10
    assert failed(load) == {} and load.ask() == "1"
    released.assert_all_old()


def test_a_stable_side_that_is_not_well_holds_up_no_rollback(released: Released) -> None:
    with released.traffic() as load:
        released.begin(LONG)
        released.until_canary(25)
        sdep = released.seldon.get("seldondeployments", NAME)
        for predictor in sdep["spec"]["predictors"]:
            predictor["componentSpecs"][0]["spec"]["containers"][0]["args"] = ["nonsense"]
        path = released.seldon.path("seldondeployments", NAME)
        released.seldon.kube.ask("PATCH", path, {"spec": {"predictors": sdep["spec"]["predictors"]}})
        until(lambda: released.serving.observe(TARGET).versions["2"].restarts, within_s=60, what="the crash")
        released.driver().order("roll_back", by="a person", why="both are broken")
        record, to_zero = released.finished()
        time.sleep(1)
    assert record.phase == "rolled_back"
    print(f"{to_zero:.1f} s; {dict(load.answers)}")
    assert to_zero < 10
    assert failed(load) == {} and load.ask() == "1"
    assert released.weights == {"1": 100}


def test_a_canary_that_never_comes_leaves_nothing(released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_START_S", 15.0)
    options = dataclasses.replace(released.seldon.options, image="localhost/no-such-image:1")
    other = released.seldon.serving()
    other._options = options
    with pytest.raises(RolloutAborted, match=r"cannot be served: it is not ready.*no-such-image"):
        other.load(TARGET, "2", released.alias.models["2"])
    released.assert_all_old()


def test_what_an_operator_forgets_is_cleaned_up(released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Deployment whose pods could never be made is not in the status that the operator cleans up by."""
    monkeypatch.setattr(client, "_START_S", 15.0)
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    released.seldon.kube.ask("POST", path, quota)
    try:
        with pytest.raises(RolloutAborted, match="exceeded quota"):
            released.serving.load(TARGET, "2", released.alias.models["2"])
    finally:
        released.seldon.kube.ask("DELETE", f"{path}/full")
    released.assert_all_old()


@pytest.mark.parametrize("bad", [False, True])
def test_a_storm_of_conflicts_holds_up_neither_a_promotion_nor_a_rollback(
    released: Released, bad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer changes the same SeldonDeployment all the time: most writes are made from what is no more."""
    expected, name = ("1" if bad else "2"), "a storm of conflicts, taken back" if bad else "a storm of conflicts"
    path, writes = released.seldon.path("seldondeployments", NAME), 0

    conflicts, ask, first = [], Kube.ask, itertools.cycle([True, False])

    def counted(kube: Kube, method: str, at: str, *rest: Any, **more: Any) -> Any:
        if (method, at) == ("PATCH", path) and next(first):
            meddle()  # a moment before: chance alone would let some rollouts through without one
        try:
            return ask(kube, method, at, *rest, **more)
        except Conflict:
            conflicts.append(at)
            raise

    monkeypatch.setattr(Kube, "ask", counted)

    def meddle() -> None:
        nonlocal writes
        writes += 1
        with suppress(RuntimeUnavailable):
            ask(released.seldon.kube, "PATCH", path, {"metadata": {"annotations": {"meddled": str(writes)}}})

    with FAULTS.injected(f"{name}, on seldon") as fault, again_and_again(meddle, every_s=0.1), released.traffic() as load:
        released.begin({**(LONG if bad else CANARY), **ALIKE})
        if bad:
            released.until_canary(25)
            released.spoil(errors)
        record, to_zero = released.finished()
        print(f"{record.phase}, {writes} writes of another, {len(conflicts)} conflicts, {to_zero:.1f} s; {dict(load.answers)}")
        assert path in conflicts, "the rollout's own writes met some"
        weights, versions = released.weights, set(released.serving.observe(TARGET).versions)
        wrong = (weights, released.alias.champion) != ({expected: 100}, expected)
        fault.rollout(wrong=wrong, stranded=versions != set(weights))
        assert (wrong, versions) == (False, {expected}), record.reason
        assert to_zero < 10
        assert bad or failed(load) == {}


def test_a_route_changed_by_hand_is_put_back(released: Released) -> None:
    """By Seldon's operator, or by the next tick."""
    with FAULTS.injected("a VirtualService changed by hand, on seldon") as fault, released.traffic() as load:
        released.begin({**CANARY, **ALIKE, "steps": [{"weight": 20, "bake_s": 10}]})
        released.until_canary(20)
        route = released.seldon.get("virtualservices", NAME)
        for found, weight in zip(route["spec"]["http"][0]["route"], (50, 50), strict=True):
            found["weight"] = weight
        path = released.seldon.path("virtualservices", NAME)
        put = released.seldon.kube.ask("PATCH", path, {"spec": {"http": route["spec"]["http"]}})
        assert [found["weight"] for found in put["spec"]["http"][0]["route"]] == [50, 50]
        driver = released.driver()
        until(lambda: driver.tick() and released.weights == {"1": 80, "2": 20}, within_s=10, what="20% again")
        record = driver.finish(poll_s=0.3)
        versions = set(released.serving.observe(TARGET).versions)
        weights = released.weights
        wrong = (weights, released.alias.champion) != ({"2": 100}, "2")
        fault.rollout(wrong=wrong, stranded=versions != set(weights))
        assert (record.phase, wrong, versions) == ("done", False, {"2"}), record.reason
    assert failed(load) == {}


def test_killed_in_each_phase_another_process_goes_on(released: Released, tmp_path: Path) -> None:
    """SIGKILL to a process that ticks, once in each phase; another one, at once, goes on to the end."""
    file = shared_alias(released, tmp_path)
    released.begin({**CANARY, **ALIKE, "replay": ["errors <= 0"], "mirror": {"percent": 50, "bake_s": 5}})
    with released.traffic() as load:
        record, phases = killed_in_each_phase(released, file, expected="2")
    print(phases, dict(load.answers))
    assert record.phase == "done", record.reason
    assert set(phases) >= {"load", "smoke", "replay", "mirror", "canary", "switch", "release"}
    assert failed(load) == {}


def test_killed_while_it_is_held_and_taken_back(released: Released, tmp_path: Path) -> None:
    """The same where too few requests come, and a person takes it back."""
    file = shared_alias(released, tmp_path)
    released.begin({**LONG, "steps": [{"weight": 25, "bake_s": 0}], "patience_s": 0, "min_requests": 1_000_000})
    with released.traffic() as load:
        record, phases = killed_in_each_phase(released, file, expected="1", word="roll_back")
    print(phases, dict(load.answers))
    assert (record.phase, record.reason) == ("rolled_back", "roll back by a person: seen enough")
    assert set(phases) >= {"canary", "held", "roll_back"}
    assert failed(load) == {}
    released.assert_all_old()


def shared_alias(released: Released, folder: Path) -> Path:
    """The alias where other processes find it."""
    models = {version: dataclasses.asdict(model) for version, model in released.alias.models.items()}
    file = folder / "alias.json"
    file.write_text(json.dumps({"champion": "1", "models": models, "example": example(released.models)}))
    released.alias = FileAlias(file)
    return file


def killed_in_each_phase(released: Released, file: Path, *, expected: str, word: Order | None = None) -> tuple[Record, list[str]]:
    """How it ended, and the phases in which a process was killed: at once in the first, then as soon as the phase is another.
    A person says the word where it is held."""
    phases: list[str] = []
    while (record := released.driver().record()) and not record.ended:
        with carried_on(file) as process:
            if record.phase == "held" and word:
                released.driver().order(word, by="a person", why="seen enough")
            until(lambda: begun(released) if not phases else ended(process, released, record.phase), within_s=180, what="a kill")
            struck = released.driver().record()
        assert process.returncode in (0, -signal.SIGKILL), "it ended by itself"
        if process.returncode and struck and not struck.ended:
            phases.append(struck.phase)
    assert record and phases
    weights, versions = released.weights, set(released.serving.observe(TARGET).versions)
    for phase in phases:
        with FAULTS.injected(f"a rollout's process killed on Seldon, in {phase}") as fault:
            fault.rollout(
                wrong=(weights, released.alias.champion) != ({expected: 100}, expected), stranded=versions != set(weights)
            )
            assert (weights, released.alias.champion, versions) == ({expected: 100}, expected, {expected}), record.reason
    return record, phases


def begun(released: Released) -> bool:
    """Whether the new version is being loaded."""
    return "2" in released.serving.observe(TARGET).versions


def ended(process: subprocess.Popen[bytes], released: Released, phase: str) -> bool:
    """The process, or the phase that it carries out."""
    record = released.driver().record()
    return process.poll() is not None or record is None or record.phase != phase


@contextmanager
def carried_on(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """By another process, which is killed at the block's end."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}:{here.parent / 'seams'}"}
    process = subprocess.Popen([sys.executable, here / "seldon_child.py", file, TARGET], env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
