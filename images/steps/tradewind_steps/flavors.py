"""Which kinds of model there are: how each predicts, how it is saved as an MLflow model, what it says of its learning.

A classifier serves probabilities, one column a class. Scikit-learn's estimators (XGBoost's and LightGBM's among them) are
saved by cloudpickle: skops, MLflow's default, knows neither XGBoost nor what a user writes. A PyTorch network is none of them:
serving has ONNX Runtime instead, so a network is exported and an estimator around it answers (``dags/flight_delay_net``).
A custom predictor is a kind of its own: `tradewind_steps.predictor.model`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.errors import SpecError

KNOWN = (
    "a scikit-learn estimator or pipeline (also XGBClassifier and the like), an xgboost.Booster or an mlflow.pyfunc.PythonModel"
)
# What may take part in a prediction. MLflow would find out by loading the model in one more process, which takes seconds.
PACKAGES = ("mlflow", "cloudpickle", "numpy", "pandas", "scikit-learn", "scipy", "xgboost", "lightgbm", "onnxruntime")
_MODULES = {"scikit-learn": "sklearn"}


class Model:
    """What the user's function returned, with the flavor that suits it.

    Args:
        model: as returned.
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: how many classes there are; 0 in a regression.

    Raises:
        SpecError: this kind of model is not known, or does not fit the task; says what is expected.
    """

    def __init__(self, model: Any, *, task: str, classes: int) -> None:
        self.model = model
        self.task = task
        self.flavor = _flavor(model)
        if self.flavor == "sklearn" and task != "regression":
            _check_classifier(model, classes)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """As the saved model does: probabilities, one column a class, or numbers."""
        if self.flavor == "sklearn":
            return np.asarray(self.model.predict(features) if self.task == "regression" else self.model.predict_proba(features))
        if self.flavor == "xgboost":
            import xgboost

            return np.asarray(self.model.predict(xgboost.DMatrix(features)))
        return np.asarray(self.model.predict(None, features))

    def save(self, path: Path, *, example: pd.DataFrame, code: Path) -> None:
        """Write an MLflow model folder, with signature, example and pinned requirements.

        Args:
            example: a few rows of features.
            code: the user's code: what the model needs of it is saved by value, for it is not there in serving.
        """
        common = {
            "signature": signature(example, self.predict(example)),
            "input_example": example,
            "pip_requirements": pinned(PACKAGES),
        }
        with _by_value(code), quiet():
            if self.flavor == "sklearn":
                import mlflow.sklearn

                function = "predict" if self.task == "regression" else "predict_proba"
                mlflow.sklearn.save_model(
                    self.model, str(path), serialization_format="cloudpickle", pyfunc_predict_fn=function, **common
                )  # fmt: skip
            elif self.flavor == "xgboost":
                import mlflow.xgboost

                mlflow.xgboost.save_model(self.model, str(path), **common)
            else:
                import mlflow.pyfunc

                mlflow.pyfunc.save_model(str(path), python_model=self.model, **common)


def score(output: Any, task: str) -> np.ndarray:
    """What a saved model answers, as metrics take it: of a binary model the probability of the second class, of a
    multiclass one a column a class, else numbers."""
    values = np.asarray(output, dtype="float64")
    if task == "binary":
        return values[:, -1] if values.ndim == 2 else values
    if task == "regression":
        return values.reshape(len(values))
    return values


def learned_on(model: Any) -> str | None:
    """``cuda`` or ``cpu``, as XGBoost's trees say themselves; None of any other model. To be asked before `use_cpu`."""
    for part in _parts(model):
        if type(part).__module__.startswith("xgboost.") and hasattr(part, "get_booster"):
            part = part.get_booster()
        if type(part).__module__ == "xgboost.core" and hasattr(part, "save_config"):
            device: str = json.loads(part.save_config())["learner"]["generic_param"]["device"]
            return device.partition(":")[0]  # cuda:0
    return None


def use_cpu(model: Any) -> None:
    """A model that learned on a GPU predicts on CPUs: that is what serving has."""
    for part in _parts(model):
        if type(part).__module__.startswith("xgboost.") and hasattr(part, "get_booster"):
            part.device = "cpu"  # not set_params, which hands the booster parameters that it does not know
            part.get_booster().set_param({"device": "cpu"})
        elif type(part).__module__ == "xgboost.core" and hasattr(part, "set_param"):
            part.set_param({"device": "cpu"})


def learning_curve(model: Any) -> dict[str, list[float]]:
    """Per-round figures that the model kept while it learned, by name; empty where it kept none."""
    for part in _parts(model):
        for name in ("evals_result_", "evals_result"):
            results = getattr(part, name, None)
            if callable(results):
                with contextlib.suppress(Exception):  # XGBoost raises its own error where there was no evaluation set
                    results = results()
            if isinstance(results, dict):
                curves = ((f"{data}.{name}", values) for data, figures in results.items() for name, values in figures.items())
                return {name: list(map(float, values)) for name, values in curves}
        for name in ("loss_curve_", "validation_scores_", "train_score_"):
            values = getattr(part, name, None)
            if values is not None and len(values):
                return {name.rstrip("_"): list(map(float, values))}
    return {}


def pinned(packages: Sequence[str]) -> list[str]:
    """``name==version`` of those packages that this process uses."""
    used = [name for name in packages if _MODULES.get(name, name) in sys.modules]
    return [f"{name}=={importlib.metadata.version(name)}" for name in used]


def installed() -> str:
    """All packages of this environment, pinned, a line each; by their folders' names, for their metadata take long to read."""
    folders = {path.name.removesuffix(".dist-info") for entry in sys.path for path in Path(entry).glob("*.dist-info")}
    return "".join(f"{name}=={version}\n" for name, _, version in sorted(folder.rpartition("-") for folder in folders))


def _flavor(model: Any) -> str:
    bases = {f"{base.__module__.split('.')[0]}.{base.__name__}" for base in type(model).__mro__}
    if "sklearn.BaseEstimator" in bases:
        return "sklearn"
    if "xgboost.Booster" in bases:
        return "xgboost"
    if "mlflow.PythonModel" in bases:
        return "pyfunc"
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise SpecError(f"The train function returned a {kind}, which is no kind of model that is known; expected {KNOWN}")


def _check_classifier(model: Any, classes: int) -> None:
    name = type(model).__name__
    if not hasattr(model, "predict_proba"):
        raise SpecError(f"The train function returned a {name}, which has no predict_proba; a classification needs probabilities")
    learned = getattr(model, "classes_", None)
    if learned is not None and list(learned) != list(range(classes)):
        raise SpecError(
            f"The train function returned a {name} that learned the classes {np.asarray(learned).tolist()}, "
            f"expected 0 to {classes - 1}: "
            "the label as dataset.train.y has it"
        )


def _parts(model: Any) -> list[Any]:
    steps = getattr(model, "steps", None)
    return [step for _, step in reversed(steps)] if isinstance(steps, list) else [model]


def signature(example: pd.DataFrame, output: np.ndarray) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs = [
        ColSpec(DataType.double if kind == "float64" else DataType.string, str(name)) for name, kind in example.dtypes.items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([TensorSpec(output.dtype, (-1, *output.shape[1:]))]))


@contextlib.contextmanager
def _by_value(code: Path) -> Iterator[None]:
    cloudpickle = importlib.import_module("cloudpickle")
    files = [(module, getattr(module, "__file__", None)) for module in list(sys.modules.values())]
    modules = [module for module, file in files if file and file.startswith(f"{code}{os.sep}")]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MLflow warns of each pickle; that a pickle runs code is what a folder with the user's own code is about."""
    loggers = [logging.getLogger(name) for name in ("mlflow.sklearn", "mlflow.pyfunc", "mlflow.utils.environment")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
