"""A predictor among the kinds of model that a training can end in; see `tradewind_steps.flavors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.contract import PREDICTOR
from tradewind.errors import SpecError
from tradewind_steps import flavors
from tradewind_steps.predictor.bundle import NUMBER, TEXT, Predictor, Statement, write
from tradewind_steps.predictor.pyfunc import answers


class PredictorModel(flavors.Model):
    """A class of the author's around the files that the training returned.

    Args:
        files: as returned: ``{"model.ubj": bytes, "words.json": text}``.
        task, classes: see `flavors.Model`.
        asked: ``{"class": "module:Class", "code": [names of files]}``.
        features: a few rows of them, for the columns' types.
        source: the pipeline's folder.
        folder: where the predictor's files go: one called ``predictor``, not there yet.

    Raises:
        SpecError: the training returned no files, or the class is none; what the class raises comes as it is.
    """

    def __init__(
        self, files: Any, *, task: str, classes: int, asked: Mapping[str, Any], features: pd.DataFrame, source: Path, folder: Path
    ) -> None:
        _check(files)
        self.model, self.task, self.flavor = files, task, "predictor"
        self._classes = classes
        self._entry_point = str(asked["class"])
        self._folder = folder
        kinds = {str(name): NUMBER if kind == "float64" else TEXT for name, kind in features.dtypes.items()}
        write(folder, Statement(entry_point=self._entry_point, inputs=kinds), source=source, code=asked["code"], files=files)
        self._predictor = Predictor(folder)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        found = answers(self._predictor, features)
        self._check_answer(found, len(features))
        return found

    def save(self, path: Path, *, example: pd.DataFrame, code: Path) -> None:
        import mlflow.pyfunc

        with flavors.quiet():
            mlflow.pyfunc.save_model(
                str(path),
                loader_module="tradewind_steps.predictor.pyfunc",
                data_path=str(self._folder),
                signature=flavors.signature(example, self.predict(example)),
                input_example=example,
                pip_requirements=flavors.pinned(flavors.PACKAGES),
            )
        if not (path / PREDICTOR).is_file():
            raise SpecError(f"MLflow has put the predictor's files elsewhere than to {path / PREDICTOR}")

    def _check_answer(self, answer: np.ndarray, rows: int) -> None:
        """One row a row, of as many numbers as the task wants: the gate measures the last of two classes', each class's or
        the number."""
        width = answer.shape[1] if answer.ndim == 2 else 1
        expected = {"regression": "one number", "multiclass": f"{self._classes} numbers"}.get(self.task, "one or more numbers")
        fits = {"regression": width == 1, "multiclass": width == self._classes}.get(self.task, width >= 1)
        if answer.ndim not in (1, 2) or len(answer) != rows or not fits:
            raise SpecError(
                f"Predictor {self._entry_point!r}: expected {expected} for each of {rows} rows, got an array of shape "
                f"{answer.shape}"
            )
        if self.task == "binary":
            late = answer[:, -1] if answer.ndim == 2 else answer
            if not ((late >= 0) & (late <= 1)).all():
                raise SpecError(
                    f"Predictor {self._entry_point!r}: expected the second class's probability in the last column, got numbers "
                    f"from {np.min(late):g} to {np.max(late):g}"
                )


def _check(files: Any) -> None:
    plain = isinstance(files, Mapping) and all(isinstance(content, bytes | bytearray | str) for content in files.values())
    if not (plain and files):
        raise SpecError(
            "With a predictor the train function returns the files that its class loads, {'model.ubj': bytes, ...}; got "
            f"{type(files).__module__}.{type(files).__qualname__}"
        )
    wrong = [name for name in files if not isinstance(name, str) or Path(name).name != name or name.startswith(".")]
    if wrong:
        raise SpecError(f"The train function returned a file called {wrong[0]!r}: expected a plain name, without folders")
