"""The end of a sweep whose trials were steps of their own: its report, its MLflow run above theirs, the best one's model."""

from __future__ import annotations

import logging
from typing import Any

from tradewind.errors import StepFailed
from tradewind.sweep.best import parse_best
from tradewind.sweep.study import Search, Trial, summary, too_many_failed
from tradewind_steps import tracking
from tradewind_steps.step import Step, StepResult
from tradewind_steps.sweep import put_outcome
from tradewind_steps.sweep.ledger import PARENT_TAG
from tradewind_steps.sweep.search import parent_run, show

log = logging.getLogger("tradewind")


def run(step: Step) -> StepResult:
    params = step.params
    search = Search.from_dict(params["search"])
    known = [Trial.from_dict({**trial, "reused": trial["number"] in params["reused"]}) for trial in params["known"]]
    model: dict[str, Any] | None = params["model"]
    best = parse_best(params["metric"], params["rules"], model["task"] if model else None)
    with parent_run(step, search, best) as run:
        _adopt(run, known)
        failure = too_many_failed(known, search.trials, float(params["max_failed"]))
        chosen = best.choose(known) if model and not failure else None
        facts = {**summary(known, best.metric, chosen), "experiment_id": run.experiment_id, "mlflow_run_id": run.run_id}
        put_outcome(step, known, search, params, chosen, facts)
        show(run, step, chosen)
        if failure:
            raise StepFailed(failure, retryable=False)
        best.choose(known)  # says why there is none
    assert model
    step.outputs["model"] = step.spec.inputs["model"]
    metrics = {name: value for name, value in model.items() if name not in ("curve", "attrs")}
    return StepResult(metrics={**metrics, "sweep": facts})


def _adopt(run: tracking.Run, known: list[Trial]) -> None:
    """Show the trials' runs below this one; one that an earlier sweep has made stays below that."""
    for run_id in (trial.run_id for trial in known if trial.run_id):
        with tracking.explained(run.uri):
            if PARENT_TAG not in run.client.get_run(run_id).data.tags:
                run.client.set_tag(run_id, PARENT_TAG, run.run_id)
