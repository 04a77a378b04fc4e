"""What a client is told of a request that does not fit, and what stays the model's own error."""

from __future__ import annotations

import pytest

from tradewind_steps.serve.misfit import Tensor, misfit

MODEL: list[Tensor] = [("carrier", "BYTES", (-1,)), ("distance", "FP64", (-1,))]
TWELVE: list[Tensor] = [(f"c{number}", "FP64", (-1,)) for number in range(12)]


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        (MODEL, [("carrier", "BYTES", (1, 1))], "missing: distance"),
        (MODEL, [("carrier", "BYTES", (1, 1)), ("dist", "FP64", (1, 1))], "missing: distance; not of this model: dist"),
        (TWELVE, [], "expected 12 inputs, one for each column; missing: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more"),
        (MODEL, [("carrier", "INT64", (1,)), ("distance", "FP64", (1,))], "input carrier: expected datatype BYTES, got INT64"),
        (MODEL, [("carrier", "BYTES", (2,)), ("distance", "FP64", (1,))], "expected as many rows in each input, got 1, 2"),
    ],
)
def test_a_clients_mistake_is_named(expected: list[Tensor], got: list[Tensor], said: str) -> None:
    assert misfit(expected, got).endswith(said)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (MODEL, [("carrier", "BYTES", (3, 1)), ("distance", "INT32", (3, 1))]),  # another number is converted
        (MODEL, [("more", "FP64", (1,)), ("carrier", "BYTES", (1,)), ("distance", "FP64", (1,))]),
        ([], [("anything", "FP64", (1,))]),
    ],
)
def test_what_fits_is_the_models_own_error(expected: list[Tensor], got: list[Tensor]) -> None:
    assert misfit(expected, got) == ""
