"""The train step: split the table, run the user's function inside an MLflow run, leave a model that can be served."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from tradewind_steps import device as devices
from tradewind_steps.imports import Imports
from tradewind_steps.progress import Progress, Stopped
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")
CARD = "tradewind.json"
SMOKE = "smoke.json"


def run(step: Step) -> StepResult:
    devices.limit_threads(step.spec.resources)
    hyperparameters = dict(step.params.get("params") or {})
    device = devices.choose(step.spec.resources, require_gpu=bool(hyperparameters.get("require_gpu")))
    waiting = Imports("mlflow.sklearn", "mlflow.pyfunc")
    from tradewind_steps.train.prepare import prepare

    data = prepare(step)
    function = step.user_function()
    waiting.done()
    return _train(step, data, function, {**hyperparameters, "device": device}, step.params.get("trial"))


def _train(step: Step, data: Any, function: Any, hyperparameters: dict[str, Any], trial: Mapping[str, Any] | None) -> StepResult:
    from tradewind_steps import tracking
    from tradewind_steps.train.keep import keep
    from tradewind_steps.train.learn import learn

    dataset = data.dataset
    tags = {**tracking.tags_of(step.spec), "tradewind.task": dataset.task}
    if step.checkpoint.resumed_from:
        tags["tradewind.resumed_from"] = step.checkpoint.resumed_from
    progress, judging, name = Progress(), None, None
    if trial:
        from tradewind_steps.sweep.pruning import watched

        progress, judging = watched(step.store, trial)
        name, tags = f"trial {trial['number']}", {**tags, "tradewind.trial": str(trial["number"])}
    with tracking.Run(step.spec, params=hyperparameters, tags=tags, name=name) as mlflow_run:
        log.info(
            "Learning %s (%s) from %d rows and %d features; %d rows held back",
            dataset.label, dataset.task, len(dataset.train.y), len(dataset.features), len(dataset.holdout.y),
        )  # fmt: skip
        try:
            with tracking.explained(str(step.spec.tracking_uri)):  # user code may log by itself
                learned = learn(
                    data, function, hyperparameters, progress, step.spec.entry_point,
                    checkpoint=step.checkpoint, call=partial(_called, step, mlflow_run.run_id), kind=_kind(step, dataset),
                )  # fmt: skip
        except Stopped as stopped:
            return _stopped(stopped, progress, judging, mlflow_run)
        log.info("Learned in %.1f s", learned.seconds)
        mlflow_run.set_tag("tradewind.device", learned.device)
        result = keep(step, data, learned, mlflow_run)
    if trial and progress.curve:  # later trials are judged by it
        result.metrics |= {"curve": progress.curve, "attrs": judging.attrs if judging else {}}
    return result


def _called(step: Step, run_id: str, function: Any, dataset: Any, hyperparameters: dict[str, Any], **more: Any) -> Any:
    """The user's function, in this process or in one for each of several GPUs: there nobody asks how it goes."""
    from tradewind_steps.train import processes

    gpus = devices.count_gpus() if hyperparameters["device"] == "cuda" else 0
    number = processes.count(step.spec.resources, gpus)
    if number == 1:
        return function(dataset, hyperparameters, **more)
    work = processes.Work(
        entry_point=str(step.spec.entry_point), dataset=dataset, params=hyperparameters, folder=step.scratch / "processes",
        mlflow_run_id=run_id,
    )  # fmt: skip
    return processes.run(work, number)


def _kind(step: Step, dataset: Any) -> Any:
    """What makes a model of what the user's function returns: files for a predictor, where the task names one."""
    asked = step.params.get("predictor")
    if asked is None:
        from tradewind_steps.flavors import Model

        return Model
    from tradewind_steps.predictor.model import PredictorModel

    folder = step.scratch / "predictor"
    return partial(PredictorModel, asked=asked, features=dataset.train.X.head(1), source=step.code_folder(), folder=folder)


def _stopped(stopped: Stopped, progress: Progress, judging: Any, mlflow_run: Any) -> StepResult:
    """A poor trial's end is a success without a model, and is never reused: another sweep may have let it go on."""
    log.info("Ended early %s: poor beside the trials before", stopped)
    mlflow_run.log_figures({}, {"reported": [value for _, value in progress.curve]}, None)
    mlflow_run.set_tag("tradewind.trial_state", "pruned")
    return StepResult(
        metrics={
            "state": "pruned",
            "curve": progress.curve,
            "attrs": judging.attrs,
            "mlflow_run_id": mlflow_run.run_id,
            "experiment_id": mlflow_run.experiment_id,
        },
        reusable=False,
    )
