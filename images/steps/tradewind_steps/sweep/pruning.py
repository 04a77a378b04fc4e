"""Whether a trial is too poor to go on, judged by the trials of earlier batches alone: those that run beside it have no part
in it, so that the outcome does not depend on which is faster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.store import Store
from tradewind.sweep.best import Best, parse_best
from tradewind.sweep.study import Search, Trial
from tradewind_steps.progress import Progress
from tradewind_steps.sweep.sampling import study_of


class Judge:
    """Optuna's pruner on one trial.

    Attributes:
        attrs: what the pruner wants to be kept of the trial; complete when the trial has ended.
    """

    def __init__(self, search: Search, best: Best, known: Sequence[Trial]) -> None:
        self._study = study_of(search, best, known)
        self._trial = self._study.ask()
        self._warm_up = search.warm_up

    def poor(self, step: int, value: float) -> bool:
        self._trial.report(value, step)
        return bool(self._trial.should_prune()) and step >= self._warm_up

    @property
    def attrs(self) -> dict[str, Any]:
        return dict(self._study.trials[-1].system_attrs)


def judge(search: Search, best: Best, known: Sequence[Trial]) -> Judge | None:
    """None without a pruner. The first trials have nothing to be compared with, but what they reached is noted."""
    return Judge(search, best, known) if search.pruner else None


def progress(best: Best, judging: Judge | None) -> Progress:
    """What the user's function is given as ``report``."""
    return Progress(best.metric, highest=best.highest, poor=judging.poor if judging else None)


def watched(store: Store, trial: Mapping[str, Any]) -> tuple[Progress, Judge | None]:
    """The same for a trial that is a step of its own.

    Args:
        trial: ``search``, ``metric``, ``rules``, and ``study``, the URI of the earlier trials' list, if there are any.
    """
    best = parse_best(trial["metric"], trial["rules"])
    known = json.loads(store.read(trial["study"])) if trial.get("study") else []
    judging = judge(Search.from_dict(trial["search"]), best, [Trial.from_dict(one) for one in known])
    return progress(best, judging), judging
