"""Which trial of a sweep is the best: rules as data, read in a Dag file and in a step.

::

    max auc                    the trial with the highest; those with an equal one go on to the next rule
    max auc within 0.001       trials at most 0.001 worse than the highest go on to the next rule
    min logloss                among them the one with the lowest
    brier <= 0.2               only trials of which this holds, see `tradewind.rules`

Where the rules leave several, the earliest is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tradewind.errors import SpecError
from tradewind.rules import ALL_METRICS, METRICS, Rule, parse_rules
from tradewind.sweep.study import COMPLETE, Trial

HIGHER_IS_BETTER = frozenset(
    {"auc", "average_precision", "accuracy", "precision", "recall", "f1", "balanced_accuracy", "macro_f1", "r2"}
)
SECONDS = "seconds_fit"  # may break ties too
_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+"
_ORDER = re.compile(rf"\s*(?P<way>max|min)\s+(?P<metric>[A-Za-z_]\w*)\s*(?:within\s+(?P<within>{_NUMBER}))?\s*")
_GRAMMAR = "'max METRIC', 'min METRIC within NUMBER' or 'METRIC >= NUMBER', with >=, >, <= or <"


@dataclass(frozen=True, kw_only=True)
class Order:
    """Prefer the highest, or the lowest, of a metric; trials that are at most ``within`` worse are as good."""

    metric: str
    highest: bool
    within: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Best:
    """How the best trial is found: first whom `only` lets through, then one order after the other."""

    orders: tuple[Order, ...]
    only: tuple[Rule, ...] = ()

    @property
    def metric(self) -> str:
        """What the search improves."""
        return self.orders[0].metric

    @property
    def highest(self) -> bool:
        return self.orders[0].highest

    def choose(self, trials: Sequence[Trial]) -> Trial:
        """The best of the complete trials.

        Raises:
            SpecError: none is complete, none has the metric, or the rules let none through.
        """
        left = [trial for trial in trials if trial.state == COMPLETE]
        for order in self.orders:
            there = [trial for trial in left if trial.metrics.get(order.metric) is not None]
            if left and not there:
                has = ", ".join(sorted(name for name, value in left[0].metrics.items() if value is not None))
                raise SpecError(f"metric: no trial reports {order.metric!r}; they have {has}")
            left = there
        if not left:
            raise SpecError(f"None of {len(trials)} trials is complete: there is no best one")
        for rule in self.only:
            measured = [trial for trial in left if trial.metrics.get(rule.metric) is not None]
            passing = [trial for trial in measured if rule.holds(_value(trial, rule.metric), rule.margin)]
            if not passing:
                nearest = sorted(_value(trial, rule.metric) for trial in measured)
                span = f"their {rule.metric} is {nearest[0]:g} to {nearest[-1]:g}" if nearest else f"none has a {rule.metric}"
                raise SpecError(f"rules: {rule.text!r} holds for none of {len(left)} trials: {span}")
            left = passing
        for order in self.orders:
            sign = 1 if order.highest else -1
            highest = max(sign * _value(trial, order.metric) for trial in left)
            left = [trial for trial in left if highest - sign * _value(trial, order.metric) <= order.within]
        return min(left, key=lambda trial: trial.number)


def parse_best(metric: str | None, rules: Iterable[str], task: str | None = None) -> Best:
    """The rules as data; the first order is the one by ``metric``, in the direction that this metric has.

    Args:
        metric: what to improve; None: what the first ``max`` or ``min`` says.
        task: ``binary``, ``multiclass`` or ``regression`` where it is known: other tasks' metrics are refused.

    Raises:
        SpecError: a rule cannot be read, is about an unknown metric, or wants a metric's wrong end.
    """
    there = METRICS[task] if task else ALL_METRICS
    whose = f"a {task} model has" if task else "there are"
    orders: list[Order] = []
    only: list[Rule] = []
    for text in rules:
        found = _ORDER.fullmatch(text) if isinstance(text, str) else None
        if found:
            if found["metric"] not in (*there, SECONDS):
                raise SpecError(f"Rule {text!r}: there is no metric {found['metric']!r}; {whose} {', '.join(there)}")
            order = Order(metric=found["metric"], highest=found["way"] == "max", within=float(found["within"] or 0))
            if order.highest != (order.metric in HIGHER_IS_BETTER):
                better = "higher" if order.metric in HIGHER_IS_BETTER else "lower"
                raise SpecError(f"Rule {text!r}: a {better} {order.metric} is better")
            orders.append(order)
        else:
            only.append(_only(text, task))
    if metric is not None:
        if metric not in there:
            raise SpecError(f"metric: there is no metric {metric!r}; {whose} {', '.join(there)}")
        if not orders or orders[0].metric != metric:
            orders.insert(0, Order(metric=metric, highest=metric in HIGHER_IS_BETTER))
    if not orders or orders[0].metric == SECONDS:
        raise SpecError(f"metric: expected what the sweep shall improve, one of {', '.join(there)}, got {metric!r}")
    return Best(orders=tuple(orders), only=tuple(only))


def measured(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Of a training's key figures those that a sweep may go by."""
    return {name: metrics[name] for name in (*ALL_METRICS, SECONDS) if name in metrics}


def _only(text: Any, task: str | None) -> Rule:
    if not (isinstance(text, str) and re.search(r"[<>]", text)):
        raise SpecError(f"Rule {text!r}: expected {_GRAMMAR}")
    rule = parse_rules([text], task)[0]
    if rule.champion or rule.column:
        raise SpecError(f"Rule {text!r}: a sweep knows no champion and no slices; the gate after it does. Expected {_GRAMMAR}")
    return rule


def _value(trial: Trial, metric: str) -> float:
    value = trial.metrics[metric]
    assert value is not None
    return value
