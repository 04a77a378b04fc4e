"""What the evaluate step holds beside each other: two models' answers by slice, and the data that they learned from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tradewind.contract import StepSpec
from tradewind.store import Store
from tradewind_steps.evaluate import _data
from tradewind_steps.evaluate.holdout import Holdout
from tradewind_steps.step import Step

ROWS = 60_000


def step(store: Store, folder: Path, **inputs: str) -> Step:
    spec = StepSpec(
        step="evaluate", dag_id="test", run_id="run", task_id="evaluate", map_index=-1, try_number=1,
        params={"reference_as_of": "2014-01-01T00:00Z"},
        inputs={name: store.refer(str(folder / file)) for name, file in inputs.items()}, code=None, entry_point=None,
        image="train", outputs_uri=store.run_uri("test"), store_uri=store.root,
    )  # fmt: skip
    return Step(spec, folder)


def test_data_that_cannot_be_compared_are_one_line_of_the_log(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    pd.DataFrame({"at": ["2013-01-01"]}).to_parquet(tmp_path / "good.parquet")
    pd.DataFrame({"at": ["soon"]}).to_parquet(tmp_path / "odd.parquet")
    card = {"time_column": "at"}
    assert _data(step(store, tmp_path, dataset="good.parquet", reference="odd.parquet"), card, card) is None
    (said,) = caplog.messages
    assert said.startswith("What the champion was trained on is not compared: Time column 'at'")
    assert "\n" not in said


def test_a_column_with_a_value_in_every_row_takes_no_longer(tmp_path: Path, store: Store) -> None:
    n = np.arange(ROWS)
    names = pd.Series(n).astype(str).where(n >= 9, pd.Series(n % 3).map({0: "-1", 1: "0", 2: "b"}))  # texts like any place
    frame = pd.DataFrame({"late": n % 2, "temp": n / ROWS, "name": names})
    frame.to_parquet(tmp_path / "table.parquet")
    card: dict[str, Any] = {
        "task": "binary", "classes": [0, 1], "time_column": None, "label": "late", "features": ["temp"],
        "split": {"kind": "hash", "holdout": 0.999, "columns": ["late", "name", "temp"]},
    }  # fmt: skip
    holdout = Holdout(step(store, tmp_path, dataset="table.parquet"), card, ["name"])
    held = holdout.frame
    champion = held["temp"].to_numpy()
    challenger = np.where(held["name"] == "b", 1 - champion, champion)
    started = time.monotonic()
    found = holdout.compare(champion, challenger).slices["name"]
    assert time.monotonic() - started < 2
    assert len(found) == 100
    for name in ("-1", "0", "b"):
        assert found[name].rows == (held["name"] == name).sum()
        assert found[name].metrics == {"disagreement": float(name == "b")}
