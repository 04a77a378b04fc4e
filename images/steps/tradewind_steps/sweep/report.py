"""A sweep as one page that needs nothing else: the best trial, how the search went, what mattered, all trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from tradewind.sweep.best import Best
from tradewind.sweep.space import Choice, Range
from tradewind.sweep.study import COMPLETE, Search, Trial
from tradewind_steps import plots
from tradewind_steps.evaluate.report import PAGE, number

_GROUPS = 4  # of a range's values, when its share of the spread is asked for
_SHOWN = 500  # trials in the table; all are in study.json


def report(trials: Sequence[Trial], search: Search, best: Best, chosen: Trial | None, facts: dict[str, Any]) -> str:
    """The HTML page. Whatever comes from a person or from data is escaped."""
    counted = ", ".join(f"{facts[state]} {state}" for state in ("complete", "pruned", "failed", "reused"))
    parts = [
        f"<h1>Sweep of {len(trials)} trials</h1>",
        f"<p>{escape(search.sampler)}, seed {search.seed}: {counted}; MLflow run {escape(str(facts['mlflow_run_id']))}.</p>",
        f"<p>The best is trial {chosen.number} with {best.metric} {number(chosen.metrics[best.metric])}: "
        f"<code>{escape(json.dumps(chosen.params))}</code></p>" if chosen else "<p>There is no best trial.</p>",
    ]  # fmt: skip
    complete = [trial for trial in trials if trial.state == COMPLETE and trial.metrics.get(best.metric) is not None]
    if complete:
        values = np.array([trial.metrics[best.metric] for trial in complete], dtype="float64")
        parts.append(f"<figure>{_history(complete, values, best, chosen)}</figure>")
        shares = importances(complete, values, search)
        if shares:
            parts.append(f"<figure>{plots.bars_plot(shares, 'share of the spread that it explains alone')}</figure>")
        parts.append(f"<figure>{_parallel(complete, values, search, best)}</figure>")
    names = list(search.parsed)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(_row(trial, names, best.metric, chosen) for trial in trials[:_SHOWN])
    parts.append(
        f"<h2>Trials</h2><table><tr><th class='n'>trial</th><th>state</th><th class='n'>{best.metric}</th>{head}<th></th></tr>"
        f"{rows}</table>"
    )
    if len(trials) > _SHOWN:
        parts.append(f"<p class='small'>and {len(trials) - _SHOWN} more, in study.json</p>")
    return PAGE.format(title=f"Sweep of {len(trials)} trials", body="\n".join(parts))


def importances(complete: Sequence[Trial], values: np.ndarray, search: Search) -> dict[str, float]:
    """The share of the metric's variance between trials that lies between groups of equal (or, of a range, similar) values of
    one hyperparameter, less what chance would give: 0 to 1, the largest first. Empty where there is too little to tell."""
    spread = float(((values - values.mean()) ** 2).sum())
    found = {}
    for name, dimension in search.parsed.items():
        groups = _groups(name, dimension, complete)
        kinds = sorted(set(groups))
        if len(kinds) < 2 or len(complete) <= len(kinds) or not spread:
            continue
        chosen = [values[[group == kind for group in groups]] for kind in kinds]
        within = sum(float(((part - part.mean()) ** 2).sum()) for part in chosen)
        by_chance = (len(kinds) - 1) * within / (len(values) - len(kinds))
        found[name] = max(0.0, (spread - within - by_chance) / spread)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _groups(name: str, dimension: Choice | Range, trials: Sequence[Trial]) -> list[str]:
    if isinstance(dimension, Choice):
        return [json.dumps(trial.params[name]) for trial in trials]
    values = np.array([trial.params[name] for trial in trials], dtype="float64")
    bounds = np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    return [str(place) for place in np.searchsorted(bounds, values)]


def _history(complete: Sequence[Trial], values: np.ndarray, best: Best, chosen: Trial | None) -> str:
    so_far = np.maximum.accumulate(values) if best.highest else np.minimum.accumulate(values)
    numbers = np.array([trial.number for trial in complete])
    return plots.search_plot(numbers, values, so_far, best.metric, chosen.number if chosen else None)


def _parallel(complete: Sequence[Trial], values: np.ndarray, search: Search, best: Best) -> str:
    """A line a trial, over one axis a hyperparameter and one for the metric."""
    axes: dict[str, tuple[np.ndarray, str, str]] = {}
    for name, dimension in search.parsed.items():
        given = [trial.params[name] for trial in complete]
        if isinstance(dimension, Choice):
            places = np.array([next(i for i, v in enumerate(dimension.values) if json.dumps(v) == json.dumps(x)) for x in given])
            ends = json.dumps(dimension.values[0]), json.dumps(dimension.values[-1])
            axes[name] = (places / max(1, len(dimension.values) - 1), *ends)
        else:
            numbers = np.array(given, dtype="float64")
            scaled = np.log(numbers / dimension.low) / np.log(dimension.high / dimension.low) if dimension.log else (
                (numbers - dimension.low) / (dimension.high - dimension.low)
            )  # fmt: skip
            axes[name] = (scaled, f"{dimension.low:g}", f"{dimension.high:g}")
    low, high = float(values.min()), float(values.max())
    axes[best.metric] = ((values - low) / (high - low) if high > low else np.full(len(values), 0.5), f"{low:.4g}", f"{high:.4g}")
    return plots.parallel_plot(axes, higher_is_better=best.highest)


def _row(trial: Trial, names: list[str], metric: str, chosen: Trial | None) -> str:
    cells = "".join(f"<td>{escape(json.dumps(trial.params[name]))}</td>" for name in names)
    note = escape(trial.error[:300]) if trial.error else "reused" if trial.reused else ""
    if trial.curve and trial.state != COMPLETE:
        note = note or f"ended at step {trial.curve[-1][0]:g}"
    kind = "PASSED" if chosen and trial.number == chosen.number else "FAILED" if trial.state == "failed" else ""
    state = f"<span class='v {kind}'>{trial.state}</span>" if kind else trial.state
    return (
        f"<tr><td class='n'>{trial.number}</td><td>{state}</td><td class='n'>{number(trial.metrics.get(metric))}</td>"
        f"{cells}<td class='small'>{note}</td></tr>"
    )
