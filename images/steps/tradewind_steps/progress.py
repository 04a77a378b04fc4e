"""What a training may say while it learns, and how it learns that it is too poor to go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tradewind.errors import SpecError

# Of XGBoost's own metrics: of all others a lower value is better.
_WORST = 1e300  # stands for what is no number, which JSON has not
_HIGHER = ("auc", "aucpr", "pre", "ndcg", "map")


class Stopped(Exception):
    """This trial is poor: it ends here. A way out of the user's function, not an error."""


class Progress:
    """What the user's ``train(dataset, params, report)`` is given where it has a parameter ``report``: call it with a step and
    what the model has reached there, on the holdout. In a sweep a poor trial ends inside this call.

    ::

        for epoch in range(100):
            ...
            report(epoch, accuracy)                                          # a loop of one's own

        XGBClassifier(..., callbacks=[report.xgboost])                       # XGBoost, what its eval_set says

    Args:
        metric: what the sweep improves; None outside of one.
        highest: whether more of it is better; None outside of one.
        poor: whether a trial that has reached this value at this step is too poor to go on.
    """

    def __init__(
        self, metric: str | None = None, *, highest: bool | None = None, poor: Callable[[int, float], bool] | None = None
    ) -> None:
        self.metric = metric
        self.highest = highest
        self.curve: list[list[float]] = []
        self._poor = poor

    def __call__(self, step: int, value: float) -> None:
        """Say what the model has reached.

        Args:
            step: 0, 1, ...: rounds, epochs or batches; the same in all trials.
            value: in the direction of the sweep's metric: for ``auc`` a higher one is better, for ``rmse`` a lower.

        Raises:
            SpecError: the step is no whole number, not after the one before, or the value is no number.
        """
        last = self.curve[-1][0] if self.curve else -1
        if isinstance(step, bool) or int(step) != step or step <= last:
            raise SpecError(f"report: expected a whole step after {last:g}, got {step!r}")
        reached = float(value)
        self.curve.append([int(step), reached if math.isfinite(reached) else (-_WORST if self.highest else _WORST)])
        if self._poor and self._poor(*self.curve[-1]):  # type: ignore[arg-type]
            raise Stopped(f"at step {step}, having reached {reached:g}")

    @property
    def xgboost(self) -> Any:
        """A callback for XGBoost: reports, after each round, the sweep's metric where XGBoost measures it on the last
        ``eval_set``, else the last of the metrics that it does measure."""
        from xgboost.callback import TrainingCallback

        report = self

        class Callback(TrainingCallback):  # type: ignore[misc]
            def __reduce__(self) -> tuple[Any, ...]:
                return TrainingCallback, ()  # a model keeps its callbacks; what is saved of it is not to keep this one

            def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, Any]]) -> bool:
                if evals_log:
                    report(epoch, report._measured(list(evals_log.values())[-1]))
                return False

        return Callback()

    def _measured(self, figures: dict[str, list[Any]]) -> float:
        name = self.metric if self.metric in figures else list(figures)[-1]
        last = figures[name][-1]
        value = float(last[0] if isinstance(last, tuple) else last)  # with its deviation, in cross-validation
        if self.highest is None:
            return value
        return value if (name.split("@")[0] in _HIGHER) == self.highest else -value
