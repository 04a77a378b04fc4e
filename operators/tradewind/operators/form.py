"""What a trigger form offers and lets through: JSON schemas for a Dag's params.

Airflow checks a param against its schema before there is a run, in the form, by REST and by ``airflow dags trigger``, and names
the param that it refuses. What is only found out by a step is found out after the steps before it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tradewind.profiles import Profile
from tradewind.rules import ALL_METRICS, METRICS

_SLICE = r"(slice *\( *[^()]+ *\) *\. *)?"
_NUMBER = r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?"
_BOUND = rf"({_NUMBER}|champion( *[+-] *[0-9.]+([eE][+-]?[0-9]+)?)?)"
_RISING = "list of steps whose weights rise"
_INSTANT = "date or time such as 2013-07-01T12:00:00+00:00"
_DAY = r"[0-9]{4}-?(0[1-9]|1[0-2])-?(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3])(:?[0-5][0-9](:?[0-5][0-9]([.,][0-9]+)?)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"


def _rise(steps: object) -> bool:
    """JSON Schema cannot compare one item with the next. What is wrong otherwise is said by the rest of the schema."""
    there = [step.get("weight") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    weights = [weight for weight in there if isinstance(weight, int)]
    return weights == sorted(set(weights))


def _is_instant(text: object) -> bool:
    """A pattern cannot tell how many days a month has, nor whether all of a text is written with its signs."""
    try:
        return not isinstance(text, str) or not text or bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def know_formats() -> None:
    """Of a process that checks values: the API server. To import this costs a tenth of a second, which no Dag file needs."""
    from jsonschema import FormatChecker

    FormatChecker.checkers[_RISING] = (_rise, ())
    FormatChecker.checkers[_INSTANT] = (_is_instant, ())


def profile() -> dict[str, Any]:
    """One of the deployment's resource profiles, each shown with what it is. They are read when the Dag's file is."""
    from tradewind.settings import Settings

    there = Settings.load().profiles
    return {"type": "string", "enum": list(there), "values_display": {name: f"{name}: {_amounts(there[name])}" for name in there}}


def instant() -> dict[str, Any]:
    """A date or time, in UTC where it has no offset, or nothing. ``date-time`` is the form's calendar; Airflow checks no value by
    it."""
    pattern = rf"^({_DAY}([T ]{_TIME})?)?$"
    return {"type": ["null", "string"], "format": "date-time", "pattern": pattern, "allOf": [{"format": _INSTANT}]}


def rules(task: str | None = None) -> dict[str, Any]:
    """Rules of a gate, a line each: of a ``binary``, ``multiclass`` or ``regression`` model, or of any; ``replay``: of a
    rollout's replay; ``drift``: of a drift check."""
    metrics = "|".join(METRICS[task] if task else ALL_METRICS)
    part, bound = ("", _NUMBER) if task == "drift" else (_SLICE, _BOUND)
    pattern = rf"^ *{part}({metrics}) *(>=|<=|>|<) *{bound} *$"
    return {"type": "array", "items": {"type": "string", "pattern": pattern}}


def canary() -> dict[str, Any]:
    """Steps of a canary: ``{"weight": percent, "bake_s": seconds}`` each, with rising weights."""
    fields = {"weight": {"type": "integer", "minimum": 1, "maximum": 99}, "bake_s": {"type": "number", "minimum": 0}}
    return {
        "type": "array",
        "format": _RISING,
        "items": {"type": "object", "properties": fields, "required": ["weight"], "additionalProperties": False},
    }


def _amounts(profile: Profile) -> str:
    memory = _span(profile.memory_mb / 1024, profile.most_memory_mb / 1024)
    parts = [f"{_span(profile.cpu, profile.most_cpu)} cores", f"{memory} GiB"]
    if profile.gpus:
        parts.append(f"{profile.gpus} GPU{'s' if profile.gpus > 1 else ''}")
    if profile.executors:
        parts.append(f"up to {profile.executors} Spark executors")
    return ", ".join(parts)


def _span(requested: float, limit: float) -> str:
    return f"{requested:g}" if limit == requested else f"{requested:g} to {limit:g}"
