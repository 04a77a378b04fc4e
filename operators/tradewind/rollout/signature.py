"""Whether a new model takes what the clients of the one that serves send, and answers in kind: by their MLflow signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tradewind.contract import PREDICTOR, ArtifactRef
from tradewind.errors import RolloutAborted
from tradewind.store import Store

Signature = Mapping[str, list[dict[str, Any]]]
"""``inputs`` and ``outputs``: columns as MLflow writes them, ``{"type", "name", "required"}``; none where the model says none."""

# What MLflow converts by itself where a server checks the columns; a long is no double to it, nor a double a float.
_TAKEN = {("integer", "long"), ("integer", "double"), ("float", "double")}
_NUMBERS = {"integer", "long", "float", "double"}


def same_signature(store: Store, target: str, version: str, model: ArtifactRef, stable_model: ArtifactRef) -> None:
    """Raises RolloutAborted where the new version's signature refuses what the one that serves takes; names columns and types."""
    custom = store.exists(f"{model.uri.rstrip('/')}/{PREDICTOR}")
    if found := differences(read(store, stable_model), read(store, model), custom=custom):
        raise RolloutAborted(
            f"Version {version} of {target} has another signature than the one that serves: {'; '.join(found)}. "
            'With `"signature": "any"` in the rollout it may'
        )


def read(store: Store, model: ArtifactRef) -> Signature:
    """Of a model in MLflow's format."""
    import yaml

    try:
        text = store.read(f"{model.uri.rstrip('/')}/MLmodel")
    except FileNotFoundError:
        return {}
    said = (yaml.safe_load(text) or {}).get("signature") or {}
    return {name: json.loads(said[name]) for name in ("inputs", "outputs") if said.get(name)}


def differences(stable: Signature, new: Signature, *, custom: bool = False) -> list[str]:
    """What the clients of ``stable`` would notice; nothing where one of them does not say.

    Args:
        custom: the new model is served by a predictor, which takes any number for a number.
    """
    found: list[str] = []
    if stable.get("inputs") and new.get("inputs"):
        found += _inputs(_named(stable["inputs"]), _named(new["inputs"]), custom)
    if stable.get("outputs") and new.get("outputs"):
        found += _outputs(_named(stable["outputs"]), _named(new["outputs"]))
    return found


def _inputs(stable: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]], custom: bool) -> Iterator[str]:
    for name in [name for name in stable if name in new]:  # the servers leave out columns that a model does not know
        column = stable[name]
        there, here = _type(column), _type(new[name])
        if not (here == there or (there, here) in _TAKEN or (custom and {here, there} <= _NUMBERS)):
            yield f"column {name!r}: {there} there, {here} here"
        elif _required(new[name]) and not _required(column):
            yield f"column {name!r}: optional {there} there, required {here} here"
    for name, column in new.items():
        if name not in stable and _required(column):
            yield f"column {name!r}: none there, required {_type(column)} here"


def _outputs(stable: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, column in stable.items():
        there, here = _type(column), _type(new[name]) if name in new else "none"
        if _as_json(there) != _as_json(here):
            yield f"output{f' {name!r}' if name else ''}: {there} there, {here} here"


def _named(columns: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By name; one without a name is all that there is."""
    return {str(column.get("name", "")): column for column in columns}


def _required(column: Mapping[str, Any]) -> bool:
    return bool(column.get("required", True))


def _type(column: Mapping[str, Any]) -> str:
    """``double``; ``float64 [-1, 2]`` of a tensor; JSON of a list or an object."""
    if column["type"] == "tensor":
        tensor = column["tensor-spec"]
        return f"{tensor['dtype']} {tensor['shape']}"
    if set(column) <= {"type", "name", "required"}:
        return str(column["type"])
    return json.dumps({key: value for key, value in column.items() if key not in ("name", "required")}, sort_keys=True)


def _as_json(kind: str) -> str:
    """Without the width of a number, which nobody sees in JSON; one answer a row is sent as a table of one column."""
    name, space, shape = kind.partition(" ")
    if shape == "[-1]":
        shape = "[-1, 1]"
    if name.startswith(("float", "double")):
        name = "fraction"
    elif name.startswith(("int", "uint", "long")):
        name = "whole number"
    return f"{name}{space}{shape}"
