"""What the tasks of a release, approval and rollout, are given: a registered version, and what its rollout is to do."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tradewind.errors import SpecError

if TYPE_CHECKING:
    from tradewind.rollout.spec import RolloutSpec


def registered(value: Any) -> dict[str, Any]:
    """What a register task, or an approval of what it registered, says of the version."""
    metrics = value.get("metrics") if isinstance(value, dict) else None
    if not isinstance(metrics, dict) or not {"name", "version"} <= metrics.keys():
        raise SpecError(f"version: expected a register task's output, got {value!r}")
    return metrics


def rollout_spec(rollout: object) -> RolloutSpec:
    """The argument ``rollout``, rendered, as what it says; SpecError where it says something else."""
    from tradewind.rollout.spec import RolloutSpec

    return RolloutSpec.from_dict(_plain(rollout))


def _plain(value: Any) -> Any:
    """A rendered value as data: a Dag that renders no native objects gives lists and numbers as their text."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return value
    return value
