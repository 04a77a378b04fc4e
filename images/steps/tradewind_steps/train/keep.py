"""A model that stays: saved so that it can be served, shown in its MLflow run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np

from tradewind.errors import ValidationFailed
from tradewind.store import hash_file, hash_names
from tradewind_steps import flavors, smoke, tracking
from tradewind_steps.metrics import MAIN, importances
from tradewind_steps.plots import importance_plot
from tradewind_steps.step import Step, StepResult
from tradewind_steps.train import CARD, SMOKE
from tradewind_steps.train.learn import Learned
from tradewind_steps.train.prepare import Prepared

_IMPORTANCE_CELLS = 100_000  # rows times features that feature importance is measured on
_IMPORTANCE_ROWS = 1000


def keep(step: Step, data: Prepared, learned: Learned, run: tracking.Run) -> StepResult:
    """Make a learned model the step's output ``model``, and what its MLflow run shows."""
    dataset = data.dataset
    model_id = run.new_model()
    folder = _save(step, learned.model, data, {"mlflow_run_id": run.run_id, "model_id": model_id})
    run.log_figures(learned.metrics, learned.curves, model_id)
    run.log_model(model_id, folder)
    run.log_files(_run_files(step, learned.model, dataset))
    ref = step.put("model", "model")
    step.outputs["environment"] = step.store.put_content("environment.txt", flavors.installed().encode(), "code")
    main = MAIN[dataset.task]
    return StepResult(
        metrics={
            **{name: value for name, value in learned.metrics.items() if not name.startswith("train_")},
            f"train_{main}": learned.metrics[f"train_{main}"],
            "task": dataset.task,
            "rows_train": len(dataset.train.y),
            "rows_holdout": len(dataset.holdout.y),
            "features": len(dataset.features),
            "device": learned.device,
            "seconds_fit": learned.seconds,
            "data_start": data.start,
            "data_end": data.end,
            "mlflow_run_id": run.run_id,
            "experiment_id": run.experiment_id,
            "model_id": model_id,
            "content_sha256": content_hash(folder),
            "model_mb": round(ref.size / 1e6, 3),
        }
    )


def content_hash(folder: Path) -> str:
    """sha256 of a model folder without what names the run and the time: equal for equal training, where the library that
    learned gives equal results."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("MLmodel", CARD))
    return hash_names([(path.relative_to(folder).as_posix(), hash_file(path)) for path in files])


def _save(step: Step, model: flavors.Model, data: Prepared, ids: dict[str, str]) -> Path:
    """The model folder at its place, loaded once to see that it predicts as the model did in memory."""
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


def _run_files(step: Step, model: flavors.Model, dataset: Any) -> Path:
    """What the MLflow run shows beside the model: feature importance and the environment's packages."""
    folder = step.scratch / "run_files"
    folder.mkdir(exist_ok=True)
    most = max(10, min(_IMPORTANCE_ROWS, _IMPORTANCE_CELLS // len(dataset.features)))
    rows = min(most, len(dataset.holdout.X))
    some = dataset.holdout.X.sample(rows, random_state=0)
    labels = dataset.holdout.y.loc[some.index].to_numpy()
    found = importances(dataset.task, lambda rows: flavors.score(model.predict(rows), dataset.task), some, labels)
    found.to_json(folder / "feature_importance.json", indent=1)
    (folder / "feature_importance.png").write_bytes(importance_plot(found))
    (folder / "environment.txt").write_text(flavors.installed())
    return folder
