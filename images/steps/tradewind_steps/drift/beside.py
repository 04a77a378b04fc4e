"""What became of a table's columns, for a person to read: each then and now. It decides nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tradewind_steps.drift.compare import Texts, counted, known, own_texts, psi
from tradewind_steps.drift.table import NUMBERS, TEXT, Table

_NAMED = 5  # texts that came or went, the most frequent
_LONGEST = 60  # characters of a text that is shown
_ORDERED = ("timestamp", "date")  # types whose texts are in the order of their values


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One column of one table; ``low`` and ``high`` of numbers and times, ``numbers`` or ``texts`` where it has such."""

    type: str
    missing: float | None = None
    low: float | str | None = None
    high: float | str | None = None
    numbers: np.ndarray | None = None
    texts: Texts | None = None


def beside(then: Table, now: Table) -> list[dict[str, Any]]:
    """Of each column of either, those first that came, went, have another type or have moved furthest by PSI.

    Each: ``column``; ``type``, ``missing`` (share of rows), ``low`` and ``high``, ``texts`` (how many different ones): a pair of
    then and now, None where there is none; ``came`` and ``went``: how many texts only one side has, and the most frequent of
    them; ``psi``.
    """
    names = dict.fromkeys([*then.kinds, *now.kinds])
    found = [_column(name, _side(then, name), _side(now, name)) for name in names]
    return sorted(found, key=lambda column: (column["type"][0] == column["type"][1], -(column["psi"] or 0)))


def _column(name: str, old: _Side | None, new: _Side | None) -> dict[str, Any]:
    sides = (old, new)
    facts = {what: [getattr(side, what) if side else None for side in sides] for what in ("type", "missing", "low", "high")}
    texts = [side.texts[0] if side and side.texts else None for side in sides]
    came: list[Any] | None = None
    went: list[Any] | None = None
    if texts[0] is not None and texts[1] is not None and not own_texts(texts[0]):
        came, went = _only(texts[1], texts[0]), _only(texts[0], texts[1])
    moved = None
    if old and new and old.texts and new.texts:
        moved = psi(old.texts, new.texts)
    elif old and new and old.numbers is not None and new.numbers is not None:
        moved = psi(old.numbers, new.numbers)
    counts = [None if found is None else len(found) for found in texts]
    return {"column": name, **facts, "texts": counts, "came": came, "went": went, "psi": moved}


def _only(mine: Counter[str], others: Counter[str]) -> list[Any]:
    """How many texts the others have not, and the most frequent of them."""
    names = sorted((text for text in mine if text not in others), key=lambda text: (-mine[text], text))
    return [len(names), [text[:_LONGEST] for text in names[:_NAMED]]]


def _side(table: Table, name: str) -> _Side | None:
    kind = table.kinds.get(name)
    if kind is None:
        return None
    if kind not in (NUMBERS, TEXT) and not kind.startswith(_ORDERED):
        return _Side(type=table.types[name])
    values = table.values(name, as_numbers=kind == NUMBERS)
    if kind == TEXT:
        found, rows = counted(values)
        return _Side(type=table.types[name], missing=1 - found.total() / rows, texts=(found, rows))
    there = known(values)
    missing = 1 - len(there) / len(values)
    low, high = (there.min(), there.max()) if len(there) else (None, None)
    if kind == NUMBERS:
        low, high = (None, None) if low is None or high is None else (float(low), float(high))
        return _Side(type=table.types[name], missing=missing, low=low, high=high, numbers=values)
    return _Side(type=table.types[name], missing=missing, low=low, high=high)
