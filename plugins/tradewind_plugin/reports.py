"""Finds what a task instance left in the store, and reads only what lies in the store.

A manifest says where its artifacts are. Whoever can write a manifest could name any file that the API server can
read, so an address outside the store's root is refused, links included.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tradewind.contract import ArtifactRef, StepManifest
from tradewind.errors import TradewindError
from tradewind.store import Store

MAX_BYTES = 32 * 1024 * 1024
_LOG = logging.getLogger(__name__)


class Unavailable(TradewindError):
    """What was asked for cannot be shown. ``status`` is the HTTP status; the text is for the person who asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Reports:
    """Reads manifests and reports below one store's root.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> StepManifest:
        """The newest committed try's manifest; `Unavailable` where there is none or it cannot be read."""
        try:
            found = self._store.latest_manifest(dag_id, run_id, task_id, map_index)
        except (ValueError, KeyError, TypeError) as error:
            _LOG.exception("The manifest of %s %s %s %s is not one", dag_id, run_id, task_id, map_index)
            raise Unavailable(
                500, "The manifest of this task instance cannot be read; Airflow's API server has logged why."
            ) from error
        if found is None:
            raise Unavailable(404, "This task instance has left no result yet.")
        return found[1]

    def report(self, dag_id: str, run_id: str, task_id: str, map_index: int, name: str) -> tuple[str, bytes]:
        """File name and bytes of a report; `Unavailable` where there is none that may be shown."""
        outputs = self.manifest(dag_id, run_id, task_id, map_index).outputs
        reports = {key: ref for key, ref in outputs.items() if ref.kind == "report"}
        if name not in reports:
            there_are = f"It has: {', '.join(sorted(reports))}." if reports else "It has none."
            raise Unavailable(404, f"This task instance has no report named {name!r}. {there_are}")
        ref = reports[name]
        return ref.uri.rsplit("/", 1)[-1], self._read(ref)

    def _read(self, ref: ArtifactRef) -> bytes:
        if not inside(ref.uri, self._store.root):
            _LOG.error("A manifest names a report outside the store %s: %s", self._store.root, ref.uri)
            raise Unavailable(404, "The report does not lie in the artifact store; it is not shown.")
        try:
            if self._store.size(ref.uri) > MAX_BYTES:  # as it is, not as the manifest says
                raise Unavailable(413, f"The report is larger than {MAX_BYTES // 1024**2} MiB; it lies at {ref.uri}.")
            return self._store.read(ref.uri)
        except FileNotFoundError as error:
            raise Unavailable(404, "The report is gone from the artifact store: run the task again to have it back.") from error


def inside(uri: str, root: str) -> bool:
    """Whether ``uri`` lies below ``root``: by its text, and for local files with links followed."""
    below = uri.removeprefix(f"{root}/")
    if below == uri or ".." in below.split("/") or "::" in below:  # fsspec reads a::b as a chain of places
        return False
    if not root.startswith("file://"):
        return True
    local_root, local = (Path(where.removeprefix("file://")).resolve() for where in (root, uri))
    return local.is_relative_to(local_root)
