"""Rows of a table in the store, a page at a time, and all of them as CSV."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from typing import Any

from tradewind.contract import ArtifactRef
from tradewind.filesystems import explained, open_uri
from tradewind.store import Store
from tradewind_plugin.reports import Unavailable, inside

MOST = 500  # rows of one page
_CELL = 2000  # characters of a cell on a page; the download has all
_BATCH = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LOG = logging.getLogger(__name__)


class Rows:
    """The rows of a Parquet folder.

    Args:
        store: the only place that is read.
        ref: the table.
    """

    def __init__(self, store: Store, ref: ArtifactRef) -> None:
        within = inside(ref.uri, store.root)
        files = store.files(ref.uri) if within else []
        self._parts = sorted(file.uri for file in files if file.uri.endswith(".parquet"))
        if not within or not all(inside(uri, store.root) for uri in self._parts):
            raise Unavailable(404, "The table does not lie in the artifact store; it is not shown.")
        if not self._parts:
            raise Unavailable(404, "The table is gone from the artifact store: run the task again to have it back.")

    def page(self, offset: int, limit: int) -> dict[str, Any]:
        """``{"columns": [...], "rows": [[text or null, ...], ...], "total": n}``; only the row groups of the page are read."""
        try:
            return self._page(offset, limit)
        except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
            _LOG.exception("The table at %s cannot be read", self._parts[0])
            raise Unavailable(500, "The table cannot be read; Airflow's API server has logged why.") from error

    def _page(self, offset: int, limit: int) -> dict[str, Any]:
        columns: list[str] = []
        rows: list[list[str | None]] = []
        total = 0
        for file in self._files():
            columns = columns or list(file.schema_arrow.names)
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                first, last = max(offset - total, 0), min(offset + limit - total, count)
                if first < last:
                    table = file.read_row_group(group).slice(first, last - first)
                    rows += [[_shown(value) for value in row.values()] for row in _dicts(table)]
                total += count
        return {"columns": columns, "rows": rows, "total": total}

    def as_csv(self) -> Iterator[str]:
        """All rows, a batch at a time, with a header. Before a text that spreadsheets run as a formula stands an apostrophe."""
        text = io.StringIO()
        write = csv.writer(text, quoting=csv.QUOTE_ALL)  # some split at semicolons: what follows one would be a cell
        header = False
        for file in self._files():
            if not header:
                write.writerow(map(_cell, file.schema_arrow.names))
                header = True
            for batch in file.iter_batches(_BATCH):
                write.writerows(map(_cell, row.values()) for row in _dicts(batch))
                yield text.getvalue()
                text.seek(0)
                text.truncate()
        yield text.getvalue()

    def _files(self) -> Iterator[Any]:
        from pyarrow.parquet import ParquetFile

        for uri in self._parts:
            fs, path = open_uri(uri)
            with explained(uri), fs.open(path, "rb") as opened:
                yield ParquetFile(opened)


def _dicts(table: Any) -> list[dict[str, Any]]:
    """Rows by column; names are made unique first, as a dict would lose one of two."""
    return list(table.rename_columns([str(i) for i in range(table.num_columns)]).to_pylist())


def _cell(value: Any) -> Any:
    """Whoever writes into a table that is validated must not get a program run by whoever looks at what was refused."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)[:_CELL]
