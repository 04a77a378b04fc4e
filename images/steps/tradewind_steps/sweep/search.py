"""A sweep at work: batch after batch, each trial looked up, or run in the pool and entered in the ledger."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tradewind.cache import fingerprint
from tradewind.contract import ArtifactRef, StepManifest, StepSpec, digest
from tradewind.errors import SpecError, StepFailed
from tradewind.sweep.best import Best, measured
from tradewind.sweep.study import COMPLETE, FAILED, PRUNED, Search, Trial, summary, too_many_failed
from tradewind_steps import tracking
from tradewind_steps.step import Step
from tradewind_steps.sweep.ledger import Ledger
from tradewind_steps.sweep.pool import Pool
from tradewind_steps.sweep.sampling import propose

log = logging.getLogger("tradewind")
_BY_SIGNAL = "its process was ended by signal {}: somebody killed it, most often the kernel for want of memory"


class Sweep:
    """One search, from its first trial to the best one's model.

    Attributes:
        known: the trials that have ended, in the order of their numbers; those of a batch when all of it have.

    Args:
        spec: a training's, without the sweep's parameters.
        parallel: trials at once, at most.
    """

    def __init__(self, step: Step, spec: StepSpec, search: Search, best: Best, pool: Pool, *, parallel: int, device: str) -> None:
        self.known: list[Trial] = []
        self._complete: list[Trial] = []  # of the batch that runs, too
        self._tried: dict[str, Trial] = {}  # the first complete trial of each point, in earlier batches
        self._step = step
        self._spec = spec
        self._search = search
        self._best = best
        self._pool = pool
        self._parallel = parallel
        self._device = device
        self._most_failed = float(step.params["max_failed"])
        self._identity = step.params.get("identity")
        self._run = parent_run(step, search, best, **(spec.params.get("params") or {}))
        self._ledger = Ledger(spec, self._run, step.store)
        self._holder: int | None = None  # the trial whose process waits with the best model so far in memory

    def __enter__(self) -> Self:
        self._run.__enter__()
        self._ledger.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        try:
            self._ledger.__exit__(kind, error, stack)
        finally:
            self._run.__exit__(kind, error, stack)

    # -- the search -----------------------------------------------------------------------------------------------

    def search(self) -> str | None:
        """Run all trials; why the sweep has failed, if it has."""
        for numbers in self._search.batches():
            points = propose(self._search, self._best, self.known, numbers)
            found = self._batch(dict(zip(numbers, points, strict=True)))
            self.known += [found[number] for number in sorted(found)]
            for trial in self.known:
                if trial.state == COMPLETE:
                    self._tried.setdefault(digest(trial.params), trial)
            failure = too_many_failed(self.known, self._search.trials, self._most_failed)
            if failure:
                return failure
        return None

    def written(self) -> None:
        """Wait until all is in MLflow and in the store; raises what went wrong at it."""
        self._ledger.check(all_=True)

    def facts(self, chosen: Trial | None) -> dict[str, Any]:
        return {
            **summary(self.known, self._best.metric, chosen),
            "experiment_id": self._run.experiment_id,
            "mlflow_run_id": self._run.run_id,
        }

    def show(self, chosen: Trial | None) -> None:
        """What the sweep's own run shows: the best trial's figures, the report, all trials."""
        show(self._run, self._step, chosen)

    def _batch(self, points: Mapping[int, dict[str, Any]]) -> dict[int, Trial]:
        done: dict[int, Trial] = {}
        first: dict[str, int] = {}
        waiting: deque[int] = deque()
        for number, point in points.items():
            key = digest(point)
            if key in self._tried:
                done[number] = dataclasses.replace(self._tried[key], number=number, reused=True)
            elif first.setdefault(key, number) == number and not self._look_up(number, point, done):
                waiting.append(number)
        judged = self._judged(min(points, default=0))
        begun: dict[int, Future[str]] = {}
        running: dict[int, str] = {}
        while waiting or running:
            for number in list(waiting)[: 2 * self._parallel]:
                if number not in begun:
                    begun[number] = self._ledger.begin(number, self._fingerprint(points[number]))
            while waiting and len(running) < self._parallel:
                number = waiting.popleft()
                running[number] = begun[number].result()
                self._start(number, points[number], running[number], judged)
            event = self._pool.next()
            trial = self._ended(event, points, running)
            if trial is None:
                continue
            done[trial.number] = trial
            if too_many_failed([*self.known, *done.values()], self._search.trials, self._most_failed):
                waiting.clear()
        for number, point in points.items():
            source = first.get(digest(point), number)
            if source != number and source in done:
                done[number] = dataclasses.replace(done[source], number=number, reused=True)
        return done

    def _look_up(self, number: int, point: dict[str, Any], done: dict[int, Trial]) -> bool:
        """Whether an equal training, or trial, has been."""
        key = self._fingerprint(point)
        if key is None:
            return False
        records = (self._ledger.record(self._record_key(key, state)) for state in (COMPLETE, PRUNED))
        trial = next((trial for trial in records if trial), None)
        if trial is None and (found := self._step.store.cached(key)):
            metrics = found[1].metrics
            trial = Trial(
                number=number, params=point, state=COMPLETE, metrics=measured(metrics), curve=metrics.get("curve", []),
                attrs=metrics.get("attrs", {}), run_id=str(metrics["mlflow_run_id"]),
            )  # fmt: skip
        if trial is None:
            return False
        done[number] = trial = dataclasses.replace(trial, number=number, params=point, reused=True)
        if trial.state == COMPLETE:
            self._complete.append(trial)
        return True

    def _start(self, number: int, point: dict[str, Any], run_id: str, judged: str | None) -> None:
        log.info("Trial %d: %s", number, point)
        self._pool.learn(
            number, params=self._params(point), run_id=run_id, experiment_id=self._run.experiment_id,
            fingerprint=self._fingerprint(point), metric=self._best.metric, judged=judged,
        )  # fmt: skip

    def _ended(self, event: Mapping[str, Any], points: Mapping[int, dict[str, Any]], running: dict[int, str]) -> Trial | None:
        """The trial that an event ends; None where it ends none."""
        number = event["trial"]
        if number not in running:
            if number == self._holder and event["event"] == "ended":
                self._holder = None
            return None
        curves: dict[str, list[float]] = {}
        common: dict[str, Any] = {"number": number, "params": points[number], "run_id": running.pop(number)}
        if event["event"] == "ended":  # without a word
            code = event["code"]
            error = _BY_SIGNAL.format(-code) if code < 0 else f"its process ended with exit code {code}"
            trial = Trial(**common, state=FAILED, error=error)
        else:
            left = self._pool.left(number)
            curves = left.pop("curves")
            trial = Trial(**common, **left)
        reached = trial.metrics.get(self._best.metric)
        what = trial.error or ("" if reached is None else f"{self._best.metric} {reached:g}")
        log.info("Trial %d %s: %s", number, trial.state, what)
        if trial.state == COMPLETE:
            self._hold(trial)
        key = self._fingerprint(trial.params)
        self._ledger.end(
            trial, {**self._params(trial.params), "device": self._device}, curves,
            self._record_key(key, trial.state) if key else None,
        )  # fmt: skip
        return trial

    def _hold(self, trial: Trial) -> None:
        """Let the process of the best trial so far wait, and no other."""
        self._complete.append(trial)
        try:
            best = self._best.choose(self._complete)
        except SpecError:  # none that the rules let through yet
            best = None
        if best is not trial:
            self._pool.drop(trial.number)
            return
        if self._holder is not None:
            self._pool.drop(self._holder)
        self._holder = trial.number

    # -- the best -------------------------------------------------------------------------------------------------

    def model_of(self, chosen: Trial) -> StepManifest:
        """The manifest of a training with these hyperparameters, as the train step would have left it. Whoever asks for such a
        training finds it.

        Raises:
            StepFailed: its process was killed, and again when it was run anew.
        """
        key = self._fingerprint(chosen.params)
        found = self._step.store.cached(key) if key else None
        if found:
            if self._run.is_there(str(found[1].metrics["mlflow_run_id"])):
                log.info("The model of trial %d is there already", chosen.number)
                return found[1]
            self._step.store.delete(found[0])
        started_at = _now()
        kept = self._keep(chosen.number) if self._holder == chosen.number else None
        if kept is None:
            kept = self._again(chosen)
        outputs = {name: ArtifactRef.from_dict(ref) for name, ref in kept["outputs"].items()}
        noted = {"curve": chosen.curve, "attrs": chosen.attrs} if chosen.curve else {}
        manifest = StepManifest(
            status="success", fingerprint=key, outputs=outputs, metrics={**kept["metrics"], **noted}, started_at=started_at,
            ended_at=_now(),
        )  # fmt: skip
        if key and not self._step.store.put_cached(manifest) and (first := self._step.store.cached(key)):
            return first[1]
        return manifest

    def _keep(self, number: int) -> dict[str, Any] | None:
        """What the trial that holds its model leaves; None where it has died."""
        self._pool.keep(number)
        while True:
            event = self._pool.next("kept", "ended")
            if event["trial"] == number:
                return self._pool.left_kept(number) if event["event"] == "kept" else None

    def _again(self, chosen: Trial) -> dict[str, Any]:
        """Train it once more: nobody has its model in memory any longer."""
        log.info("Training the best trial, %d, once more: its model is not in memory any longer", chosen.number)
        run_id = self._ledger.begin(chosen.number, self._fingerprint(chosen.params), again=True).result()
        again = self._search.trials + chosen.number  # what is still said of the first one's process must not be taken for news
        self._start(again, chosen.params, run_id, None)
        while (event := self._pool.next("learned", "ended"))["trial"] != again:
            continue
        left = self._pool.left(again) if event["event"] == "learned" else {}
        kept = self._keep(again) if left.get("state") == COMPLETE else None
        trial = dataclasses.replace(chosen, run_id=run_id, state=COMPLETE if kept else FAILED, metrics=left.get("metrics", {}))
        curves = left.get("curves", {})
        self._ledger.end(trial, {**self._params(chosen.params), "device": self._device}, curves, None)
        if kept is None:
            how = left.get("error") or "its process was killed, most often by the kernel for want of memory"
            raise StepFailed(f"The best trial, {chosen.number} with {chosen.params}, failed when it was run again: {how}")
        return kept

    # -- what a trial is --------------------------------------------------------------------------------------------

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {**(self._spec.params.get("params") or {}), **point}

    def _fingerprint(self, point: Mapping[str, Any]) -> str | None:
        """That of a training with these hyperparameters; None where nothing is reused."""
        if not self._identity:
            return None
        params = {**self._spec.params, "params": self._params(point)}
        return fingerprint(step="train", params=params, inputs=self._spec.inputs, as_of=self._spec.as_of, **self._identity)

    def _record_key(self, key: str, state: str) -> str:
        """Under which a trial is left for others: a complete one says the same whatever was before it, a pruned one does not."""
        if state != PRUNED:
            return digest(["trial", key])
        before = [[trial.params, trial.state, trial.metrics.get(self._best.metric), trial.curve] for trial in self.known]
        return digest(["trial", key, self._search.pruner, self._search.warm_up, self._best.metric, before])

    def _judged(self, start: int) -> str | None:
        """The file by which the trials of a batch are judged while they run."""
        if self._search.pruner is None:
            return None
        path = self._step.scratch / f"known-{start}.json"
        known = [trial.to_dict() for trial in self.known]
        path.write_text(json.dumps({"search": self._search.to_dict(), "known": known}))
        return str(path)


def parent_run(step: Step, search: Search, best: Best, **common: Any) -> tracking.Run:
    """The sweep's own run, not begun yet. It is in the trainings' experiment.

    Args:
        common: hyperparameters that all trials have.
    """
    shown = {"space": search.space, "sampler": search.sampler, "trials": search.trials, "seed": search.seed}
    shown |= {"pruner": search.pruner, "metric": best.metric, **common}
    spec = dataclasses.replace(step.spec, params=step.params.get("train") or step.params)
    return tracking.Run(spec, params=shown, tags={**tracking.tags_of(spec), "tradewind.sweep": "parent"})


def show(run: tracking.Run, step: Step, chosen: Trial | None) -> None:
    """Log a sweep's outcome, which the step has put, to its run."""
    folder = step.scratch / "run_files"
    folder.mkdir(exist_ok=True)
    for name in ("report", "study"):
        uri = step.outputs[name].uri
        (folder / uri.rsplit("/", 1)[-1]).write_bytes(step.store.read(uri))
    run.log_figures(chosen.metrics if chosen else {}, {}, None)
    run.log_files(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
