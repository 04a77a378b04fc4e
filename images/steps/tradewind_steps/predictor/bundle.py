"""A predictor as files: the author's code, what the training left for it, and a statement of what it takes.

``predictor.json`` in a model's folder (`tradewind.contract.PREDICTOR`) says that it is served by a predictor. Beside it lie
``code/``, the class's module with what that imports, and ``model/``, the files that the training returned. So a model's hash
covers the code that answers, and whoever serves it needs no more than the folder.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tradewind.contract import PREDICTOR
from tradewind.errors import SpecError

STATEMENT = Path(PREDICTOR).name
CODE, MODEL = "code", "model"
_SCHEMA = 1
TEXT, NUMBER = "BYTES", "FP64"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a predictor is.

    Attributes:
        entry_point: ``module:Class``.
        inputs: the columns that it takes, in the order in which it gets them, each ``BYTES`` or ``FP64``.
    """

    entry_point: str
    inputs: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Statement:
        """SpecError where the folder holds none, or another schema's."""
        path = folder / STATEMENT
        try:
            found = json.loads(path.read_bytes())
            if found["schema"] != _SCHEMA:
                raise SpecError(f"{path}: expected schema {_SCHEMA}, got {found['schema']!r}: train again with this version")
            return cls(entry_point=found["class"], inputs=found["inputs"])
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{path} is no statement of a predictor: {type(error).__name__}: {error}") from error


def write(folder: Path, statement: Statement, *, source: Path, code: Sequence[str], files: Mapping[str, bytes | str]) -> None:
    """Make a predictor's folder.

    Args:
        source: the pipeline's folder.
        code: what of it the class needs.
        files: what the training returned, by name.
    """
    for name in code:
        target = folder / CODE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    (folder / MODEL).mkdir(parents=True)
    for name, content in files.items():
        (folder / MODEL / name).write_bytes(content.encode() if isinstance(content, str) else content)
    document = {"schema": _SCHEMA, "class": statement.entry_point, "inputs": dict(statement.inputs)}
    (folder / STATEMENT).write_text(json.dumps(document, indent=1))


class Predictor:
    """An author's object, loaded, whose `predict` takes rows as clients send them: through ``transform_input``, ``predict``
    and ``transform_output``, as far as the class has them. Seldon has a container for each; here they are one.

    All else that the wrapper looks for (``tags``, ``metrics``, ``class_names``, ``health_status``) is the object's own.

    Args:
        folder: see `write`.
        alone: it is the only one of its process. Otherwise its modules are seen by nobody else: champion and challenger,
            which are asked in one process, both have a ``predictor.py``.

    Raises:
        SpecError: the class is not there, or has no ``predict``; what its ``load`` raises comes as it is.
    """

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        self.statement = Statement.read(folder)
        self._code, self._alone = folder / CODE, alone
        self._modules: dict[str, ModuleType] = {}
        self._top = {path.stem for path in self._code.iterdir() if path.is_dir() or path.suffix == ".py"}
        if alone:
            sys.path.insert(0, str(self._code))
        with self._own_modules():
            kind = _class(self.statement.entry_point)
            self._user = kind(model_uri=str(folder / MODEL))
            if callable(getattr(self._user, "load", None)):
                self._user.load()

    def __getattr__(self, name: str) -> Any:
        if name == "_user":  # while there is none yet
            raise AttributeError(name)
        return getattr(self._user, name)

    def predict(self, X: Any, names: Sequence[str], meta: Mapping[str, Any] | None = None) -> Any:  # noqa: N803
        with self._own_modules():
            user, names = self._user, list(names)
            if hasattr(user, "transform_input"):
                X = _call(user.transform_input, X, names, meta)  # noqa: N806
                names = list(user.feature_names()) if hasattr(user, "feature_names") else _names(X, names)
            answer = _call(user.predict, X, names, meta)
            if hasattr(user, "transform_output"):
                names = list(user.class_names()) if hasattr(user, "class_names") else []
                answer = _call(user.transform_output, answer, names, meta)
            return answer

    @contextlib.contextmanager
    def _own_modules(self) -> Iterator[None]:
        before = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in self._top}
        bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a model's folder stays what its hash says
        if not self._alone:
            for name in before:
                del sys.modules[name]
            sys.modules.update(self._modules)
            sys.path.insert(0, str(self._code))
        try:
            yield
        finally:
            sys.dont_write_bytecode = bytecode
            if not self._alone:
                sys.path.remove(str(self._code))
                for name in [name for name in sys.modules if name.partition(".")[0] in self._top]:
                    self._modules[name] = sys.modules.pop(name)
                sys.modules.update(before)


def table(columns: Mapping[str, Sequence[Any]], inputs: Mapping[str, str]) -> np.ndarray:
    """The rows as a predictor gets them, of shape (rows, columns): numbers, a missing one NaN; where a column is text, objects:
    numbers, text, and None for missing text."""
    kind = "float64" if all(kind == NUMBER for kind in inputs.values()) else object
    rows = np.empty((len(columns[next(iter(inputs))]), len(inputs)), dtype=kind)
    for position, (name, of) in enumerate(inputs.items()):
        values = columns[name]
        rows[:, position] = [math.nan if value is None else float(value) for value in values] if of == NUMBER else values
    return rows


def _class(entry_point: str) -> Any:
    module_name, _, name = entry_point.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            raise SpecError(f"Predictor {entry_point!r}: the pipeline's folder has no module {module_name!r}") from error
        if error.name == "seldon_core":
            raise SpecError(
                f"Predictor {entry_point!r} imports seldon_core, which is only where it serves: a plain class is enough, for "
                "the train step asks it, too"
            ) from error
        raise
    kind = getattr(module, name, None)
    if not inspect.isclass(kind):
        there = ", ".join(n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module_name)
        raise SpecError(f"Predictor {entry_point!r}: {module_name}.py has no class {name!r}; it has: {there or 'none'}")
    if not callable(getattr(kind, "predict", None)):
        raise SpecError(f"Predictor {entry_point!r} has no predict(X, names, meta)")
    return kind


def _call(method: Callable[..., Any], rows: Any, names: Sequence[str], meta: Mapping[str, Any] | None) -> Any:
    """As the wrapper does: with the request's meta where the method takes it."""
    parameters = inspect.signature(method).parameters.values()
    takes = any(each.name == "meta" or each.kind is each.VAR_KEYWORD for each in parameters)
    return method(rows, names, meta=meta) if takes else method(rows, names)


def _names(rows: Any, names: list[str]) -> list[str]:
    """The columns' names after a transformer that does not say what they are: the same, where they are as many."""
    shape = np.shape(rows)
    return names if len(shape) == 2 and shape[1] == len(names) else []
