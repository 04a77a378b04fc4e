"""The pages' own files, and the chart library's. A build step is not needed: a browser reads them as they are."""

from __future__ import annotations

import functools
from importlib.resources import files

from tradewind_plugin.reports import Unavailable

_CHARTS = "plotly.min.js"
_KINDS = {".js": "text/javascript", ".svg": "image/svg+xml"}


@functools.cache
def file_of_page(name: str) -> tuple[bytes, str]:
    """Bytes and media type of a file; `Unavailable` where there is none of that name."""
    kind = _KINDS.get(f".{name.rpartition('.')[2]}")
    found = files("plotly") / "package_data" / name if name == _CHARTS else files(__package__) / name
    if kind is None or "/" in name or not found.is_file():
        raise Unavailable(404, "There is no such file.")
    return found.read_bytes(), kind
