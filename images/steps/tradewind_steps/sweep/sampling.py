"""What the next trials try. Each batch is a function of the search and of what came of the trials before: whoever knows these
two goes on where another was killed, in this process or in another step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from tradewind.contract import digest
from tradewind.sweep.best import Best
from tradewind.sweep.space import ATTEMPTS, Choice, Range, Space, first_new
from tradewind.sweep.study import COMPLETE, FAILED, PRUNED, Search, Trial


def propose(search: Search, best: Best, known: Sequence[Trial], numbers: range) -> list[dict[str, Any]]:
    """The points of the trials ``numbers``, in their order.

    Args:
        known: the trials before them, in their order.
    """
    listed = search.listed()
    if listed is not None:
        return [listed[number] for number in numbers]
    study = study_of(search, best, known, seed=search.seed * 1_000_003 + numbers.start)
    space = search.parsed
    distributions = distributions_of(space)
    seen = {digest(trial.params) for trial in known}
    points = []
    for _ in numbers:
        point = first_new((point_of(space, study.ask(distributions).params) for _ in range(ATTEMPTS)), seen)
        seen.add(digest(point))
        points.append(point)
    return points


def study_of(search: Search, best: Best, known: Sequence[Trial], *, seed: int = 0) -> Any:
    """Optuna's study of the known trials, in memory, with the search's sampler and pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # The number of trials has no part in it: a longer sweep begins as a shorter one did.
        sampler = optuna.samplers.TPESampler(seed=seed % 2**32, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize" if best.highest else "minimize", sampler=sampler, pruner=_pruner(search))
    space = search.parsed
    distributions = distributions_of(space)
    study.add_trials([_frozen(trial, space, distributions, best) for trial in known])
    return study


def distributions_of(space: Space) -> dict[str, Any]:
    """Optuna's names for the space. A choice is one of its places: Optuna's own values may only be numbers and texts."""
    return {name: _distribution(dimension) for name, dimension in space.items()}


def point_of(space: Space, given: dict[str, Any]) -> dict[str, Any]:
    """From Optuna's values to ours."""
    return {
        name: dimension.values[given[name]] if isinstance(dimension, Choice) else given[name] for name, dimension in space.items()
    }


def _distribution(dimension: Choice | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))
    kind = IntDistribution if dimension.whole else FloatDistribution
    step = {"step": dimension.step} if dimension.step is not None else {}
    return kind(dimension.low, dimension.high, log=dimension.log, **step)


def _frozen(trial: Trial, space: Space, distributions: dict[str, Any], best: Best) -> Any:
    import optuna
    from optuna.trial import TrialState

    state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}[trial.state]
    value = trial.metrics.get(best.metric) if trial.state == COMPLETE else None
    if trial.state == COMPLETE and value is None:
        state = TrialState.FAIL
    given = {
        name: _place(dimension.values, trial.params[name]) if isinstance(dimension, Choice) else trial.params[name]
        for name, dimension in space.items()
    }
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params=given,
        distributions=distributions,
        system_attrs=trial.attrs,
        intermediate_values={int(step): reached for step, reached in trial.curve},
    )


def _place(values: Sequence[Any], value: Any) -> int:
    """Where a value stands; ``True`` is not 1 here, as it is in Python."""
    return next(place for place, other in enumerate(values) if other == value and type(other) is type(value))


def _pruner(search: Search) -> Any:
    import optuna

    if search.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=search.warm_up)
    if search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, search.warm_up))
    return optuna.pruners.NopPruner()
