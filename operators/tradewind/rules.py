"""What must hold before a release: the grammar of a gate's rules, read in a Dag file and in the evaluation step.

::

    auc >= 0.6                              a metric of the challenger on all holdout rows, against a number
    auc >= champion - 0.005                 against the champion's metric on the same rows, plus or minus a margin
    slice(carrier).auc >= 0.5               in every slice: the rows that have one value of the column
    slice(carrier).auc >= champion - 0.02   in every slice, against the champion in that slice

The comparison is ``>=``, ``>``, ``<=`` or ``<``. `METRICS` has the metrics of each task. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tradewind.errors import SpecError

METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "average_precision", "logloss", "brier", "accuracy", "precision", "recall", "f1"),
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1", "logloss"),
    "regression": ("rmse", "mae", "median_ae", "r2"),
    "replay": ("disagreement", "psi", "ks", "errors", "latency_ratio"),  # of two versions' answers to the same rows
    "drift": ("psi", "ks", "unseen", "missing"),  # of a column's values against those that a model was trained on
    "canary": ("error_share", "p50", "p90", "p95", "p99"),  # of live requests: latencies in milliseconds
}
_NO_TASKS = ("replay", "drift", "canary")
ALL_METRICS = tuple(dict.fromkeys(name for task, names in METRICS.items() if task not in _NO_TASKS for name in names))

_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_RULE = re.compile(
    rf"""\s* (?: slice \s* \( \s* (?P<column>[^()]+?) \s* \) \s* \. \s* )? (?P<metric>[A-Za-z_]\w*)
         \s* (?P<comparison> >= | <= | > | < )
         \s* (?: (?P<number> [+-]? (?:{_NUMBER}))
               | (?P<champion> champion) (?: \s* (?P<sign> [+-]) \s* (?P<margin> {_NUMBER}))? ) \s*""",
    re.VERBOSE,
)
_GRAMMAR = "'METRIC >= NUMBER', 'METRIC >= champion - NUMBER' or 'slice(COLUMN).METRIC >= ...', with >=, >, <= or <"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        text: as it was written.
        metric: one of `METRICS`.
        column: the column whose slices it is about; None: all rows at once.
        comparison: ``>=``, ``>``, ``<=`` or ``<``.
        champion: whether the bound is the champion's metric plus ``margin``; else the bound is ``margin``.
        margin: a number, in the metric's unit.
    """

    text: str
    metric: str
    column: str | None
    comparison: str
    champion: bool
    margin: float

    def bound(self, champion: float | None) -> float | None:
        """What the challenger's metric is compared with; None where the champion's metric is needed and undefined."""
        if not self.champion:
            return self.margin
        return None if champion is None else champion + self.margin

    def holds(self, value: float, bound: float) -> bool:
        match self.comparison:
            case ">=":
                return value >= bound
            case ">":
                return value > bound
            case "<=":
                return value <= bound
            case _:
                return value < bound

    @property
    def expected(self) -> str:
        """The rule's right side: ``>= champion - 0.005``."""
        if not self.champion:
            return f"{self.comparison} {self.margin:g}"
        margin = f" {'-' if self.margin < 0 else '+'} {abs(self.margin):g}" if self.margin else ""
        return f"{self.comparison} champion{margin}"


def parse_rules(texts: Iterable[str], task: str | None = None) -> list[Rule]:
    """The rules as data.

    Args:
        task: ``binary``, ``multiclass``, ``regression``, ``replay``, ``drift`` or ``canary`` where it is known: others' metrics
            are refused.

    Raises:
        SpecError: a rule cannot be read or is about an unknown metric; names the rule and the metrics that there are.
    """
    return [_parse(text, task) for text in texts]


def _parse(text: str, task: str | None) -> Rule:
    found = _RULE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise SpecError(f"Rule {text!r}: expected {_GRAMMAR}; metrics: {', '.join(METRICS[task] if task else ALL_METRICS)}")
    metric, column = found["metric"], found["column"]
    if metric not in (METRICS[task] if task else ALL_METRICS):
        there = f"a {task} model has {', '.join(METRICS[task])}" if task else f"there are {', '.join(ALL_METRICS)}"
        raise SpecError(f"Rule {text!r}: there is no metric {metric!r}; {there}")
    if task == "drift" and (column or found["champion"]):
        raise SpecError(f"Rule {text!r}: a rule about drift is of all columns: 'METRIC <= NUMBER', with >=, >, <= or <")
    if task == "canary" and column:
        raise SpecError(
            f"Rule {text!r}: a rule about a canary is of all requests: 'METRIC <= NUMBER' or 'METRIC <= champion + NUMBER'"
        )
    margin = float(f"{found['sign'] or ''}{found['margin'] or 0}" if found["champion"] else found["number"])
    return Rule(
        text=text, metric=metric, column=column, comparison=found["comparison"], champion=bool(found["champion"]), margin=margin
    )
