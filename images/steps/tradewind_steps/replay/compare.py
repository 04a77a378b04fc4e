"""How far two versions' answers to the same rows are apart. Pure: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tradewind_steps.gate import Measured

_BINS = 10
_FLOOR = 1e-4  # share of rows that an empty bin counts as: PSI has a logarithm of it
_APART = 0.5  # in a regression: answers that differ by more than this share of the champion's spread disagree


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One version's answers.

    Attributes:
        scores: of shape (rows, outputs).
        failed: of shape (rows,): those that got no answer.
        ms: milliseconds of each request.
        said: what the first failure said.
    """

    scores: np.ndarray
    failed: np.ndarray
    ms: np.ndarray
    said: str = ""


def compare(champion: Answers, challenger: Answers, task: str, slices: Mapping[str, Sequence[str]]) -> Measured:
    """``disagreement``, ``psi``, ``ks``, ``errors`` and ``latency_ratio``, over all rows and the first and fourth by slice.

    - ``disagreement``: the share of rows with another class; in a regression, of those more than half a standard deviation
      of the champion's answers apart.
    - ``psi``: the population stability index of the scores in tenths of the champion's; ``ks``: the largest distance of
      their distributions; of several outputs the worst.
    - ``errors``: the share of rows that the champion answered and the challenger did not.
    - ``latency_ratio``: the median time of a request over the champion's.
    """
    both = ~champion.failed & ~challenger.failed
    differ = disagreements(champion.scores, challenger.scores, task)
    errors = challenger.failed & ~champion.failed
    metrics = _of_rows(differ, errors, both, champion.failed)
    same = champion.scores.shape[1] == challenger.scores.shape[1] and both.any()
    pairs = [(champion.scores[both, i], challenger.scores[both, i]) for i in range(champion.scores.shape[1])] if same else []
    metrics["psi"] = max((psi(a, b) for a, b in pairs), default=None)
    metrics["ks"] = max((ks(a, b) for a, b in pairs), default=None)
    metrics["latency_ratio"] = float(np.median(challenger.ms) / np.median(champion.ms)) if len(champion.ms) else None
    parts = {column: _by_slice(np.asarray(values, dtype=object), differ, errors, both, champion.failed)
             for column, values in slices.items()}  # fmt: skip
    return Measured(rows=len(both), metrics=metrics, slices=parts)


def disagreements(champion: np.ndarray, challenger: np.ndarray, task: str) -> np.ndarray:
    """Which rows get another decision; where the numbers of outputs differ, all."""
    if champion.shape != challenger.shape:
        return np.full(len(champion), True)
    if task == "regression":
        spread = float(np.nanstd(champion))
        return np.asarray(np.abs(challenger - champion)[:, 0] > _APART * spread)
    if champion.shape[1] == 1:
        return np.asarray((champion[:, 0] >= 0.5) != (challenger[:, 0] >= 0.5))
    return np.asarray(_largest(champion) != _largest(challenger))


def psi(expected: np.ndarray, got: np.ndarray) -> float:
    """Population stability index over tenths of ``expected``; below 0.1 is commonly called stable, above 0.25 shifted."""
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return psi_of(*(np.bincount(np.searchsorted(edges, v), minlength=len(edges) + 1) for v in (expected, got)))


def psi_of(expected: np.ndarray, got: np.ndarray) -> float:
    """The same of rows counted by bin."""
    before, after = (np.maximum(counts / counts.sum(), _FLOOR) for counts in (expected, got))
    return float(np.sum((after - before) * np.log(after / before)))


def ks(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two samples' distribution functions (Kolmogorov, Smirnov)."""
    points = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(values), points, side="right") / len(values) for values in (one, other)]
    return float(np.max(np.abs(below[0] - below[1])))


def _largest(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1))


def _of_rows(differ: np.ndarray, errors: np.ndarray, both: np.ndarray, unanswered: np.ndarray) -> dict[str, float | None]:
    answered = int((~unanswered).sum())
    return {
        "disagreement": float(differ[both].mean()) if both.any() else None,
        "errors": float(errors.sum() / answered) if answered else None,
    }


def _by_slice(
    values: np.ndarray, differ: np.ndarray, errors: np.ndarray, both: np.ndarray, unanswered: np.ndarray
) -> dict[str, Measured]:
    names, of_row, counts = np.unique(values, return_inverse=True, return_counts=True)
    found = {}
    for index in np.argsort(-counts, kind="stable"):
        rows = of_row == index
        found[str(names[index])] = Measured(
            rows=int(rows.sum()), metrics=_of_rows(differ[rows], errors[rows], both[rows], unanswered[rows])
        )
    return found
