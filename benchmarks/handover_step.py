"""handover_step.py FOLDER REPEAT: the functions by which one step writes a table and the next reads it, timed."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.contract import StepSpec
from tradewind_steps.dataset import read_table
from tradewind_steps.step import Step
from tradewind_steps.validate import tables

ROWS = 1_700_000


def table() -> pa.Table:
    """As tables are: measurements with few and with many digits, whole numbers, codes, times; just over 200 MB in memory."""
    random = np.random.default_rng(0)
    columns = {f"measured_{n}": random.normal(size=ROWS) for n in range(6)}
    columns |= {f"rounded_{n}": random.integers(0, 2000, ROWS) / 10 for n in range(4)}
    columns |= {f"count_{n}": random.integers(0, 300, ROWS) for n in range(3)}
    columns["time"] = np.datetime64("2013-01-01", "us") + random.integers(0, 8760, ROWS).astype("timedelta64[h]")
    columns["code"] = np.array(["UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E"])[random.integers(0, 8, ROWS)]
    return pa.table(columns)


def ours(made: pa.Table, folder: Path) -> None:
    """Write, hash and commit as the output of a step; read as the input of the next."""
    spec = StepSpec(
        step="handover", dag_id="bench", run_id="run", task_id="write", map_index=-1, try_number=1, params={}, inputs={},
        code=None, entry_point=None, image="data", outputs_uri=f"file://{folder}/runs/1", store_uri=f"file://{folder}",
    )  # fmt: skip
    step = Step(spec, folder / "scratch")
    ref = tables.put_table(step, "dataset", made)
    assert len(read_table(Path(ref.uri.removeprefix("file://")))) == ROWS


def theirs(made: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True)
    pq.write_table(made, folder / "table.parquet")
    assert len(pq.read_table(folder / "table.parquet").to_pandas()) == ROWS


def main(folder: Path, repeat: int) -> None:
    made = table()
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(repeat + 1):
        for name, function in (("ours", ours), ("theirs", theirs)):
            shutil.rmtree(folder, ignore_errors=True)
            started = time.perf_counter()
            function(made, folder)
            found[name].append(time.perf_counter() - started)
    # The first time also imports.
    print(json.dumps({**{name: values[1:] for name, values in found.items()}, "megabytes": round(made.nbytes / 1e6)}))


main(Path(sys.argv[1]).absolute(), int(sys.argv[2]))
