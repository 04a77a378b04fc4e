"""A search for hyperparameters as one step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg

from tradewind.errors import SpecError
from tradewind.operators.base import number
from tradewind.operators.links import ReportLink, RunLink
from tradewind.operators.train import TrainModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import StepManifest, StepSpec
    from tradewind.settings import Settings
    from tradewind.store import Store
    from tradewind.sweep.study import Search


class SweepOperator(TrainModelOperator):
    """Try hyperparameters, many trainings in one step's processes, and keep the model of the best.

    Output: ``model``, what a `TrainModelOperator` with the best trial's hyperparameters leaves, and finds when it is asked for
    the same; ``report`` (HTML) and ``study`` (all trials, JSON). In MLflow one run a trial, below the sweep's own. A trial that
    fails, or is killed, is counted and shown. Trials that have ended are not run again, neither by a retry nor by a longer sweep;
    but the best one is where its model is gone with a process that was killed.

    Takes all arguments of `TrainModelOperator`; ``train_params`` is what the trials have in common.

    Args:
        space: what may be tried, by hyperparameter: a list of values, or ``{"low": 0.01, "high": 0.3}`` with ``"log": True`` or
            ``"step": 0.01``; whole numbers where the bounds are. See `tradewind.sweep.space`.
        metric: what to improve, by its name in the gate's rules: ``auc``, ``rmse``; measured on the holdout rows.
        trials: how many; None for the grid: all of it.
        sampler: ``tpe`` (Optuna's, learns from earlier trials), ``random`` or ``grid``.
        rules: what else decides which trial is the best, see `tradewind.sweep.best`: ``max auc within 0.001`` and
            ``min logloss`` break ties, ``brier <= 0.2`` must hold.
        seed: equal seeds give equal trials, however many run at once.
        batch: trials that are chosen at once, of a sampler that learns and with a pruner.
        pruner: ends poor trials early by what the user's function reports, see `tradewind_steps.progress`: ``median`` (worse
            than half of the earlier trials at the same step), ``halving`` (not among the best quarter) or None.
        warm_up: steps before which no trial is ended.
        parallel: trials at once; by default one a core of the profile. Each gets its share of the cores.
        max_failed: the largest share of trials that may fail.
    """

    STEP = "sweep"
    template_fields: Sequence[str] = (
        *TrainModelOperator.template_fields,
        "space", "metric", "trials", "sampler", "rules", "seed", "batch", "pruner", "warm_up", "parallel", "max_failed",
    )  # fmt: skip
    operator_extra_links = (ReportLink(), RunLink())

    def __init__(
        self,
        *,
        space: Mapping[str, Any],
        metric: str,
        trials: int | str | None = None,
        sampler: str = "tpe",
        rules: Sequence[str] = (),
        seed: int | str = 0,
        batch: int | str = 8,
        pruner: str | None = None,
        warm_up: int | str = 0,
        parallel: int | str | None = None,
        max_failed: float | str = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.predictor is not None:
            raise SpecError("predictor: a sweep takes none; train its best parameters by a TrainModelOperator with the predictor")
        self.space = space
        self.metric = metric
        self.trials = trials
        self.sampler = sampler
        self.rules = rules
        self.seed = seed
        self.batch = batch
        self.pruner = pruner
        self.warm_up = warm_up
        self.parallel = parallel
        self.max_failed = max_failed
        if not _templated([space, metric, trials, sampler, rules, seed, batch, pruner, warm_up, max_failed]):
            self._search()
            self._checked_rules()

    def step_params(self) -> dict[str, Any]:
        return {
            "train": super().step_params(),
            "search": self._search().to_dict(),
            "metric": self.metric,
            "rules": self._checked_rules(),
            "max_failed": number("max_failed", self.max_failed, 0, 1),
        }

    def finish(self, context: Context, manifest: StepManifest) -> None:
        from tradewind.operators.links import run_url
        from tradewind.settings import Settings

        sweep = manifest.metrics["sweep"]
        self.link_url = run_url(Settings.load().tracking_uri, str(sweep["experiment_id"]), str(sweep["mlflow_run_id"]))
        self.log.info("Best of %d trials: %s %s with %s", sweep["trials"], sweep["metric"], sweep["value"], sweep["params"])

    def _spec(self, context: Context, settings: Settings, store: Store) -> StepSpec:
        """The trials are looked up by the step, under the fingerprints of trainings: it is told what these are made of. Nothing
        of it is a reason to search again that is not in the sweep's own fingerprint."""
        spec = super()._spec(context, settings, store)
        more: dict[str, Any] = {"parallel": int(number("parallel", self.parallel, 1, 1000)) if self.parallel else None}
        if self.reuse:
            more["identity"] = self._identity(settings)
        return dataclasses.replace(spec, params={**spec.params, **more})

    def _search(self) -> Search:
        return search_of(
            space=self.space, trials=self.trials, sampler=self.sampler, seed=self.seed, batch=self.batch, pruner=self.pruner,
            warm_up=self.warm_up,
        )  # fmt: skip

    def _checked_rules(self) -> list[str]:
        from tradewind.sweep.best import parse_best

        if isinstance(self.rules, str) or not isinstance(self.rules, Sequence):
            raise SpecError(f"rules: expected a list of texts, got {self.rules!r}")
        parse_best(self.metric, self.rules, self.task)
        number("max_failed", self.max_failed, 0, 1)
        return list(self.rules)


def search_of(*, trials: Any, seed: Any, batch: Any, warm_up: Any, **arguments: Any) -> Search:
    """The search that the arguments describe; numbers may be texts, as Jinja renders them.

    Raises:
        SpecError: something of it is wrong; says which argument, what was expected and what came.
    """
    from tradewind.sweep.study import Search

    return Search.of(
        trials=None if trials is None else _whole("trials", trials),
        seed=_whole("seed", seed),
        batch=_whole("batch", batch),
        warm_up=_whole("warm_up", warm_up),
        **arguments,
    )


def _whole(name: str, value: Any) -> int:
    found = number(name, value, 0, 1e9)
    if isinstance(value, bool) or found != int(found):
        raise SpecError(f"{name}: expected a whole number, got {value!r}")
    return int(found)


def _templated(value: Any) -> bool:
    """Whether something of it is known at the run only: a template, or what another task returns."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(_templated, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_templated, value))
    return isinstance(value, XComArg)
