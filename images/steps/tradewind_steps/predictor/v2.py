"""Between the Open Inference Protocol, which clients, Envoy and rollouts speak, and Seldon's, which the wrapper speaks.

Pure: plain JSON in, plain JSON out. Columns are told apart by name, so their order and further ones do not matter; a request
that lacks one is the client's mistake and counts as no error of the version.
"""

from __future__ import annotations

import math
import reprlib
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
    given = {tensor["name"]: tensor for tensor in tensors if isinstance(tensor.get("name"), str)}
    if missing := [name for name in inputs if name not in given]:
        there = ", ".join(given) or "none"
        raise BadRequest(f"expected a tensor for each column: {', '.join(missing)} missing; got {there}")
    columns = {name: _column(given[name], kind) for name, kind in inputs.items()}
    if len(lengths := {len(values) for values in columns.values()}) != 1:
        raise BadRequest(f"expected tensors of the same number of rows, got {', '.join(map(str, sorted(lengths)))}")
    if lengths == {0}:
        raise BadRequest("expected at least one row, got none")
    return {"data": {"names": list(inputs), "ndarray": table(columns, inputs)}}


def _column(tensor: Mapping[str, Any], kind: str) -> list[Any]:
    """What a tensor holds. Whatever in it is no value of the column is found here, not by the author's class."""
    name, shape, data = tensor.get("name"), tensor.get("shape"), tensor.get("data")
    values = _flat(data) if isinstance(data, list) else None
    sizes = shape if isinstance(shape, list) and all(isinstance(size, int) for size in shape) else [-1]
    if values is None or math.prod(sizes) != len(values) or math.prod(sizes[1:]) != 1:
        raise BadRequest(f"tensor {name!r}: expected data of shape [rows] or [rows, 1], got shape {reprlib.repr(shape)}")
    fits = _is_text if kind == TEXT else _is_number
    for value in values:
        if not (value is None or fits(value)):
            expected = "text" if kind == TEXT else "numbers"
            raise BadRequest(f"tensor {name!r}: expected {expected} or null ({kind}), got {reprlib.repr(value)}")
    return values


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float):
        return False
    try:
        float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return False
    return True


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
    """Rows of one value each are these values; what is deeper than that is no value."""
    return [inner for value in values for inner in (value if isinstance(value, list) else [value])]
