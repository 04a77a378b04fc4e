"""What a client may send a custom predictor: a mistake is told as one, and is no error of the version that is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind_steps.predictor import v2

INPUTS = {"carrier": "BYTES", "hour": "FP64"}
CARRIER = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]}


def hour(**fields: Any) -> dict[str, Any]:
    return {"inputs": [CARRIER, {"name": "hour", "shape": [1], "datatype": "FP64", "data": [17.0], **fields}]}


def deep(levels: int) -> list[Any]:
    found: list[Any] = [17.0]
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("shape", [[1], [1, 1], [1, 1, 1]])
def test_a_row_in_each_of_its_shapes(shape: list[int]) -> None:
    for data in ([17], [[17.0]]):
        assert v2.question(hour(shape=shape, data=data), INPUTS)["data"]["ndarray"].tolist() == [["UA", 17.0]]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (hour(data=[""]), r"tensor 'hour': expected numbers or null \(FP64\), got ''"),
        (hour(data=[{}]), r"expected numbers or null \(FP64\), got \{\}"),
        (hour(data=[10**400]), r"expected numbers or null \(FP64\), got 1000.*\.\.\.0000"),
        (hour(data=deep(5000)), r"expected numbers or null \(FP64\), got \["),
        (hour(shape=[None, 1]), r"expected data of shape \[rows\] or \[rows, 1\], got shape \[None, 1\]"),
        (hour(shape=["1", "1"]), r"got shape \['1', '1'\]"),
        (hour(shape=[{}]), r"got shape \[\{\}\]"),
        (hour(shape=None), r"got shape None"),
        (hour(name=["hour"]), r"hour missing; got carrier"),
        ({"inputs": [{**CARRIER, "shape": [0], "data": []}, hour(shape=[0], data=[])["inputs"][1]]}, "at least one row"),
        ({"inputs": [{**CARRIER, "data": [0]}, hour()["inputs"][1]]}, r"'carrier': expected text or null \(BYTES\), got 0"),
    ],
)
def test_a_mistake_is_named(request_: Any, says: str) -> None:
    with pytest.raises(v2.BadRequest, match=says) as raised:
        v2.question(request_, INPUTS)
    assert len(str(raised.value)) < 300
