"""The user's function, called, and what came of it, measured."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tradewind.errors import SpecError
from tradewind_steps import device as devices
from tradewind_steps import flavors
from tradewind_steps.checkpoint import Checkpoint
from tradewind_steps.metrics import measure
from tradewind_steps.progress import Progress
from tradewind_steps.train.prepare import Prepared

log = logging.getLogger("tradewind")
_TRAIN_ROWS = 50_000  # as many of the rows learned from are measured: enough to see overfitting by


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A model in memory.

    Attributes:
        metrics: on the holdout by their names, and on (a sample of) the rows learned from with ``train_`` before them.
        curves: per-round figures, by name.
        seconds: that the user's function took.
        device: ``cuda`` or ``cpu``: the one that it was learned on.
    """

    model: flavors.Model
    metrics: dict[str, float | None]
    curves: dict[str, list[float]]
    seconds: float
    device: str


def takes_report(function: Callable[..., Any]) -> bool:
    """Whether the user's function says how it goes, see `tradewind_steps.progress.Progress`."""
    return "report" in inspect.signature(function).parameters


def _here(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    return function(*arguments, **more)


def learn(
    data: Prepared,
    function: Callable[..., Any],
    hyperparameters: dict[str, Any],
    progress: Progress,
    entry_point: str | None,
    *,
    checkpoint: Checkpoint | None = None,
    call: Callable[..., Any] = _here,
    kind: Callable[..., flavors.Model] = flavors.Model,
) -> Learned:
    """Raises what the user's function raises, and SpecError where it returns no model; `Stopped` where ``progress`` says so.

    Args:
        hyperparameters: what the function gets, ``device`` among them.
        checkpoint: what the user's dataset has as its own.
        call: calls the function with what it is given after it: here, or in other processes.
        kind: makes the model of what it returns.
    """
    dataset = data.dataset
    more = {"report": progress} if takes_report(function) else {}
    started = time.monotonic()
    returned = call(function, data.for_user(checkpoint), dict(hyperparameters), **more)
    seconds = round(time.monotonic() - started, 3)
    if returned is None:
        raise SpecError(f"{entry_point} returned None, expected the model: its last line should be 'return model'")
    device = devices.used(
        flavors.learned_on(returned), hyperparameters["device"], require_gpu=bool(hyperparameters.get("require_gpu"))
    )
    flavors.use_cpu(returned)
    model = kind(returned, task=dataset.task, classes=len(dataset.classes))
    curves = flavors.learning_curve(returned)
    if progress.curve and not curves:
        curves = {"reported": [value for _, value in progress.curve]}
    return Learned(model=model, metrics=_measure(model, dataset), curves=curves, seconds=seconds, device=device)


def _measure(model: flavors.Model, dataset: Any) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    learned = dataset.train.X.sample(min(_TRAIN_ROWS, len(dataset.train.X)), random_state=0)
    parts = (("", dataset.holdout.X, dataset.holdout.y), ("train_", learned, dataset.train.y.loc[learned.index]))
    for prefix, rows, labels in parts:
        scores = flavors.score(model.predict(rows), dataset.task)
        found |= {f"{prefix}{name}": value for name, value in measure(dataset.task, labels.to_numpy(), scores).items()}
    return found
