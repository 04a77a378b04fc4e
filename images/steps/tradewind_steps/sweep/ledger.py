"""A sweep in MLflow: one run a trial below the sweep's own. Written beside the trials, in one thread, in the order in which
they end; what goes wrong is raised where the sweep next asks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tradewind.contract import StepManifest, StepSpec
from tradewind.store import Store
from tradewind.sweep.study import FAILED, Trial
from tradewind_steps import tracking

PARENT_TAG = "mlflow.parentRunId"


class Ledger:
    """The runs of a sweep's trials, and what of them can be used again.

    Args:
        run: the sweep's own, begun.
        store: where trials that have ended are kept, see `record`.
    """

    def __init__(self, spec: StepSpec, run: tracking.Run, store: Store) -> None:
        self._spec = spec
        self._parent = run
        self._store = store
        self._thread = ThreadPoolExecutor(1, "mlflow")
        self._notes = ThreadPoolExecutor(1, "notes")
        self._writing: list[Future[None]] = []
        self._open: set[str] = set()  # runs that are begun and not ended
        self._task = [spec.dag_id, spec.run_id, spec.task_id, spec.map_index]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        self._notes.shutdown(wait=True)
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        with contextlib.suppress(Exception):  # nobody else would end them; what went wrong before is the news
            for run_id in self._open:
                self._parent.client.set_terminated(run_id, "KILLED")

    def begin(self, number: int, fingerprint: str | None, *, again: bool = False) -> Future[str]:
        """Begin a trial's run; its id, when it is there."""
        return self._thread.submit(self._begin, number, fingerprint, f"trial {number}{' again' if again else ''}")

    def end(self, trial: Trial, params: Mapping[str, Any], curves: Mapping[str, list[float]], key: str | None) -> None:
        """Leave a trial for others under ``key``, at once, and end its run.

        Raises:
            TradewindError: a trial before could not be written.
        """
        self.check()
        if key and trial.state != FAILED:
            self._writing.append(self._notes.submit(self._note, trial, dict(params), dict(curves), key))
        self._writing.append(self._thread.submit(self._end, trial, dict(params), dict(curves)))

    def check(self, *, all_: bool = False) -> None:
        """Raise what went wrong so far; with ``all_`` once all is written."""
        left = [future for future in self._writing if not (all_ or future.done())]
        for future in self._writing:
            if future not in left:
                future.result()
        self._writing = left

    def record(self, key: str) -> Trial | None:
        """A trial that was left under ``key``. The run of one that an earlier try of this sweep has left is ended once more, for
        that try may have been killed before, and is shown below this one's."""
        found = self._store.cached(key)
        if not found:
            return None
        noted = found[1].metrics
        trial = Trial.from_dict(noted["trial"])
        if noted["of"] == self._task:
            self._writing.append(self._thread.submit(self._end, trial, noted["params"], noted["curves"], adopt=True))
        return trial

    def _begin(self, number: int, fingerprint: str | None, name: str) -> str:
        tags = {
            **tracking.tags_of(self._spec),
            "tradewind.fingerprint": fingerprint or "",
            "tradewind.trial": str(number),
            PARENT_TAG: self._parent.run_id,
        }
        with tracking.explained(str(self._spec.tracking_uri)):
            run = self._parent.client.create_run(self._parent.experiment_id, tags=tags, run_name=name)
        self._open.add(str(run.info.run_id))
        return str(run.info.run_id)

    def _end(self, trial: Trial, params: dict[str, Any], curves: dict[str, list[float]], *, adopt: bool = False) -> None:
        tags = {"tradewind.trial_state": trial.state, **({"tradewind.error": trial.error} if trial.error else {})}
        if adopt:
            tags[PARENT_TAG] = self._parent.run_id
        with tracking.explained(str(self._spec.tracking_uri)):
            client = self._parent.client
            client.log_batch(
                trial.run_id,
                metrics=tracking.figures(trial.metrics, curves)[:1000],
                params=tracking.entities("Param", tracking.texts(params)),
                tags=tracking.entities("RunTag", tags),
            )
            client.set_terminated(trial.run_id, "FAILED" if trial.state == FAILED else "FINISHED")
        self._open.discard(trial.run_id)

    def _note(self, trial: Trial, params: dict[str, Any], curves: dict[str, list[float]], key: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        metrics = {"trial": trial.to_dict(), "params": params, "curves": curves, "of": self._task}
        self._store.put_cached(
            StepManifest(status="success", fingerprint=key, outputs={}, metrics=metrics, started_at=now, ended_at=now)
        )
