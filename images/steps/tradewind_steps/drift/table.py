"""A table that is read a column at a time: a year of rows need not fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from tradewind.errors import ValidationFailed
from tradewind_steps.split import instants

NUMBERS, TEXT = "numbers", "text"
UNKNOWN = "without a value"  # a column that has a type in no row


class Table:
    """A Parquet file or folder; of a time column's rows those before ``as_of``.

    Attributes:
        kinds: of each column `NUMBERS` (booleans too), `TEXT`, `UNKNOWN`, or its type where it is no feature of a model.
        types: of each column, as Arrow names it.
        rows: how many there are.

    Raises:
        ValidationFailed: it is no Parquet, or has no rows.
    """

    def __init__(self, path: Path, name: str, time_column: str | None, as_of: str | None) -> None:
        try:
            self._dataset = pads.dataset(path, format="parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise ValidationFailed(f"{name}: expected a Parquet file or folder at {path}: {error}") from error
        self.kinds = {field.name: _kind(field.type) for field in self._dataset.schema}
        self.types = {field.name: str(field.type).removeprefix("large_") for field in self._dataset.schema}
        self._before: np.ndarray | None = None
        self.rows = self._dataset.count_rows()
        if self.rows and as_of and time_column and time_column in self.kinds:
            self._before = (instants(self._column(time_column).to_pandas()) < pd.to_datetime(as_of, utc=True)).to_numpy()
            self.rows = int(self._before.sum())
        if not self.rows:
            raise ValidationFailed(f"{name}: no rows in {path}{f' before {as_of}' if as_of else ''}: there is nothing to compare")

    def values(self, name: str, *, as_numbers: bool) -> np.ndarray:
        """A column as 64-bit floats with NaN, or as objects: texts and None."""
        column = self._column(name).cast(pa.float64() if as_numbers else pa.string(), safe=False)  # large integers lose digits
        found: np.ndarray = column.to_numpy() if as_numbers else column.to_pandas().to_numpy(dtype=object, na_value=None)
        return found if self._before is None else found[self._before]

    def _column(self, name: str) -> pa.ChunkedArray:
        return self._dataset.to_table(columns={name: pc.field(name)}).column(0)


def _kind(of: pa.DataType) -> str:
    if pa.types.is_dictionary(of):
        return _kind(of.value_type)
    if pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of) or pa.types.is_boolean(of):
        return NUMBERS
    if pa.types.is_string(of) or pa.types.is_large_string(of):
        return TEXT
    return UNKNOWN if pa.types.is_null(of) else str(of)
