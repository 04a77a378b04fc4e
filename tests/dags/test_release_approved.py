"""A person's word before a release, in ``dag.test()``: a small Dag that asks, and the template's chain with the step in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from in_process import AT_ONCE, Dags, Run
from live import ask, copy_template, until
from releases import CODE, Releases

from tradewind.registry import CHAMPION

NAME = "asks"
DAG = """
from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from tradewind.operators import ApproveReleaseOperator

with DAG(
    "asks", schedule=None, start_date=datetime(2013, 1, 1), params={"version": Param({}, type="object")},
    render_template_as_native_obj=True, default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
):
    ApproveReleaseOperator(task_id="approve", version={"metrics": "{{ params.version }}"}, approvers=["anna", "bert"]%s)
"""
YES = {"option": "Approve", "by": "anna", "why": "as good as before"}


@pytest.fixture(scope="module")
def made(dags: Dags) -> Releases:
    (dags.folder / NAME).mkdir()
    write(dags)
    releases = Releases(dags.store, dags.registry, NAME)
    releases.make("one")
    dags.registry.promote(NAME, "1")
    return releases


def write(dags: Dags, more: str = "") -> None:
    (dags.folder / NAME / "dag.py").write_text(DAG % more)


@pytest.fixture(scope="module")
def second(made: Releases) -> dict[str, Any]:
    return made.make("two", champion="1", champion_auc=0.7, auc=0.75, code={**CODE, "train.py": b"# other\n"})


def page(dags: Dags, run: Run) -> str:
    found = dags.store.latest_manifest(NAME, run.run_id, "approve")
    assert found
    return dags.store.read(found[1].outputs["report"].uri).decode()


def test_approved(dags: Dags, second: dict[str, Any]) -> None:
    run = dags.run(NAME, answer=YES, version=second)
    assert run.state == "success"
    [question] = run.asked
    assert question["subject"] == "May asks version 2 serve?"
    assert question["approvers"] == ["anna", "bert"]
    assert "1 file, 0 settings, 0 packages, 0 columns changed" in question["body"]
    metrics = run.metrics("approve")
    assert {name: metrics[name] for name in second} == second, "what the register task said, so that a rollout takes it"
    approval = metrics["approval"]
    assert (approval["by"], approval["by_id"], approval["why"]) == ("anna", "anna", "as good as before")
    assert approval["pins"]["champion"] == "1"
    text = page(dags, run)
    assert "APPROVED" in text
    assert all(pin in text for pin in approval["pins"].values())


def test_rejected(dags: Dags, second: dict[str, Any]) -> None:
    run = dags.run(NAME, answer={"option": "Reject", "by": "bert", "why": "not on a Friday"}, version=second)
    assert (run.state, run.tasks["approve"]["try_number"]) == ("failed", 1), "a no is not tried again"
    assert "asks version 2 was rejected by bert: not on a Friday" in run.log
    assert "REJECTED" in page(dags, run)


def test_somebody_else_is_refused(dags: Dags, second: dict[str, Any]) -> None:
    run = dags.run(NAME, answer={**YES, "by": "mallory"}, version=second)
    assert (run.state, run.tasks["approve"]["try_number"]) == ("failed", 1)
    assert "mallory is not among those who may answer: anna, bert" in run.log


def test_nobody_answers_in_time(dags: Dags, second: dict[str, Any], tmp_path: Path) -> None:
    write(dags, ", response_timeout=timedelta(seconds=3)")
    run = dags.run(NAME, answer=str(tmp_path / "never"), version=second)
    write(dags)
    assert (run.state, run.tasks["approve"]["try_number"]) == ("failed", 1)
    assert "Nobody answered within 0:00:03: clear the task to ask again" in run.log


@contextmanager
def asked(dags: Dags, answer: Path, version: dict[str, Any]) -> Iterator[list[Run]]:
    """A run that waits for its answer while the block is at work; gets it at the block's end, and ends."""
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(dags.run(NAME, answer=str(answer), version=version)))
    runs = dags.store.run_uri(NAME)
    before = set(dags.store.names(runs))
    thread.start()

    def waits() -> bool:
        new = set(dags.store.names(runs)) - before
        return any(dags.store.files(f"{runs}/{run}/approve") for run in new)

    until(waits, within_s=120, what="the question")
    yield done
    answer.write_text(json.dumps(YES))
    thread.join(120)


def test_the_champion_changed_between_question_and_answer(
    dags: Dags, second: dict[str, Any], made: Releases, tmp_path: Path
) -> None:
    other = made.make("three", auc=0.71)["version"]
    with asked(dags, tmp_path / "answer", second) as done:
        dags.registry.set_alias(NAME, CHAMPION, other)
    dags.registry.set_alias(NAME, CHAMPION, "1")
    [run] = done
    assert (run.state, run.tasks["approve"]["try_number"]) == ("failed", 1)
    assert (
        "The approval of asks version 2 by anna is void, what they saw has changed: champion was 1, is 3; champion's model"
        in run.log
    )


def test_what_the_gate_left_changed_between_question_and_answer(dags: Dags, second: dict[str, Any], tmp_path: Path) -> None:
    kept = dags.store.read(second["gate"])
    with asked(dags, tmp_path / "answer", second) as done:
        dags.store.write(second["gate"], kept.replace(b'"auc":0.75', b'"auc":0.99'))
    dags.store.write(second["gate"], kept)
    assert done[0].state == "failed"
    assert "is void, what they saw has changed: gate was " in done[0].log


def test_a_rollout_that_is_not_the_approved_one_does_not_begin(dags: Dags, second: dict[str, Any]) -> None:
    file = dags.folder / NAME / "dag.py"
    text = file.read_text().replace("import Approve", "import SeldonRolloutOperator, Approve")
    text = text.replace("    Approve", "    approved = Approve").replace('"bert"])', '"bert"], rollout={"patience_s": 7})')
    file.write_text(
        f'{text}\n    SeldonRolloutOperator(task_id="rollout", version=approved.output, rollout={{"patience_s": 8}})\n'
    )
    run = dags.run(NAME, answer=YES, version=second)
    write(dags)
    assert run.tasks["approve"]["state"] == "success"
    assert (run.tasks["rollout"]["state"], run.tasks["rollout"]["try_number"]) == ("failed", 1)
    assert "The approval of asks version 2 by anna is void, what they saw has changed: rollout was " in run.log
    assert dags.registry.releases(NAME) == [], "nothing was begun"


def test_the_champion_needs_no_word(dags: Dags, second: dict[str, Any]) -> None:
    run = dags.run(NAME, answer={**YES, "option": "Reject"}, version={**second, "version": "1"})
    assert run.state == "success"
    assert run.asked == []
    assert run.metrics("approve")["approval"] is None
    assert "asks version 1 is the champion already: nothing to approve" in run.log


@pytest.mark.long
def test_the_templates_chain_with_an_approval(dags: Dags) -> None:
    """With the template's own knob: first the record says who let it serve, then a no leaves the champion."""
    name = "approved"
    ask(copy_template(dags.folder, name) / "dag.py", "anna")
    first = dags.run(name, answer=YES)
    assert first.state == "success"
    assert first.metrics("rollout")["version"] == "1"
    [note] = dags.registry.releases(name)
    assert note["why"] == "approved by anna: as good as before"
    assert (note["approved_by"], note["approved_by_id"]) == ("anna", "anna")
    second = dags.run(name, answer={**YES, "option": "Reject", "why": "no need"}, trees=90, **{"rules": AT_ONCE["rules"]})
    assert second.state == "failed"
    assert second.tasks["rollout"]["state"] == "upstream_failed"
    found = dags.store.latest_manifest(name, second.run_id, "approve")
    assert found
    text = dags.store.read(found[1].outputs["report"].uri).decode()
    for shown in (
        "train.params.trees",
        "carrier = UA",
        "features: peak memory, MB",
        "dataset of validate",
        "environment of train",
        "<h2>Rollout</h2>",
    ):
        assert shown in text, shown
    champion = dags.registry.by_alias(name, CHAMPION)
    assert champion
    assert champion.version == "1"
    assert dags.run(name).metrics("approve")["approval"] is None, "the champion again: nobody is asked"
