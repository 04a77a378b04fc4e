"""Proof that a loaded version answers as the trained model did, before it gets a request of anybody's."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted
from tradewind.serving.base import Serving
from tradewind.store import Store

SMOKE = "smoke.json"
TOLERANCE = 1e-5  # relative: float32 predictions of the same trees differ by about 1e-7 between builds


def smoke(
    serving: Serving, store: Store, target: str, version: str, model: ArtifactRef, *, tolerance: float = TOLERANCE
) -> float | None:
    """Compare the answers of a loaded version with those of the trained model; returns the largest relative difference.

    The model's folder holds ``smoke.json``: ``{"request": a V2 request, "outputs": the numbers expected, in order}``. A model
    without it is not compared: None.

    Raises:
        RolloutAborted: the numbers differ, or the version answers with an error.
    """
    document = _document(store, model)
    if document is None:
        return None
    answer = serving.infer(target, version, document["request"])
    got = _numbers([output["data"] for output in answer["outputs"]])
    expected = _numbers(document["outputs"])
    if len(got) != len(expected):
        raise RolloutAborted(f"{target} version {version} answers {len(got)} numbers, the trained model answered {len(expected)}")
    finite = [abs(number) for number in expected if math.isfinite(number)]
    # A number close to 0 may be a difference of larger ones: it is held against the outputs' mean size.
    size = sum(finite) / len(finite) if finite else 0.0
    differences = [_difference(e, g, size) for e, g in zip(expected, got, strict=True)]
    worst = max(differences, default=0.0)
    at = differences.index(worst) if differences else 0
    if worst > tolerance:
        raise RolloutAborted(
            f"{target} version {version} answers otherwise than the trained model: largest relative difference {worst:.3g}, "
            f"at most {tolerance:g} is allowed; number {at + 1} of {len(expected)}: expected {expected[at]:.9g}, "
            f"got {got[at]:.9g}. "
            "The serving environment's packages may differ from those of the training"
        )
    return worst


def compatible(serving: Serving, store: Store, target: str, version: str, stable_model: ArtifactRef) -> None:
    """The clients of the version that serves must not notice another one: its own example is answered by the new one, in
    numbers of the same count.

    Raises:
        RolloutAborted: it is not; with what the new version said.
    """
    document = _document(store, stable_model)
    if document is None:
        return
    try:
        answer = serving.infer(target, version, document["request"])
    except RolloutAborted as error:
        raise RolloutAborted(f"What the clients of {target} send today is not answered by the new version: {error}") from error
    got, expected = len(_numbers([output["data"] for output in answer["outputs"]])), len(_numbers(document["outputs"]))
    if got != expected:
        raise RolloutAborted(
            f"To what the clients of {target} send today, version {version} answers {got} numbers, not {expected}"
        )


def _document(store: Store, model: ArtifactRef) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(store.read(f"{model.uri.rstrip('/')}/{SMOKE}"))
    except FileNotFoundError:
        return None
    return found


def _numbers(value: Any) -> list[float]:
    """All numbers in nested lists, in order; null and NaN are the same."""
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    if isinstance(value, str):
        raise RolloutAborted(f"The smoke request is answered with the text {value!r}: expected numbers")
    return [math.nan if value is None else float(value)]


def _difference(expected: float, got: float, size: float) -> float:
    """Relative to the expected number or to ``size``, whichever is larger."""
    if math.isnan(expected) or math.isnan(got):
        return 0.0 if math.isnan(expected) and math.isnan(got) else math.inf
    if expected == got:
        return 0.0
    return abs(expected - got) / max(abs(expected), size, sys.float_info.min)
