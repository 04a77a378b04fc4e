"""Between the Open Inference Protocol, which clients, Envoy and rollouts speak, and Seldon's, which the wrapper speaks.

Pure: plain JSON in, plain JSON out. Columns are told apart by name, so their order and further ones do not matter; a request
that lacks one is the client's mistake and counts as no error of the version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tradewind_steps.predictor.bundle import NUMBER, TEXT, table


class BadRequest(Exception):
    """What a client sent is no request for this model; says what was expected and what came."""


def question(request: Any, inputs: Mapping[str, str]) -> dict[str, Any]:
    """A request as the wrapper takes it: ``{"data": {"names", "ndarray"}}``.

    Args:
        inputs: the columns that the model takes, see `tradewind_steps.predictor.bundle.Statement`.

    Raises:
        BadRequest: it is no V2 request with a tensor for each of these columns.
    """
    tensors = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        raise BadRequest('expected {"inputs": [{"name", "shape", "datatype", "data"}, ...]}, by the Open Inference Protocol')
    given = {tensor.get("name"): tensor for tensor in tensors}
    if missing := [name for name in inputs if name not in given]:
        there = ", ".join(map(str, given)) or "none"
        raise BadRequest(f"expected a tensor for each column: {', '.join(missing)} missing; got {there}")
    columns = {name: _column(given[name], kind) for name, kind in inputs.items()}
    if len(lengths := {len(values) for values in columns.values()}) != 1:
        raise BadRequest(f"expected tensors of the same number of rows, got {', '.join(map(str, sorted(lengths)))}")
    return {"data": {"names": list(inputs), "ndarray": table(columns, inputs)}}


def _column(tensor: Mapping[str, Any], kind: str) -> list[Any]:
    name, shape, data = tensor.get("name"), tensor.get("shape"), tensor.get("data")
    values = _flat(data) if isinstance(data, list) else None
    fits = isinstance(shape, list) and values is not None and math.prod(shape) == len(values) and math.prod(shape[1:]) == 1
    if not fits or values is None:
        raise BadRequest(f"tensor {name!r}: expected data of shape [rows] or [rows, 1], got shape {shape!r}")
    types = str if kind == TEXT else int | float
    if wrong := next((value for value in values if not (value is None or isinstance(value, types))), None):
        raise BadRequest(f"tensor {name!r}: expected {'text' if kind == TEXT else 'numbers'} or null ({kind}), got {wrong!r}")
    return values


def answer(reply: Any, *, name: str, version: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The wrapper's answer by the Open Inference Protocol: one tensor, ``predict``. The author's tags are the answer's
    ``parameters``, the names of the numbers of a row are the tensor's.

    Raises:
        ValueError: the class answered with something else than an array of numbers or text.
    """
    data = reply.get("data", {}) if isinstance(reply, dict) else {}
    if "ndarray" not in data:
        raise ValueError(f"Expected an array from the predictor, got {sorted(reply) if isinstance(reply, dict) else type(reply)}")
    values = np.array(data["ndarray"])
    text = values.dtype.kind in "US"
    if not text:
        values = values.astype("float64")
    tensor: dict[str, Any] = {
        "name": "predict",
        "shape": list(values.shape),
        "datatype": TEXT if text else NUMBER,
        "data": [value if text or math.isfinite(value) else None for value in values.ravel().tolist()],
    }
    if names := data.get("names"):
        tensor["parameters"] = {"names": list(names)}
    found = {"model_name": name, "model_version": version, "parameters": (reply.get("meta") or {}).get("tags", {})}
    return {**found, "outputs": [tensor], **({"id": request["id"]} if request.get("id") else {})}


def _flat(values: Sequence[Any]) -> list[Any]:
    return [inner for value in values for inner in (_flat(value) if isinstance(value, list) else [value])]
