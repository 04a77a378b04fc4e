"""A search for hyperparameters as tasks: each trial is one, a process or a pod of its own.

::

    sweep.ask_1 -> sweep.trials_1 [8] -> sweep.ask_2 -> sweep.trials_2 [8] -> ... -> sweep.best        tpe, or with a pruner
                   sweep.trials [50] -> sweep.best                                                     random, grid

Airflow's graph is static: the number of rounds is known when the Dag is parsed. What a trial tries may not be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskGroup, TriggerRule

from tradewind.errors import SpecError
from tradewind.operators.base import Input, StepOperator, manifest_of, number
from tradewind.operators.links import ReportLink, RunLink, run_url
from tradewind.operators.sweep import search_of
from tradewind.operators.train import TrainModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import ArtifactRef, StepManifest, StepSpec
    from tradewind.settings import Settings
    from tradewind.store import Store
    from tradewind.sweep.best import Best
    from tradewind.sweep.study import Trial


def sweep_tasks(
    *,
    space: Mapping[str, Any],
    metric: str,
    trials: int | None = None,
    sampler: str = "tpe",
    rules: Sequence[str] = (),
    seed: int = 0,
    batch: int = 8,
    pruner: str | None = None,
    warm_up: int = 0,
    parallel: int | None = None,
    max_failed: float = 0.25,
    group_id: str = "sweep",
    **train: Any,
) -> BestTrialOperator:
    """The tasks of a sweep, in a task group; the last one's output is what a `TrainModelOperator` with the best trial's
    hyperparameters leaves. To be called within a Dag.

    The arguments are `SweepOperator`'s, but numbers are numbers and nothing of the search is templated, for it shapes the graph.

    Args:
        parallel: trials at once in a run; by default as many as Airflow runs.
        group_id: the task group.
        train: `TrainModelOperator`'s arguments, for each trial; ``task_id`` is not among them.

    Raises:
        SpecError: something of the search is wrong.
    """
    search = search_of(space=space, trials=trials, sampler=sampler, seed=seed, batch=batch, pruner=pruner, warm_up=warm_up)
    plan = {"search": search.to_dict(), "metric": metric, "rules": _checked(metric, rules, train.get("task"))}
    limit = {} if parallel is None else {"max_active_tis_per_dagrun": int(number("parallel", parallel, 1, 1000))}
    batches = search.batches()
    rounds: list[dict[str, Any]] = []
    with TaskGroup(group_id):
        for place, numbers in enumerate(batches, 1):
            suffix = f"_{place}" if len(batches) > 1 else ""
            asked: Any = search.listed()
            if search.learns:
                asked = AskTrialsOperator(
                    task_id=f"ask{suffix}",
                    start=numbers.start,
                    stop=numbers.stop,
                    rounds=list(rounds),
                    reuse=train.get("reuse", True),
                    **plan,
                ).output
            members = TrialOperator.partial(
                task_id=f"trials{suffix}", asked=asked, start=numbers.start, map_index_template="{{ task.label }}",
                **plan, **limit, **train,
            ).expand(number=list(numbers))  # fmt: skip
            rounds.append(
                {
                    "asked": asked,
                    "start": numbers.start,
                    "count": len(numbers),
                    "task_id": members.task_id,
                    "results": members.output,
                }
            )
        return BestTrialOperator(
            task_id="best", rounds=rounds, max_failed=max_failed, experiment=train.get("experiment"),
            reuse=train.get("reuse", True), **plan,
        )  # fmt: skip


class TrialOperator(TrainModelOperator):
    """One training of a sweep: the same as a `TrainModelOperator`'s with these hyperparameters, and found in its place.

    Args:
        number: of the trial, from 0.
        asked: what the trials of this round try, or the output of the task that says so.
        start: the number of the round's first trial.
    """

    template_fields: Sequence[str] = (*TrainModelOperator.template_fields, "asked", "number")

    def __init__(
        self, *, number: int, asked: Any, start: int, search: Mapping[str, Any], metric: str, rules: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.number = number
        self.asked = asked
        self.start = start
        self.search = search
        self.metric = metric
        self.rules = rules

    @property
    def point(self) -> dict[str, Any]:
        """What this trial tries."""
        return _points(self.asked)[self.number - self.start]

    @property
    def label(self) -> str:
        """What Airflow's UI calls the mapped task."""
        tried = ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in self.point.items()
        )
        return f"{self.number}: {tried}"[:200]

    def step_params(self) -> dict[str, Any]:
        params = super().step_params()
        return {**params, "params": {**params["params"], **self.point}}

    def _spec(self, context: Context, settings: Settings, store: Store) -> StepSpec:
        """What it is told beside a training's arguments can end it early; it does not change what it leaves otherwise."""
        spec = super()._spec(context, settings, store)
        study = None
        if isinstance(self.asked, Mapping) and self.search["pruner"] and self.start:
            study = manifest_of(store, "asked", self.asked).outputs["study"].uri
        trial = {"number": self.number, "search": self.search, "metric": self.metric, "rules": self.rules, "study": study}
        return dataclasses.replace(spec, params={**spec.params, "trial": trial})


class _RoundsOperator(StepOperator):
    """A step that goes by what the rounds before it have left. A failed trial is no reason not to run, a skipped one is."""

    IMAGE = "train"
    template_fields: Sequence[str] = (*StepOperator.template_fields, "rounds")

    def __init__(
        self, *, rounds: Sequence[Mapping[str, Any]], search: Mapping[str, Any], metric: str, rules: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(trigger_rule=TriggerRule.NONE_SKIPPED, **kwargs)
        self.rounds = rounds
        self.search = search
        self.metric = metric
        self.rules = rules
        self._known: list[Trial] = []
        self._manifests: dict[int, str] = {}

    def step_inputs(self) -> dict[str, Input]:
        return {}

    def step_params(self) -> dict[str, Any]:
        known = [{**trial.to_dict(), "reused": False} for trial in self._known]  # how it came about says nothing of a trial
        return {"search": self.search, "metric": self.metric, "rules": self.rules, "known": known}

    def resolved_inputs(self, store: Store, settings: Settings) -> dict[str, ArtifactRef]:
        self._known, self._manifests = [], {}
        for members in self.rounds:
            found = {_map_index(result["manifest"]): result for result in members["results"] or [] if result}
            for place, point in enumerate(_points(members["asked"])[: members["count"]]):
                trial = members["start"] + place
                if place in found:
                    self._manifests[trial] = found[place]["manifest"]
                    self._known.append(_ended(trial, point, found[place]))
                else:
                    self._known.append(_failed(trial, point, store, self._instance(members["task_id"], place)))
        return {}

    def _spec(self, context: Context, settings: Settings, store: Store) -> StepSpec:
        ti = context["ti"]
        self._of = (ti.dag_id, ti.run_id)
        return super()._spec(context, settings, store)

    def _instance(self, task_id: str, place: int) -> tuple[str, str, str, int]:
        return (*self._of, task_id, place)


class AskTrialsOperator(_RoundsOperator):
    """What the next trials try, by what came of those before: Optuna, in a step's process.

    Output: ``study`` (JSON), the trials before.

    Args:
        start, stop: the numbers of the next trials, ``stop`` not included.
    """

    STEP = "sweep_ask"

    def __init__(self, *, start: int, stop: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.stop = stop

    def step_params(self) -> dict[str, Any]:
        return {**super().step_params(), "numbers": [self.start, self.stop]}


class BestTrialOperator(_RoundsOperator):
    """The best trial's model, and the report of the sweep.

    Output: ``model``, as the best trial has left it; ``report`` (HTML) and ``study`` (JSON).

    Args:
        max_failed: the largest share of trials that may fail.
        experiment: MLflow's; by default the Dag's id.
    """

    STEP = "sweep_best"
    template_fields: Sequence[str] = (*_RoundsOperator.template_fields, "experiment")
    operator_extra_links = (ReportLink(), RunLink())

    def __init__(self, *, max_failed: float, experiment: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_failed = number("max_failed", max_failed, 0, 1)
        self.experiment = experiment
        self._chosen: StepManifest | None = None

    def step_params(self) -> dict[str, Any]:
        metrics = self._chosen.metrics if self._chosen else None
        return {
            **super().step_params(),
            "max_failed": self.max_failed,
            "model": metrics,
            "experiment": self.experiment or self.dag_id,
        }

    def _spec(self, context: Context, settings: Settings, store: Store) -> StepSpec:
        spec = super()._spec(context, settings, store)
        return dataclasses.replace(spec, params={**spec.params, "reused": [t.number for t in self._known if t.reused]})

    def resolved_inputs(self, store: Store, settings: Settings) -> dict[str, ArtifactRef]:
        super().resolved_inputs(store, settings)
        try:
            chosen = _best(self.metric, self.rules).choose(self._known)
        except SpecError:  # the step says so, after it has left its report
            self._chosen = None
            return {}
        self._chosen = store.get_manifest(self._manifests[chosen.number])
        return {"model": self._chosen.outputs["model"]}

    def finish(self, context: Context, manifest: StepManifest) -> None:
        from tradewind.settings import Settings

        sweep = manifest.metrics["sweep"]
        self.link_url = run_url(Settings.load().tracking_uri, str(sweep["experiment_id"]), str(sweep["mlflow_run_id"]))


def _ended(trial: int, point: dict[str, Any], result: Mapping[str, Any]) -> Trial:
    from tradewind.sweep.best import measured
    from tradewind.sweep.study import COMPLETE, PRUNED, Trial

    metrics = result["metrics"]
    pruned = metrics.get("state") == PRUNED
    return Trial(
        number=trial, params=point, state=PRUNED if pruned else COMPLETE, metrics={} if pruned else measured(metrics),
        curve=metrics.get("curve", []), attrs=metrics.get("attrs", {}), run_id=str(metrics["mlflow_run_id"]),
        reused=bool(result["reused"]),
    )  # fmt: skip


def _failed(trial: int, point: dict[str, Any], store: Store, instance: tuple[str, str, str, int]) -> Trial:
    from tradewind.sweep.study import FAILED, Trial

    latest = store.latest_manifest(*instance)
    error = latest[1].error if latest else None
    said = f"{error.type}: {error.message}" if error else "its task left no result; see its log"
    return Trial(number=trial, params=point, state=FAILED, error=said)


def _points(asked: Any) -> list[dict[str, Any]]:
    if asked is None:
        raise SpecError("The task that chooses what the trials try has left nothing: see its log, and clear it")
    points = asked["metrics"]["trials"] if isinstance(asked, Mapping) else asked
    return [dict(point) for point in points]


def _map_index(manifest_uri: str) -> int:
    """The third folder from below, see `tradewind.store`."""
    return int(manifest_uri.rsplit("/", 3)[1])


def _best(metric: str, rules: Sequence[str], task: str | None = None) -> Best:
    from tradewind.sweep.best import parse_best

    return parse_best(metric, rules, task)


def _checked(metric: str, rules: Sequence[str], task: Any) -> list[str]:
    if isinstance(rules, str):
        raise SpecError(f"rules: expected a list of texts, got {rules!r}")
    _best(metric, rules, task if isinstance(task, str) and "{{" not in task else None)
    return list(rules)
