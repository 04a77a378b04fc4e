"""Tables as artifacts: Parquet in a folder, and a hash of what they say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradewind.contract import ArtifactRef, digest
from tradewind_steps.step import Step

_ODD = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0xC2B2AE3D27D4EB4F)
_BLOCK = 1 << 15  # rows whose hashes stay in the processor's cache

Words = npt.NDArray[np.uint64]


def put_table(step: Step, name: str, table: pa.Table) -> ArtifactRef:
    """Write a table as an output of the step and hash it meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        sha256 = pool.submit(content_hash, table)
        write_table(table, step.output_path(name))
        return step.put(name, "dataset", sha256=sha256.result())


def write_table(table: pa.Table, folder: Path) -> None:
    """Write ``folder/part-00000.parquet``, readable by Spark (times in microseconds)."""
    folder.mkdir(parents=True, exist_ok=True)
    # Snappy: zstd is a third smaller and takes twice as long to write as the rest of a hand-over.
    pq.write_table(
        table, folder / "part-00000.parquet", compression="snappy", coerce_timestamps="us", allow_truncated_timestamps=True
    )


def content_hash(table: pa.Table) -> str:
    """sha256, in hex, of the schema and the rows: equal tables have equal hashes in whatever order and files they lie."""
    columns = [_words(column) for column in table.columns]
    plain = mixed = 0
    either = np.uint64(0)
    with np.errstate(over="ignore"):
        for start in range(0, table.num_rows, _BLOCK):
            rows = np.zeros(min(_BLOCK, table.num_rows - start), dtype="uint64")
            for words in columns:
                rows ^= words[start : start + _BLOCK]
                rows *= _ODD
                rows ^= rows >> np.uint64(32)
            plain += int(rows.sum())
            either ^= np.bitwise_xor.reduce(rows)
            rows *= _NULL
            rows ^= rows >> np.uint64(29)
            mixed += int(rows.sum())
    schema = [[field.name, str(field.type)] for field in table.schema]
    return digest({"schema": schema, "rows": [table.num_rows, plain % 2**64, mixed % 2**64, int(either)]})


def quarantine(
    written: pa.Table, numbers: npt.NDArray[np.int64], broken: list[tuple[str, str, npt.NDArray[np.int64]]]
) -> pa.Table:
    """The rows that break a rule, as they were written, with their number in the source, the rules and the reasons.

    Args:
        written: all rows that were checked.
        numbers: the 1-based number of each in the source (a CSV's header is not counted).
        broken: name, reason and positions of the broken rows, per rule.
    """
    rows = np.unique(np.concatenate([positions for _, _, positions in broken])) if broken else np.zeros(0, dtype="int64")
    # Few combinations of rules are broken together: number them, and spell each out once.
    codes = np.zeros(len(rows), dtype="int64")
    spelled: list[tuple[list[str], list[str]]] = [([], [])]
    for name, reason, positions in broken:
        hit = np.isin(rows, positions, assume_unique=True)
        combinations, codes = np.unique(codes * 2 + hit, return_inverse=True)
        before = spelled
        spelled = []
        for combination in combinations:
            names, reasons = before[combination // 2]
            spelled.append((names + [name], reasons + [reason]) if combination % 2 else (names, reasons))
    taken = written.take(pa.array(rows))
    table = pa.table([_as_text(column) for column in taken.columns], names=written.column_names)
    for label, column in (
        ("tradewind_row", pa.array(numbers[rows])),
        ("tradewind_rules", pa.array(["; ".join(s[0]) for s in spelled]).take(pa.array(codes))),
        ("tradewind_reasons", pa.array(["; ".join(s[1]) for s in spelled]).take(pa.array(codes))),
    ):
        while label in table.column_names:
            label += "_"
        table = table.append_column(label, column)
    return table


def _words(column: pa.ChunkedArray) -> Words:
    """One number per cell: the value's own bits, or a hash of its text."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
        whole = _plain(column.cast(pa.int64()) if not pa.types.is_uint64(kind) else column, 0)
        words: Words = whole.view("uint64")
    elif pa.types.is_floating(kind):
        numbers = _plain(column.cast(pa.float64()), 0.0) + 0.0  # -0.0 is 0.0
        odd = np.isnan(numbers)
        words = (np.where(odd, np.nan, numbers) if odd.any() else numbers).view("uint64")
    else:
        codes = _as_text(column).combine_chunks().dictionary_encode()
        hashes = pd.util.hash_array(codes.dictionary.to_numpy(zero_copy_only=False).astype(object), categorize=False)
        words = np.append(hashes, _NULL)[codes.indices.fill_null(len(hashes)).to_numpy(zero_copy_only=False)]
    if not column.null_count:
        return words
    return np.where(column.is_null().combine_chunks().to_numpy(zero_copy_only=False), _NULL, words)


def _plain(column: pa.ChunkedArray, missing: float) -> npt.NDArray[Any]:
    filled = column.fill_null(missing) if column.null_count else column
    values: npt.NDArray[Any] = filled.combine_chunks().to_numpy(zero_copy_only=False)
    return values


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, type=pa.string())])
