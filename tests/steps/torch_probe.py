"""Runs a training function in several processes as the train step does on several GPUs, here on the CPU; in the torch
environment.

``python torch_probe.py STORE FOLDER MODULE:FUNCTION PROCESSES``: learns from a small table of its own, saves under one key.
The last line is JSON: what the model says, or the error.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tradewind.store import Store
from tradewind_steps.checkpoint import Checkpoint
from tradewind_steps.dataset import Dataset, Part
from tradewind_steps.train import processes


def table(rows: int) -> Part:
    chance = np.random.default_rng(rows)
    x = pd.DataFrame(
        {"carrier": pd.Series(chance.choice(["UA", "AA", "DL"], rows)).astype("str"), "hour": chance.uniform(0, 24, rows)}
    )
    late = chance.random(rows) < 1 / (1 + np.exp(-(x["hour"] - 14) / 2 - (x["carrier"] == "AA")))
    return Part(X=x, y=late.astype("int64"))


def main(store: str, folder: str, entry_point: str, number: int) -> dict:
    sys.path.insert(0, folder)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Checkpoint(Path(scratch) / "checkpoint", store=Store(store), key="c" * 64, writer=scratch)
        dataset = Dataset(
            train=table(4001), holdout=table(1000), label="late", features=["carrier", "hour"], task="binary", classes=[0, 1],
            checkpoint=checkpoint,
        )  # fmt: skip
        work = processes.Work(
            entry_point=entry_point, dataset=dataset, params={"device": "cpu", "epochs": 4, "batch": 256, "width": 32},
            folder=Path(scratch) / "processes", mlflow_run_id="none",
        )  # fmt: skip
        try:
            model = processes.run(work, number)
        except Exception as error:
            notes = "".join(getattr(error, "__notes__", []))
            return {"type": type(error).__name__, "message": str(error), "notes": notes}
        loss = model.evals_result_["holdout"]["loss"]
        return {"loss": loss, "answers": model.predict_proba(dataset.holdout.X.head(5))[:, 1].tolist()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], int(sys.argv[4]))))
