"""The sweep step, for real: trials in a pool of processes, what they leave, and what goes wrong with some of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from learning import Learning, call, make_tables
from live import gone, until
from sweeping import Sweeps

from tradewind.contract import StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.store import hash_folder

TREE = """
import os
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def train(dataset, params):
    {before}
    trees = GradientBoostingClassifier(n_estimators=5, max_depth=params["depth"], learning_rate=params["rate"], random_state=0)
    return make_pipeline(SimpleImputer(), trees).fit(dataset.train.X, dataset.train.y)
"""
PLAIN = TREE.format(before="assert params['kept'] == 1 and params['device'] == 'cpu'")
FAULTY = TREE.format(
    before="""
    if params["depth"] == 2:
        raise KeyError("no depth of two")
    if params["depth"] == 3:
        os.kill(os.getpid(), 9)
"""
)
REPORTING = """
from sklearn.dummy import DummyClassifier

def train(dataset, params, report):
    for step in range(10):
        report(step, params["depth"] + step / 100)
    return DummyClassifier(strategy="constant", constant=0).fit(dataset.train.X, dataset.train.y)
"""
BOOSTED = """
from xgboost import XGBClassifier

def train(dataset, params, report=None):
    model = XGBClassifier(
        n_estimators=20, max_depth=params["depth"], learning_rate=params["rate"], random_state=0,
        callbacks=[report.xgboost] if report else None,
    )
    return model.fit(dataset.train.X, dataset.train.y, eval_set=[(dataset.holdout.X, dataset.holdout.y)], verbose=False)
"""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Sweeps:
    return Sweeps(Learning(make_tables(tmp_path_factory.mktemp("sweep"), environments), environments))


@pytest.fixture(scope="module")
def first(sweeps: Sweeps) -> StepManifest:
    done = sweeps.run(PLAIN)
    assert done.status == "success", done.error
    return done


def points(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [trial["params"] for trial in trials]


def test_the_best_model_is_what_a_training_would_have_left(sweeps: Sweeps, first: StepManifest) -> None:
    facts = first.metrics["sweep"]
    trials = sweeps.study(first)
    best = max(trials, key=lambda trial: trial["metrics"]["auc"])
    assert (facts["trials"], facts["complete"], facts["reused"], facts["best"]) == (6, 6, 0, best["number"])
    assert facts["params"] == best["params"]
    assert first.metrics["auc"] == best["metrics"]["auc"] == facts["value"]
    assert first.metrics["mlflow_run_id"] == best["run_id"]
    folder = Path(first.outputs["model"].uri.removeprefix("file://"))
    assert first.outputs["model"].sha256 == hash_folder(folder)
    training = sweeps.training(sweeps.spec(PLAIN), facts["params"])
    assert training.fingerprint
    cached = sweeps.learning.store.cached(training.fingerprint)
    assert cached, "a training with these hyperparameters finds it"
    assert cached[1].outputs["model"] == first.outputs["model"]
    alone = sweeps.finish(sweeps.start(training))
    assert alone.metrics.keys() == cached[1].metrics.keys() == first.metrics.keys() - {"sweep"}
    assert alone.metrics["content_sha256"] == first.metrics["content_sha256"]


def test_mlflow_shows_a_run_a_trial_below_the_sweeps(sweeps: Sweeps, first: StepManifest) -> None:
    found = call(sweeps.learning.python, "sweep_probe.py", sweeps.learning.tracking_uri, first.metrics["sweep"]["mlflow_run_id"])
    assert found["parent"]["status"] == "FINISHED"
    assert found["parent"]["metrics"]["auc"] == pytest.approx(first.metrics["auc"])
    assert found["parent"]["files"] == ["report.html", "study.json"]
    assert [child["name"] for child in found["children"]] == [f"trial {number}" for number in range(6)]
    assert {child["status"] for child in found["children"]} == {"FINISHED"}
    for child, trial in zip(found["children"], sweeps.study(first), strict=True):
        assert child["metrics"]["auc"] == pytest.approx(trial["metrics"]["auc"])
        assert child["params"] == {"kept": "1", "device": "cpu", **{name: str(value) for name, value in trial["params"].items()}}
    assert [child["models"] for child in found["children"]].count(1) == 1, "only the best has a model"


def test_the_report_needs_nothing_else(sweeps: Sweeps, first: StepManifest) -> None:
    text = sweeps.learning.store.read(first.outputs["report"].uri).decode()
    assert text.count("<svg") == 3
    assert "The search" in text
    assert "What mattered" in text
    assert "Hyperparameters and what came of them" in text
    assert text.count("<tr>") == 7
    assert 'src="' not in text
    assert 'href="http' not in text


def test_a_longer_sweep_takes_what_is_known(sweeps: Sweeps, first: StepManifest) -> None:
    """However many at once."""
    longer = sweeps.run(PLAIN, trials=8, parallel=1)
    assert longer.status == "success", longer.error
    trials = sweeps.study(longer)
    assert points(trials)[:6] == points(sweeps.study(first))
    assert [trial["reused"] for trial in trials] == [True] * 6 + [False] * 2
    assert longer.metrics["sweep"]["reused"] == 6
    assert longer.metrics["auc"] >= first.metrics["auc"]


def test_ties_are_broken_by_rule(sweeps: Sweeps, first: StepManifest) -> None:
    """The model of a trial that nobody has in memory any more is made once more."""
    tied = sweeps.run(PLAIN, rules=["max auc within 1", "max accuracy", "min logloss", "accuracy >= 0.1"])
    assert tied.status == "success", tied.error
    trials = sweeps.study(tied)
    assert all(trial["reused"] for trial in trials)
    best = max(trials, key=lambda trial: (trial["metrics"]["accuracy"], -trial["metrics"]["logloss"]))
    assert tied.metrics["sweep"]["best"] == best["number"]
    assert tied.metrics["accuracy"] == best["metrics"]["accuracy"]


def test_rules_that_let_no_trial_through_are_named_after_the_report(sweeps: Sweeps) -> None:
    none = sweeps.run(PLAIN, rules=["brier <= 0.0001"], trials=2)
    assert none.error
    assert none.error.type == "SpecError"
    assert "'brier <= 0.0001' holds for none of 2 trials" in none.error.message
    assert "There is no best trial" in sweeps.learning.store.read(none.outputs["report"].uri).decode()


def test_a_trial_that_fails_or_is_killed_is_counted(sweeps: Sweeps) -> None:
    done = sweeps.run(FAULTY, sampler="grid", trials=None, space={"depth": [1, 2, 3, 4], "rate": [0.5]}, max_failed=0.5)
    assert done.status == "success", done.error
    trials = sweeps.study(done)
    assert [trial["state"] for trial in trials] == ["complete", "failed", "failed", "complete"]
    assert trials[1]["error"] == "KeyError: 'no depth of two'"
    assert "signal 9" in trials[2]["error"]
    assert done.metrics["sweep"]["best"] in (0, 3)
    text = sweeps.learning.store.read(done.outputs["report"].uri).decode()
    assert "no depth of two" in text


def test_too_many_failures_end_it(sweeps: Sweeps) -> None:
    done = sweeps.run(FAULTY, sampler="grid", trials=None, space={"depth": [2, 3], "rate": [0.4, 0.5, 0.6, 0.7]}, parallel=1)
    assert done.error
    assert done.error.type == "StepFailed"
    assert not done.error.retryable
    assert "3 of 8 trials failed, expected at most a share of 0.25 (max_failed)" in done.error.message
    assert "KeyError: 'no depth of two'" in done.error.message
    assert len(sweeps.study(done)) == 3, "the rest was not begun"
    assert "report" in done.outputs
    found = call(sweeps.learning.python, "sweep_probe.py", sweeps.learning.tracking_uri, "last")
    assert found["parent"]["status"] == "FAILED"
    assert len(found["children"]) >= 3 and not [child for child in found["children"] if child["status"] == "RUNNING"]


def test_poor_trials_end_early_and_always_the_same(sweeps: Sweeps) -> None:
    """By what earlier batches have reached: a higher ``depth`` is better here, from the first step on."""
    grid = {"depth": list(range(12, 0, -1))}
    asked: dict[str, Any] = {"sampler": "grid", "trials": None, "space": grid, "pruner": "median", "warm_up": 2}
    done = sweeps.run(REPORTING, **asked, parallel=3)
    assert done.status == "success", done.error
    trials = sweeps.study(done)
    states = [trial["state"] for trial in trials]
    assert states == ["complete"] * 4 + ["pruned"] * 8
    assert {len(trial["curve"]) for trial in trials[:4]} == {10}
    assert {trial["curve"][-1][0] for trial in trials[4:]} == {2}, "after the warm-up, at once"
    again = sweeps.run(REPORTING, **asked, parallel=1, identity=None)
    assert [trial["state"] for trial in sweeps.study(again)] == states
    assert again.metrics["sweep"]["reused"] == 0
    later = sweeps.run(REPORTING, **{**asked, "trials": None}, parallel=1)
    assert later.metrics["sweep"]["reused"] == 12, "pruned ones too: what was before them is the same"


def test_xgboost_reports_by_the_callback_that_is_handed_in(sweeps: Sweeps) -> None:
    space = {"depth": [1, 2, 3, 4], "rate": [0.3, 0.0001]}
    done = sweeps.run(BOOSTED, sampler="tpe", space=space, trials=8, pruner="halving", warm_up=4, seed=3)
    assert done.status == "success", done.error
    trials = sweeps.study(done)
    curves = {len(trial["curve"]) for trial in trials if trial["state"] == "complete"}
    assert curves == {20}
    pruned = [trial for trial in trials if trial["state"] == "pruned"]
    assert all(4 <= len(trial["curve"]) < 20 for trial in pruned)
    assert pruned
    training = sweeps.training(sweeps.spec(BOOSTED), done.metrics["sweep"]["params"])
    alone = sweeps.finish(sweeps.start(training))
    assert alone.metrics["content_sha256"] == done.metrics["content_sha256"], "the callback is no part of the model"


def test_a_metric_of_another_task_is_named_before_anything_runs(sweeps: Sweeps) -> None:
    done = sweeps.run(PLAIN, metric="rmse")
    assert done.error
    assert done.error.type == "SpecError"
    assert "there is no metric 'rmse'; a binary model has auc" in done.error.message
    assert "report" not in done.outputs


def test_what_is_wrong_with_the_data_is_the_steps_error(sweeps: Sweeps) -> None:
    done = sweeps.run(PLAIN, train={"label": "lat"})
    assert done.error
    assert done.error.type == "ValidationFailed"
    assert "no column 'lat'" in done.error.message


def test_a_sweep_that_is_killed_goes_on_where_it_was(sweeps: Sweeps, tmp_path: Path) -> None:
    mark = tmp_path / "trials"
    mark.mkdir()
    body = TREE.format(
        before=f"""
    open({str(mark)!r} + "/" + str(params["depth"]) + "-" + str(os.getpid()), "w").close()
    if params["depth"] == 3 and not os.path.exists({str(mark)!r} + "/go"):
        import time; time.sleep(600)
    """
    )
    asked: dict[str, Any] = {"sampler": "grid", "trials": None, "space": {"depth": [1, 2, 3, 4], "rate": [0.5]}, "parallel": 1}
    store = sweeps.learning.store
    before = len(store.files(f"{store.root}/cache"))
    started = sweeps.start(sweeps.spec(body, run_id="killed", **asked))
    third = until(lambda: next(mark.glob("3-*"), None), within_s=180, what="the third trial")
    until(lambda: len(store.files(f"{store.root}/cache")) >= before + 2, within_s=60, what="the notes on the first two")
    os.kill(started[1].pid, signal.SIGKILL)
    started[1].wait()
    if left := alive(int(third.name.split("-")[1])):
        gone(left, within_s=20)
    (mark / "go").touch()
    done = sweeps.finish(sweeps.start(sweeps.spec(body, run_id="killed", try_number=2, **asked)))
    assert done.status == "success", done.error
    depths = sorted(path.name.split("-")[0] for path in mark.glob("*-*"))
    assert depths.count("1") == depths.count("4") == 1, "finished trials are not repeated"
    assert depths.count("3") == 2, "it had not ended"
    assert depths.count("2") == 2, "the best: its model was in the memory of a process that was killed"
    assert done.metrics["sweep"]["reused"] == 2
    found = call(sweeps.learning.python, "sweep_probe.py", sweeps.learning.tracking_uri, done.metrics["sweep"]["mlflow_run_id"])
    names = sorted(child["name"] for child in found["children"])
    assert names == ["trial 0", "trial 1", "trial 1 again", "trial 2", "trial 3"]
    assert found["statuses"].count("RUNNING") == 0


def alive(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []
