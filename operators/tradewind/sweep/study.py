"""What is known of a sweep: its trials, and how it goes on. A list in a JSON file; no database."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tradewind.errors import SpecError
from tradewind.sweep.space import Space, grid, parse_space, random_points

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
SAMPLERS = ("grid", "random", "tpe")
PRUNERS = ("median", "halving")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One member of a sweep that has ended.

    Attributes:
        params: what the sweep chose for it.
        state: ``complete``, ``pruned`` (ended early, for it was poor) or ``failed``.
        metrics: on the holdout, of a complete one; ``seconds_fit`` too.
        curve: what its function reported, by step: ``[[step, value], ...]``, in the metric's direction.
        attrs: what the pruner keeps of it.
        error: why it failed.
        run_id: of MLflow.
        reused: it was not run: an equal training had been.
    """

    number: int
    params: dict[str, Any]
    state: str
    metrics: dict[str, float | None] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    run_id: str = ""
    reused: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a sweep searches.

    Attributes:
        space: as the author gave it, see `tradewind.sweep.space`.
        trials: how many.
        sampler: ``grid``, ``random`` or ``tpe``.
        seed: equal seeds give equal trials.
        batch: how many are asked for at once. Between two batches ``tpe`` learns and the pruner takes note; trials of the same
            batch know nothing of each other, so the outcome does not depend on how many run at once, or on how fast they are.
        pruner: ``median``, ``halving`` or None.
        warm_up: steps of a trial before which it is not ended.
    """

    space: Mapping[str, Any]
    trials: int
    sampler: str = "random"
    seed: int = 0
    batch: int = 8
    pruner: str | None = None
    warm_up: int = 0

    @classmethod
    def of(cls, *, space: Any, trials: int | None, sampler: str, seed: int, batch: int, pruner: str | None, warm_up: int) -> Self:
        """Checked.

        Raises:
            SpecError: something of it is wrong; says which argument, what was expected and what came.
        """
        parsed = parse_space(space)
        if sampler not in SAMPLERS:
            raise SpecError(f"sampler: expected one of {', '.join(SAMPLERS)}, got {sampler!r}")
        if pruner is not None and pruner not in PRUNERS:
            raise SpecError(f"pruner: expected one of {', '.join(PRUNERS)}, or None, got {pruner!r}")
        if sampler == "grid":
            points = len(grid(parsed))
            if trials is not None and trials < points:
                raise SpecError(f"trials: the grid has {points} points, expected as many trials or None, got {trials}")
            trials = points
        if trials is None:
            raise SpecError(f"trials: expected how many the sampler {sampler!r} shall try, got None")
        for name, value, least in (("trials", trials, 1), ("batch", batch, 1), ("seed", seed, 0), ("warm_up", warm_up, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SpecError(f"{name}: expected a whole number, {least} or more, got {value!r}")
        return cls(space=dict(space), trials=trials, sampler=sampler, seed=seed, batch=batch, pruner=pruner, warm_up=warm_up)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def parsed(self) -> Space:
        return parse_space(self.space)

    @property
    def learns(self) -> bool:
        """Whether later trials depend on what came of earlier ones."""
        return self.sampler == "tpe" or self.pruner is not None

    def batches(self) -> list[range]:
        """The numbers of the trials, as they are asked for: all at once where nothing is learned on the way."""
        size = self.batch if self.learns else self.trials
        return [range(start, min(start + size, self.trials)) for start in range(0, self.trials, size)]

    def listed(self) -> list[dict[str, Any]] | None:
        """What each trial tries, where that is known beforehand."""
        if self.sampler == "grid":
            return grid(self.parsed)
        if self.sampler == "random":
            return random_points(self.parsed, self.seed, self.trials)
        return None


def counts(trials: Iterable[Trial]) -> dict[str, int]:
    """How many there are of each state, and how many were not run."""
    found = list(trials)
    return {
        "trials": len(found),
        **{state: sum(trial.state == state for trial in found) for state in (COMPLETE, PRUNED, FAILED)},
        "reused": sum(trial.reused for trial in found),
    }


def summary(trials: Iterable[Trial], metric: str, chosen: Trial | None) -> dict[str, Any]:
    """Key figures of a sweep: the counts, and the best trial's number, hyperparameters and value."""
    found: dict[str, Any] = {"metric": metric, **counts(trials)}
    if chosen:
        found |= {"best": chosen.number, "params": chosen.params, "value": chosen.metrics[metric]}
    return found


def too_many_failed(trials: Iterable[Trial], planned: int, most: float) -> str | None:
    """Why the sweep has failed, if it has.

    Args:
        most: the largest share of the planned trials that may fail.
    """
    failed = [trial for trial in trials if trial.state == FAILED]
    if len(failed) <= most * planned:
        return None
    first = failed[0]
    return (
        f"{len(failed)} of {planned} trials failed, expected at most a share of {most:g} (max_failed). "
        f"Trial {first.number} with {first.params}: {first.error}"
    )
