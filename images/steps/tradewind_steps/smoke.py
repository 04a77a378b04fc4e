"""A few real rows and the trained model's own answers to them: what a server has to repeat before it may serve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ROWS = 16


def choose(features: pd.DataFrame, rows: int = ROWS) -> pd.DataFrame:
    """``rows`` rows, spread over the table, with a missing value of as many columns as possible among them; the fullest row
    comes first, as an example to show."""
    positions: list[int] = []
    missing = features.isna()
    for name in features.columns[missing.any()]:
        if len(positions) < rows // 2 and not missing[name].iloc[positions].any():
            positions.append(int(missing[name].to_numpy().argmax()))
    spread = np.linspace(0, len(features) - 1, min(rows, len(features))).astype(int)
    chosen = list(dict.fromkeys([*positions, *spread.tolist()]))[:rows]
    return features.iloc[sorted(chosen, key=lambda position: int(missing.iloc[position].sum()))]


def request(features: pd.DataFrame) -> dict[str, Any]:
    """An Open Inference Protocol (V2) request: one tensor a column, missing values null."""
    return {"parameters": {"content_type": "pd"}, "inputs": [_tensor(features[name]) for name in features.columns]}


def _tensor(column: pd.Series) -> dict[str, Any]:
    data = [None if pd.isna(value) else value for value in column.tolist()]
    kind = "FP64" if column.dtype == "float64" else "BYTES"
    tensor = {"name": str(column.name), "shape": [len(data), 1], "datatype": kind, "data": data}
    return {**tensor, "parameters": {"content_type": "str"}} if kind == "BYTES" else tensor


def document(features: pd.DataFrame, output: Any) -> dict[str, Any]:
    """``smoke.json``: the request, and the outputs that a server must give, row after row.

    Args:
        output: the saved model's answer: an array of one number, or one per class, a row.
    """
    values = np.asarray(output)
    return {"request": request(features), "outputs": values.astype("float64").tolist(), "shape": list(values.shape)}
