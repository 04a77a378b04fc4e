"""How far a column's values are from those that a model was trained on. Pure: values in, numbers out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from tradewind_steps.replay.compare import ks, psi_of

_BINS = 10
_VALUES = 20  # of texts: those that have a bin of their own
_KS_ROWS = 1_000_000  # of more rows every n-th is taken

Bins = tuple[list[str], np.ndarray, np.ndarray]  # names, and rows in each, then and now; the last is for missing values
Texts = tuple[Counter[str], int]  # how often each is there, and of how many rows, those without one among them
_Values = TypeVar("_Values", np.ndarray, Texts)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column then and now.

    Attributes:
        metrics: ``psi``; ``ks``, of numbers; ``unseen``, the share of rows whose value lies beyond all that there were, or is a
            new text; ``missing``, the share of rows without a value less what it was. None where it is not defined, absent
            where there is ``trouble``.
        shares: by bin the share of rows then and now, which is what ``psi`` is made of.
        trouble: why the values cannot be compared at all.
    """

    name: str
    metrics: dict[str, float | None] = field(default_factory=dict)
    shares: list[tuple[str, float, float]] = field(default_factory=list)
    trouble: str = ""


def compare(name: str, then: np.ndarray, now: np.ndarray) -> Column:
    """Of numbers, missing ones NaN, or of texts (dtype object), missing ones None; at least one row of each."""
    as_numbers = then.dtype != object
    bins, before, after = _numbers(then, now) if as_numbers else _texts(counted(then), counted(now))
    shares = list(zip(bins, (before / len(then)).tolist(), (after / len(now)).tolist(), strict=True))
    return Column(
        name=name,
        metrics={
            "psi": psi_of(before, after),
            "ks": _ks(known(then), known(now)) if as_numbers else None,
            "unseen": sum(new for _, old, new in shares[:-1] if not old),
            "missing": shares[-1][2] - shares[-1][1],
        },
        shares=[share for share in shares if share[1] or share[2]],
    )


def psi(then: _Values, now: _Values) -> float:
    """The ``psi`` of `compare` alone, of numbers or of texts that are counted already."""
    _, before, after = _texts(then, now) if isinstance(then, tuple) else _numbers(then, now)
    return psi_of(before, after)


def counted(texts: np.ndarray) -> Texts:
    """Of dtype object, missing ones None."""
    return Counter(known(texts).tolist()), len(texts)


def _numbers(then: np.ndarray, now: np.ndarray) -> Bins:
    """By the tenths of what was there; what lies below or above all of it has a bin each, so that a constant may move too."""
    reference, edges, names = known(then), np.empty(0), ["new"]
    if len(reference):
        tenths = np.quantile(reference, np.arange(1, _BINS + 1) / _BINS, method="inverted_cdf")
        edges = np.unique([np.nextafter(reference.min(), -np.inf), *tenths])
        names = [f"below {reference.min():.4g}", *(f"to {edge:.4g}" for edge in edges[1:]), f"above {edges[-1]:.4g}"]
    counts = []
    for values in (then, now):
        there = known(values)
        rows = np.bincount(np.searchsorted(edges, there), minlength=len(edges) + 1)
        counts.append(np.append(rows, len(values) - len(there)))
    return [*names, "missing"], counts[0], counts[1]


def _texts(then: Texts, now: Texts) -> Bins:
    """By the values that were most frequent, the rest of those that were there, and those that were not. Where most
    rows had a text of their own, another text says nothing: only whether there is one counts."""
    before, _ = then
    named = sorted(before, key=lambda value: (-before[value], value))[:_VALUES]
    own = own_texts(before)

    def rows_in(found: Counter[str], rows: int) -> np.ndarray:
        there, missing = found.total(), rows - found.total()
        if own:
            return np.array([there, missing])
        frequent = [found[value] for value in named]
        new = sum(count for value, count in found.items() if value not in before)
        return np.array([*frequent, there - sum(frequent) - new, new, missing])

    names = ["any text", "missing"] if own else [*named, "others", "new", "missing"]
    return names, rows_in(*then), rows_in(*now)


def own_texts(texts: Counter[str]) -> bool:
    """Whether more than half of the rows have a text of their own, and there are more of them than have a bin."""
    return len(texts) > max(_VALUES, texts.total() / 2)


def known(values: np.ndarray) -> np.ndarray:
    """Those that are not missing."""
    there: np.ndarray = values[~pd.isna(values)]
    return there


def _ks(then: np.ndarray, now: np.ndarray) -> float | None:
    if not len(then) or not len(now):
        return None
    return ks(*(values[:: max(1, len(values) // _KS_ROWS)] for values in (then, now)))
