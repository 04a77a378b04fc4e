"""Runs in the data environment: many small questions to the validate step's parts in one process. JSON in, JSON out.

Not a test by itself: the control environment has no pandas, and a process a question would take minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.errors import TradewindError
from tradewind_steps.validate import casting
from tradewind_steps.validate.reading import read_table
from tradewind_steps.validate.tables import content_hash, quarantine, write_table


def read(path: str) -> Any:
    """What is in a file, or which error says that it cannot be read."""
    try:
        table = read_table(Path(path))
    except TradewindError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"rows": table.num_rows, "columns": table.column_names, "first": [str(c[0].as_py()) for c in table.columns]}


def rules(path: str) -> Any:
    """The rules of an expectations file, or which error says that it cannot be used."""
    from tradewind_steps.validate.suite import load_rules

    try:
        return [rule.name for rule in load_rules(Path(path), time_column=None, id_columns=[])]
    except TradewindError as error:
        return f"{type(error).__name__}: {error}"


def table(path: str) -> Any:
    found = pq.read_table(path)
    rows = [{key: str(value) if value is not None else None for key, value in row.items()} for row in found.to_pylist()]
    return {"rows": rows, "types": {field.name: str(field.type) for field in found.schema}}


def cast(cells: list[str | None], kind: Any, date_format: str | None = None) -> Any:
    done = casting.cast(pa.chunked_array([pa.array(cells, pa.string())]), kind, date_format)
    return {
        "bad": np.flatnonzero(done.bad).tolist(),
        "values": [str(v) for v in done.column.to_pylist()],
        "type": str(done.column.type),
    }


def infer(cells: list[str | None]) -> Any:
    return str(casting.infer(pa.chunked_array([pa.array(cells, pa.string())])).type)


def hashes(folder: str) -> Any:
    """Content hashes of one table, and of the same table told otherwise."""
    base = pa.table({"a": [1, 2, None, 4], "b": ["x", None, "", "z"], "c": [0.0, 1.5, float("nan"), None]})
    shuffled, changed = base.take([3, 1, 0, 2]), base.set_column(0, "a", [[1, 2, None, 5]])
    swapped = base.set_column(1, "b", [["x", "", None, "z"]])
    write_table(base, Path(folder))
    return {
        "same": [content_hash(t) for t in (base, shuffled, pq.read_table(folder), pa.concat_tables([base[:1], base[1:]]))],
        "other": [
            content_hash(t)
            for t in (changed, swapped, base.rename_columns(["a", "b", "d"]), base[:3], base.take([0, 1, 2, 3, 3]))
        ],
        "typed": content_hash(base.set_column(0, "a", base["a"].cast(pa.float64()))),
    }


def many_rules(count: int) -> Any:
    """A quarantine with more rules than a machine word has bits."""
    written = pa.table({"tradewind_row": [str(n) for n in range(count + 1)]})
    broken = [(f"r{n}", f"why {n}", np.arange(n, count)) for n in range(count)]
    found = quarantine(written, np.arange(1, count + 2), broken)
    return {
        "columns": found.column_names,
        "rules": found["tradewind_rules"].to_pylist(),
        "rows": found["tradewind_row_"].to_pylist(),
    }


if __name__ == "__main__":
    questions = {f.__name__: f for f in (read, rules, table, cast, infer, hashes, many_rules)}
    json.dump([questions[name](*arguments) for name, *arguments in json.load(sys.stdin)], sys.stdout)
