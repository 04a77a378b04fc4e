"""What is in the table that the features step wrote, column by column, and whether a column gives the label away.

Read from the written Parquet, one column at a time, in the driver: that costs a second where Spark's aggregations cost
several, and memory for one column only. Nulls, smallest and largest value are of all rows; the rest is of every n-th row
where there are more than `SAMPLE`.

How well a column alone predicts the label is measured for all types alike: its values are put into bins (numbers by
quantile, text as it is), the label's mean per bin is taken from one half of the rows and predicts it in the other half, so that
a column of unique values predicts nothing. For a label of two values the measure is the area under the ROC curve, for a
number the share of its variance, as a correlation (eta).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from tradewind_steps.features.places import Place, dataset_at

SAMPLE = 1_000_000
NEARLY = 0.95  # above it, one feature alone is suspected of being the label in disguise
_BINS = 64
_TOP = 10
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

Numbers = npt.NDArray[np.float64]


def profile(folder: Place, *, label: str | None, time_column: str | None) -> dict[str, Any]:
    """The profile of a Parquet folder, as plain JSON.

    Returns:
        ``rows``, ``sampled_rows``, ``label`` (name, mean, measure) or None, ``data_end`` (the latest time, ISO 8601) or None,
        and ``columns``: per column ``type``, ``nulls``, ``distinct`` (in the sample), ``min``, ``max``, ``quantiles`` of numbers,
        ``top`` values of text with their counts, ``predicts`` (0 to 1, None where it was not measured).
    """
    dataset = dataset_at(folder)
    rows = dataset.count_rows()
    stride = max(1, math.ceil(rows / SAMPLE))
    target = _target(_column(dataset, label)[::stride]) if label and rows else None
    columns: dict[str, dict[str, Any]] = {}
    for field in dataset.schema:
        whole = _column(dataset, field.name)
        values = _values(whole[::stride])
        found: dict[str, Any] = {"type": str(field.type), "nulls": whole.null_count, **_describe(whole, values)}
        if label:
            comparable = target and values and field.name not in (label, time_column)
            found["predicts"] = _predicts(values, *target) if comparable and target and values else None
        columns[field.name] = found
    about_label: dict[str, Any] | None = {"name": label, "measure": None, "mean": None} if label else None
    if about_label and target:
        about_label |= {"measure": target[1], "mean": _round(float(np.nanmean(target[0])))}
    return {
        "rows": rows,
        "sampled_rows": len(range(0, rows, stride)),
        "label": about_label,
        "data_end": columns[time_column].get("max") if time_column else None,
        "columns": columns,
    }


def leaks(report: dict[str, Any]) -> list[str]:
    """One sentence for each column that alone nearly predicts the label."""
    if not report["label"]:
        return []
    measure = {"auc": "AUC", "eta": "correlation"}.get(report["label"]["measure"], "")
    return [
        f"{name!r} alone nearly predicts {report['label']['name']!r} ({measure} {column['predicts']:.3f}, above {NEARLY}): "
        "is it known before the event?"
        for name, column in report["columns"].items()
        if (column.get("predicts") or 0) > NEARLY
    ]


def _column(dataset: pads.Dataset, name: str) -> pa.ChunkedArray:
    column = dataset.to_table(columns=[name]).column(0)
    return pc.cast(column, pa.float64()) if pa.types.is_decimal(column.type) else column


@dataclass(frozen=True, kw_only=True)
class _Values:
    """A column as its distinct values, ordered, and for each row the position of its value (-1: missing)."""

    distinct: pa.Array
    codes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    ordered: bool  # numbers and times: neighbours are alike


def _values(column: pa.ChunkedArray) -> _Values | None:
    """None for types that cannot be compared here (nested, binary)."""
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind):
        return None
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype("int64")
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order) + 1, dtype="int64")
    place[order], place[-1] = np.arange(len(order)), -1
    codes = place[codes]
    return _Values(
        distinct=encoded.dictionary.take(pa.array(order)),
        codes=codes,
        counts=np.bincount(codes[codes >= 0], minlength=len(order)),
        ordered=not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)),
    )


def _describe(whole: pa.ChunkedArray, values: _Values | None) -> dict[str, Any]:
    if values is None or not len(values.distinct):
        return {}
    ends = pc.min_max(whole)
    described = {"distinct": len(values.distinct), "min": _plain(ends["min"].as_py()), "max": _plain(ends["max"].as_py())}
    if values.ordered:
        up_to = np.cumsum(values.counts)
        places = np.searchsorted(up_to, np.array(_QUANTILES) * up_to[-1])
        found = values.distinct.take(pa.array(places)).to_pylist()
        described["quantiles"] = {str(q): _plain(value) for q, value in zip(_QUANTILES, found, strict=True)}
    else:
        top = np.argsort(-values.counts, kind="stable")[:_TOP]
        described["top"] = [{"value": _plain(values.distinct[int(i)].as_py()), "count": int(values.counts[i])} for i in top]
    if pa.types.is_integer(whole.type) or pa.types.is_floating(whole.type):
        described["mean"] = _plain(pc.mean(whole).as_py())
    return described


def _target(column: pa.ChunkedArray) -> tuple[Numbers, str] | None:
    """The label as numbers (NaN where it is null) and the measure for it; None for text of more than two values."""
    values = pc.unique(column.drop_null()).to_pylist() if len(column) else []
    if len(values) == 2:
        is_larger = pc.equal(column, pa.scalar(max(values), column.type))
        return _numbers(is_larger), "auc"
    if len(values) > 2 and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return _numbers(column), "eta"
    return None


def _numbers(column: pa.ChunkedArray) -> Numbers:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype="float64")


def _predicts(values: _Values, target: Numbers, measure: str) -> float | None:
    bins = _bins(values)
    known = ~np.isnan(target)
    odd = np.zeros(len(target), dtype=bool)
    odd[1::2] = True
    size = int(bins.max()) + 1
    learn, judge = known & ~odd, known & odd
    if not learn.any() or not judge.any():
        return None
    # One row of the overall mean in each bin: what is unseen in the first half predicts nothing in particular.
    sums = np.bincount(bins[learn], target[learn], size) + target[learn].mean()
    means = sums / (np.bincount(bins[learn], minlength=size) + 1)
    truth, guess = target[judge], bins[judge]
    if measure == "auc":
        return _auc(truth, guess, means)
    total = float(((truth - truth.mean()) ** 2).sum())
    left = float(((truth - means[guess]) ** 2).sum())
    return _round(math.sqrt(max(0.0, 1 - left / total))) if total else None


def _auc(truth: Numbers, bins: npt.NDArray[np.int64], means: Numbers) -> float | None:
    """Area under the ROC curve of each row's bin's mean; ties count half."""
    _, place = np.unique(means, return_inverse=True)
    positives = np.bincount(place[bins], truth)
    negatives = np.bincount(place[bins]) - positives
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives
    return _round(float((positives * (below + negatives / 2)).sum() / pairs)) if pairs else None


def _bins(values: _Values) -> npt.NDArray[np.int64]:
    """A bin's number for each row; missing values have their own, 0."""
    if not values.ordered or len(values.distinct) <= _BINS:
        return values.codes + 1
    middle = np.cumsum(values.counts) - values.counts / 2
    bin_of = np.append((middle / values.counts.sum() * _BINS).astype("int64") + 1, 0)
    return bin_of[values.codes]


def _plain(value: Any) -> Any:
    """As JSON has it: times in ISO 8601, no infinities."""
    if isinstance(value, float):
        return _round(value) if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _round(value: float) -> float:
    return float(f"{value:.6g}")
