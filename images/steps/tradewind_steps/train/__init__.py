"""The train step: split the table, run the user's function inside an MLflow run, leave a model that can be served."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from tradewind.errors import SpecError, ValidationFailed
from tradewind.store import hash_file, hash_names
from tradewind_steps import device as devices
from tradewind_steps.imports import Imports
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")
CARD = "tradewind.json"
SMOKE = "smoke.json"
_IMPORTANCE_CELLS = 100_000  # rows times features that feature importance is measured on
_IMPORTANCE_ROWS = 1000
_TRAIN_ROWS = 50_000  # as many of the rows learned from are measured: enough to see overfitting by


def run(step: Step) -> StepResult:
    devices.limit_threads(step.spec.resources)
    hyperparameters = dict(step.params.get("params") or {})
    device = devices.choose(step.spec.resources, require_gpu=bool(hyperparameters.get("require_gpu")))
    waiting = Imports("mlflow.sklearn", "mlflow.pyfunc")
    from tradewind_steps.train.prepare import prepare

    data = prepare(step)
    function = step.user_function()
    waiting.done()
    return _train(step, data, function, {**hyperparameters, "device": device})


def _train(step: Step, data: Any, function: Any, hyperparameters: dict[str, Any]) -> StepResult:
    from tradewind_steps import flavors, tracking
    from tradewind_steps.metrics import MAIN

    dataset = data.dataset
    tags = {**tracking.tags_of(step.spec), "tradewind.task": dataset.task, "tradewind.device": hyperparameters["device"]}
    if step.checkpoint.resumed_from:
        tags["tradewind.resumed_from"] = step.checkpoint.resumed_from
    with tracking.Run(step.spec, params=hyperparameters, tags=tags) as mlflow_run:
        log.info(
            "Learning %s (%s) from %d rows and %d features; %d rows held back",
            dataset.label, dataset.task, len(dataset.train.y), len(dataset.features), len(dataset.holdout.y),
        )  # fmt: skip
        started = time.monotonic()
        with tracking.explained(str(step.spec.tracking_uri)):  # user code may log by itself
            returned = _called(step, function, data.for_user(step.checkpoint), hyperparameters, mlflow_run.run_id)
        seconds = round(time.monotonic() - started, 3)
        if returned is None:
            raise SpecError(f"{step.spec.entry_point} returned None, expected the model: its last line should be 'return model'")
        flavors.use_cpu(returned)
        model = flavors.Model(returned, task=dataset.task, classes=len(dataset.classes))
        log.info("Learned in %.1f s", seconds)
        metrics = _measure(model, dataset)
        model_id = mlflow_run.new_model()
        folder = _save(step, model, data, {"mlflow_run_id": mlflow_run.run_id, "model_id": model_id})
        mlflow_run.log_figures(metrics, flavors.learning_curve(returned), model_id)
        mlflow_run.log_model(model_id, folder)
        mlflow_run.log_files(_run_files(step, model, dataset))
    ref = step.put("model", "model")
    main = MAIN[dataset.task]
    return StepResult(
        metrics={
            **{name: value for name, value in metrics.items() if not name.startswith("train_")},
            f"train_{main}": metrics[f"train_{main}"],
            "task": dataset.task,
            "rows_train": len(dataset.train.y),
            "rows_holdout": len(dataset.holdout.y),
            "features": len(dataset.features),
            "device": hyperparameters["device"],
            "seconds_fit": seconds,
            "data_start": data.start,
            "data_end": data.end,
            "mlflow_run_id": mlflow_run.run_id,
            "experiment_id": mlflow_run.experiment_id,
            "model_id": model_id,
            "content_sha256": content_hash(folder),
            "model_mb": round(ref.size / 1e6, 3),
        }
    )


def _called(step: Step, function: Any, dataset: Any, hyperparameters: dict[str, Any], run_id: str) -> Any:
    """The user's function, in this process or in one for each of several GPUs."""
    from tradewind_steps.train import processes

    gpus = devices.count_gpus() if hyperparameters["device"] == "cuda" else 0
    number = processes.count(step.spec.resources, gpus)
    if number == 1:
        return function(dataset, dict(hyperparameters))
    work = processes.Work(
        entry_point=str(step.spec.entry_point), dataset=dataset, params=hyperparameters, folder=step.scratch / "processes",
        mlflow_run_id=run_id,
    )  # fmt: skip
    return processes.run(work, number)


def content_hash(folder: Path) -> str:
    """sha256 of a model folder without what names the run and the time: equal for equal training, where the library that
    learned gives equal results."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("MLmodel", CARD))
    return hash_names([(path.relative_to(folder).as_posix(), hash_file(path)) for path in files])


def _measure(model: Any, dataset: Any) -> dict[str, float | None]:
    """Metrics on the holdout by their names, and on (a sample of) the rows learned from with ``train_`` before them."""
    from tradewind_steps import flavors
    from tradewind_steps.metrics import measure

    found: dict[str, float | None] = {}
    learned = dataset.train.X.sample(min(_TRAIN_ROWS, len(dataset.train.X)), random_state=0)
    parts = (("", dataset.holdout.X, dataset.holdout.y), ("train_", learned, dataset.train.y.loc[learned.index]))
    for prefix, rows, labels in parts:
        scores = flavors.score(model.predict(rows), dataset.task)
        found |= {f"{prefix}{name}": value for name, value in measure(dataset.task, labels.to_numpy(), scores).items()}
    return found


def _save(step: Step, model: Any, data: Any, ids: dict[str, str]) -> Path:
    """The model folder at its place, loaded once to see that it predicts as the model did in memory."""
    import mlflow.pyfunc
    import numpy as np

    from tradewind_steps import smoke

    dataset = data.dataset
    folder = step.output_path("model")
    rows = smoke.choose(dataset.holdout.X)
    model.save(folder, example=rows.head(5), code=step.scratch / "code")
    answers = np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(rows))
    if not np.allclose(answers, model.predict(rows), rtol=1e-6, atol=1e-6, equal_nan=True):
        raise ValidationFailed(
            "The model predicts otherwise once it was saved and loaded: it depends on something that is not in it"
        )
    card = {
        "label": dataset.label,
        "task": dataset.task,
        "features": dataset.features,
        "classes": dataset.classes,
        "time_column": data.time_column,
        "split": data.split.to_dict(),
        "data_sha256": step.spec.inputs["dataset"].sha256,
        **ids,
    }
    (folder / CARD).write_text(json.dumps(card, indent=1, default=str))
    (folder / SMOKE).write_text(json.dumps(smoke.document(rows, answers), allow_nan=False))
    return folder


def _run_files(step: Step, model: Any, dataset: Any) -> Path:
    """What the MLflow run shows beside the model: feature importance and the environment's packages."""
    from tradewind_steps import flavors
    from tradewind_steps.metrics import importances
    from tradewind_steps.plots import importance_plot

    folder = step.scratch / "run_files"
    folder.mkdir()
    most = max(10, min(_IMPORTANCE_ROWS, _IMPORTANCE_CELLS // len(dataset.features)))
    rows = min(most, len(dataset.holdout.X))
    some = dataset.holdout.X.sample(rows, random_state=0)
    labels = dataset.holdout.y.loc[some.index].to_numpy()
    found = importances(dataset.task, lambda rows: flavors.score(model.predict(rows), dataset.task), some, labels)
    found.to_json(folder / "feature_importance.json", indent=1)
    (folder / "feature_importance.png").write_bytes(importance_plot(found))
    (folder / "environment.txt").write_text(flavors.installed())
    return folder
