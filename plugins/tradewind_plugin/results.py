"""What the tasks of a run left, in short: for the picture of the chain, and for charts over many runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tradewind.contract import StepManifest
from tradewind.errors import SpecError
from tradewind.figures import key_figure
from tradewind.operators.links import run_url
from tradewind.settings import Settings
from tradewind.store import MANIFEST, Store, segment

QUARANTINE = "quarantine"  # the one table whose rows are shown: they are why a person looks
_AT_ONCE = 16  # an object store answers after some 10 ms, however many ask
_T = TypeVar("_T")
_R = TypeVar("_R")
_LOG = logging.getLogger(__name__)


class Results:
    """Manifests below one store's root, as plain JSON for the pages.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_run(self, dag_id: str, run_id: str, *, task_id: str | None = None) -> list[dict[str, Any]]:
        """One entry for each task instance of the run, or of one of its tasks, that has left a result, see `summary`."""
        folder = self._store.run_uri(dag_id, run_id)
        tasks = self._store.names(folder) if task_id is None else [segment(task_id)]
        places = [(task, index) for task in tasks for index in self._store.names(f"{folder}/{task}")]
        return [
            {"task_id": task, "map_index": int(index), **found}
            for (task, index), found in zip(places, self._each(f"{folder}/{task}/{index}" for task, index in places), strict=True)
            if found and index.lstrip("-").isdigit()
        ]

    def over_runs(self, dag_id: str, run_ids: list[str], task_id: str) -> list[dict[str, Any]]:
        """A task's results in several runs, in their order; runs without one are left out."""
        folders = [self._store.run_uri(dag_id, run_id, task_id, -1) for run_id in run_ids]
        return [{"run_id": run_id, **found} for run_id, found in zip(run_ids, self._each(folders), strict=True) if found]

    def at(self, uri: str) -> StepManifest | None:
        """The manifest at a URI that a model version's tag names; None where there is none, or not in this store."""
        if not uri.startswith(f"{self._store.root}/") or ".." in uri:
            return None
        try:
            return self._store.get_manifest(uri)
        except (FileNotFoundError, SpecError, ValueError, KeyError, TypeError):
            return None

    def each(self, work: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """What ``work``, which reads the store, gives for each. On this machine one after another: there threads wait for each
        other longer than for a file."""
        if self._store.root.startswith("file://"):
            return [work(item) for item in items]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(work, items))

    def _each(self, folders: Iterable[str]) -> list[dict[str, Any] | None]:
        return self.each(self._newest, folders)

    def _newest(self, folder: str) -> dict[str, Any] | None:
        """Of the newest committed try."""
        for tried in self._store.tries(folder):
            try:
                return summary(self._store.get_manifest(f"{tried}/{MANIFEST}"))
            except FileNotFoundError:
                continue
            except (SpecError, ValueError, KeyError, TypeError):
                _LOG.exception("What lies in %s cannot be read", tried)
                return None
        return None


def summary(manifest: StepManifest) -> dict[str, Any]:
    """A manifest as the pages show it: no addresses, which are nothing to a browser."""
    return {
        "status": manifest.status,
        "headline": _headline(manifest.metrics),
        "metrics": manifest.metrics,
        "reused": manifest.reused_from is not None,
        "started_at": manifest.started_at,
        "ended_at": manifest.ended_at,
        "usage": manifest.usage,
        "links": _links(manifest.metrics),
        "reports": sorted(name for name, ref in manifest.outputs.items() if ref.kind == "report"),
        "tables": sorted(name for name in manifest.outputs if name == QUARANTINE),
        "error": {"type": manifest.error.type, "message": manifest.error.message} if manifest.error else None,
    }


def _links(metrics: dict[str, Any]) -> dict[str, str]:
    """By name, pages of MLflow's that figures name."""
    names = [metrics.get("experiment_id"), metrics.get("mlflow_run_id")]
    return {"MLflow run": run_url(Settings.load().tracking_uri, *map(str, names))} if all(names) else {}


def _headline(metrics: dict[str, Any]) -> str:
    """An older version's result, or another's, may lack what its kind has today: it is shown all the same."""
    try:
        return key_figure(metrics)
    except (KeyError, IndexError, TypeError, ValueError, SpecError):
        return ""
