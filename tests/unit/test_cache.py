"""The fingerprint notices what determines a result and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.cache import fingerprint
from tradewind.contract import ArtifactRef

PARTS: dict[str, Any] = {
    "step": "train",
    "code": "c",
    "params": {"trees": 200},
    "inputs": {"dataset": ArtifactRef(uri="file:///a", sha256="1", size=1, kind="dataset")},
    "as_of": None,
    "environment": "e",
    "device": "cpu",
}


@pytest.mark.parametrize(
    "change",
    [
        {"step": "evaluate"},
        {"code": "d"},
        {"params": {"trees": 201}},
        {"inputs": {"dataset": ArtifactRef(uri="file:///a", sha256="2", size=1, kind="dataset")}},
        {"inputs": {"other": PARTS["inputs"]["dataset"]}},
        {"as_of": "2013-02-01T00:00:00+00:00"},
        {"environment": "f"},
        {"device": "gpu"},
    ],
)
def test_what_determines_the_result_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**{**PARTS, **change}) != fingerprint(**PARTS)


def test_where_an_input_lies_does_not() -> None:
    moved = {"dataset": ArtifactRef(uri="s3://b/a", sha256="1", size=9, kind="dataset")}
    assert fingerprint(**{**PARTS, "inputs": moved}) == fingerprint(**PARTS)
    assert fingerprint(**{**PARTS, "params": {**PARTS["params"]}}) == fingerprint(**PARTS)
