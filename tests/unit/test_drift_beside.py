"""PSI alone is what a drift check's is, of numbers and of texts that are counted already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tradewind_steps.drift.beside import beside
from tradewind_steps.drift.compare import compare, counted, psi
from tradewind_steps.drift.table import Table

COLUMNS: dict[str, tuple[list[Any], list[Any]]] = {
    "temp": ([float(n) for n in range(1, 101)], [5.0] * 50 + [95.0] * 40 + [None] * 10),
    "carrier": (["a"] * 50 + ["b"] * 40 + [None] * 10, ["a"] * 80 + ["new"] * 20),
    "note": ([f"then {n}" for n in range(100)], [f"now {n}" for n in range(50)] + [None] * 50),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_measure_alone_is_the_drift_checks(name: str, tmp_path: Path) -> None:
    tables = []
    for side, values in enumerate(COLUMNS[name]):
        pq.write_table(pa.table({name: values}), tmp_path / f"{side}.parquet")
        tables.append(Table(tmp_path / f"{side}.parquet", "table", None, None))
    numbers = name == "temp"
    then, now = (table.values(name, as_numbers=numbers) for table in tables)
    expected = compare(name, then, now).metrics["psi"]
    assert expected and expected > 0.1
    assert (psi(then, now) if numbers else psi(counted(then), counted(now))) == expected
    (column,) = beside(*tables)
    assert column["psi"] == expected
    assert column["missing"] == pytest.approx([values.count(None) / 100 for values in COLUMNS[name]])
