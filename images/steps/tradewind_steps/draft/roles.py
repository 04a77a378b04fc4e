"""What each column is for: to learn from, as a number, a category, words or a date; to split by; or not for a model at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from tradewind_steps.dataset import plain
from tradewind_steps.draft.kinds import FORMATS, Column
from tradewind_steps.draft.target import Target, cannot_split, rules

_FEW = 20  # distinct values that are categories however long
_FEWEST = 10  # rows that must have a value
_WORDS = 3.0  # a text column has as many words a cell, on average
_LISTS = 0.3  # the share of cells with a comma above which a column holds lists: "Comedy, Drama"
_NAMES = 0.5  # a column with more distinct values than this share of its rows names things, one by one
_CATEGORIES = 1000  # ... and of more distinct values than this, a third of the share does
_KEY_NAME = re.compile(r"(^|[_\W])(id|ids|key|uuid|guid|index|idx|no|nr|row|rownames|serial|number)s?$|Id$|ID$", re.IGNORECASE)
_EVENT_NAME = re.compile(r"time|date|stamp|when|created|_at$|_on$|\bday\b", re.IGNORECASE)
_CALENDAR = re.compile(r"year|month|quarter|week|yr|season", re.IGNORECASE)
_LIFE_NAME = re.compile(r"birth|born|dob|expir|valid|until|due", re.IGNORECASE)


@dataclass
class Roles:
    """Columns by what they are for, in the table's order.

    Attributes:
        dates: per column, ``patterns`` (Spark's) that its cells are read by, none where it holds times already, and ``parts``
            to learn from.
        left_out: per column, why.
        keys: those of them that name one row each.
        said: what a person should know: what was guessed, and what to set if the guess is wrong.
    """

    time: str | None = None
    numbers: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    dates: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def assign(columns: Sequence[Column], target: Target) -> Roles:
    """A role for every column but the target."""
    roles = Roles()
    others = [column for column in columns if column.name != target.name]
    time = _choose_time(others, target, roles)
    for column in others:
        if column is not time:
            _assign(column, target, time, roles)
    if target.rare:
        named = ", ".join(f"{value!r} ({count})" for value, count in list(target.rare.items())[:5])
        roles.said.append(f"Classes with fewer than 10 rows are left out of learning: {named}")
    if reason := _is_key(target.column):
        roles.said.append(f"The target {target.name!r} reads as a key, {reason}: is it what you want to predict?")
    missing = target.column.rows - target.rows - sum(target.rare.values())
    if missing:
        roles.said.append(f"{missing:,} of {target.column.rows:,} rows have no {target.name!r}; the features leave them out")
    if not (roles.numbers or roles.categories or roles.texts):
        roles.said.append("There is nothing but dates to learn from: a model can know the season and the hour, and no trend")
    for name, reason in roles.left_out.items():
        roles.said.append(f"{name!r} is left out: {reason}")
    return roles


def knobs(target: Target, roles: Roles) -> dict[str, Any]:
    """What the pipeline's ``table.json`` holds."""
    held = int(target.rows * target.holdout)
    return {
        "label": target.name,
        "task": target.task,
        "classes": target.classes,
        "time": roles.time,
        "numbers": roles.numbers,
        "categories": roles.categories,
        "texts": roles.texts,
        "dates": roles.dates,
        "left_out": roles.left_out,
        "holdout": target.holdout,
        "rules": rules(target, by_time=bool(roles.time)),
        "min_rows": max(10, min(1000, held // 2)),
    }


def _choose_time(columns: Sequence[Column], target: Target, roles: Roles) -> Column | None:
    candidates = [c for c in columns if c.kind == "time" and c.name and not _LIFE_NAME.search(c.name)]
    usable = []
    for column in candidates:
        if reason := cannot_split(target, column):
            roles.said.append(f"{column.name!r} holds times, but the rows are not split by it: {reason}")
        elif reads_as_value(column.name):
            roles.said.append(f"{column.name!r} holds times, but its name reads as a value: rename it to split by it")
        else:
            usable.append(column)
    if usable:
        # The most precise one that is named like an event; the first of equals.
        best = max(usable, key=lambda c: (bool(_EVENT_NAME.search(c.name)), len(pc.unique(c.values))))
        roles.time = best.name
        parts = [part for part in _parts(best) if part != "year" and _returns(best, part, target.holdout)]
        roles.dates[best.name] = {"patterns": [], "parts": parts}
        roles.said.append(f"The rows are split by {best.name!r}: the last {target.holdout:.0%} are held back")
        return best
    roles.said.append(f"The rows are split by chance: {target.holdout:.0%} are held back (no column says when a row came to be)")
    return None


def _assign(column: Column, target: Target, time: Column | None, roles: Roles) -> None:
    name = column.name
    reason = _useless(column, target)
    if not reason and time is not None and _says_the_time(column, time):
        reason = f"it goes on as {time.name!r} does: tomorrow's values are none of today's"
    if not reason and (key := _is_key(column)):
        roles.keys.append(name)
        reason = key
    if reason:
        roles.left_out[name] = reason
    elif column.kind == "time":
        patterns = [FORMATS[found] for found in column.formats] if column.loose else []
        roles.dates[name] = {"patterns": patterns, "parts": _parts(column)}
    elif column.kind in ("int", "float", "bool"):
        roles.numbers.append(name)
    else:
        _assign_text(column, roles)
    if column.other_format:
        roles.said.append(f"The dates of {name!r} read as {column.formats[0]} and as {column.other_format}; the first is taken")


def _parts(column: Column) -> list[str]:
    """Which parts of its dates differ from row to row."""
    if column.loose:
        return ["year", "month", "weekday"]
    times = column.values.to_pandas().dropna().dt
    parts = {"year": times.year, "month": times.month, "weekday": times.weekday, "hour": times.hour}
    return [name for name, values in parts.items() if values.nunique() > 1]


def _returns(time: Column, part: str, holdout: float) -> bool:
    """Were the part's last values there before? The months that end a single year were not."""
    times = time.values.to_pandas().dropna().sort_values()
    values = getattr(times.dt, part)
    first = int(len(values) * (1 - holdout))
    return bool(values.iloc[first:].isin(values.iloc[:first].unique()).mean() > 0.95)


def _says_the_time(column: Column, time: Column) -> bool:
    if column.kind not in ("int", "float") or column.loose or not _CALENDAR.search(column.name):
        return False
    pairs = pd.DataFrame({"x": column.numbers(), "time": time.values.to_pandas()}).dropna()
    return bool(pairs.x.nunique() > 1 and pairs.rank().corr().iloc[0, 1] > 0.9)


def _assign_text(column: Column, roles: Roles) -> None:
    counts = column.distinct()
    texts = pd.Series(counts.index.astype(str))
    words = float((texts.str.count(r"\w+") * counts.to_numpy()).sum() / counts.sum())
    listed = float((texts.str.contains(r"\w[,;|] ?\w") * counts.to_numpy()).sum() / counts.sum()) > _LISTS
    many = len(counts) > _NAMES * column.present or (len(counts) > _CATEGORIES and len(counts) > _NAMES / 3 * column.present)
    if len(counts) > _FEW and (words >= _WORDS or listed or (many and words >= 1.5)):
        roles.texts.append(column.name)
    elif many:
        roles.left_out[column.name] = f"{len(counts):,} different values in {column.present:,} rows name things one by one"
    else:
        roles.categories.append(column.name)


def _useless(column: Column, target: Target) -> str | None:
    if not column.name.strip():
        return "it has no name"
    if column.nulls == column.rows:
        return "it is empty"
    if column.kind is None:
        return f"a model takes numbers and text, not {column.values.type}"
    if column.present < _FEWEST:
        return f"{column.present} of {column.rows:,} rows have one"
    distinct = column.distinct()
    if len(distinct) < 2 and not column.nulls:
        return f"all rows have {plain(distinct.index[0])!r}"
    if _says_the_target(column, target, len(distinct)):
        return f"it says the same as {target.name!r}"
    return None


def _says_the_target(column: Column, target: Target, distinct: int) -> bool:
    """Does each of its values go with one value of the target, and the other way round?"""
    usable = target.usable & ~column.values.is_null().to_numpy()
    if usable.sum() < 0.9 * target.rows:
        return False
    if target.task == "regression":
        if column.kind not in ("int", "float"):
            return False
        x, y = column.numbers()[usable], target.numbers[usable]
        finite = np.isfinite(x)
        if np.ptp(x[finite]) == 0 or np.ptp(y[finite]) == 0:
            return False
        return bool(abs(np.corrcoef(x[finite], y[finite])[0, 1]) > 0.999999)
    if distinct > 2 * len(target.classes):
        return False
    pairs = pd.DataFrame({"x": column.values.to_pandas()[usable].astype(str), "y": target.numbers[usable]}).drop_duplicates()
    return bool(pairs.x.is_unique and pairs.y.is_unique)


def _is_key(column: Column) -> str | None:
    """Why it names a row each, rather than saying something of it."""
    if column.present < 20 or column.kind not in ("int", "text") or column.loose:
        return None
    if len(column.distinct()) < column.present:
        return None
    if column.kind == "int":
        steps = np.unique(np.diff(np.sort(column.numbers()[~np.isnan(column.numbers())])))
        if len(steps) == 1 and steps[0] == 1:
            return "it counts the rows"
        return "it names one row each" if _KEY_NAME.search(column.name) else None
    words = pc.mean(pc.count_substring_regex(column.values.drop_null(), r"\w+")).as_py()
    return "it names one row each" if words < 1.5 or _KEY_NAME.search(column.name) else None


def reads_as_value(name: str) -> bool:
    """Would Airflow's templates, or Spark's, read the name as something else than text?"""
    return "{" in name or "`" in name or bool(re.fullmatch(r"\s*([-+.\d].*|None|True|False|[\[\(\"'].*)", name))
