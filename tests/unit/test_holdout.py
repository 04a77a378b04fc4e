"""Two models' answers to the holdout rows, held beside each other by slice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tradewind.contract import StepSpec
from tradewind.store import Store
from tradewind_steps.evaluate.holdout import Holdout
from tradewind_steps.step import Step

ROWS = 60_000


def test_a_column_with_a_value_in_every_row_takes_no_longer(tmp_path: Path, store: Store) -> None:
    n = np.arange(ROWS)
    names = pd.Series(n).astype(str).where(n >= 9, pd.Series(n % 3).map({0: "-1", 1: "0", 2: "b"}))  # texts like any place
    frame = pd.DataFrame({"late": n % 2, "temp": n / ROWS, "name": names})
    frame.to_parquet(tmp_path / "table.parquet")
    card: dict[str, Any] = {
        "task": "binary", "classes": [0, 1], "time_column": None, "label": "late", "features": ["temp"],
        "split": {"kind": "hash", "holdout": 0.999, "columns": ["late", "name", "temp"]},
    }  # fmt: skip
    spec = StepSpec(
        step="evaluate", dag_id="test", run_id="run", task_id="evaluate", map_index=-1, try_number=1, params={},
        inputs={"dataset": store.refer(str(tmp_path / "table.parquet"))}, code=None, entry_point=None, image="train",
        outputs_uri=store.run_uri("test"), store_uri=store.root,
    )  # fmt: skip
    holdout = Holdout(Step(spec, tmp_path), card, ["name"])
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
