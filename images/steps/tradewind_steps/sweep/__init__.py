"""The sweep step: many trainings in a pool of processes, the best of which leaves its model, as a train step would."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tradewind.errors import SpecError, StepFailed
from tradewind.sweep.best import Best, parse_best
from tradewind.sweep.study import Search, Trial
from tradewind_steps import device as devices
from tradewind_steps.imports import Imports
from tradewind_steps.step import Step, StepResult
from tradewind_steps.sweep.pool import pool

log = logging.getLogger("tradewind")


def run(step: Step) -> StepResult:
    params = step.params
    search = Search.from_dict(params["search"])
    base = dict(params["train"].get("params") or {})
    device = devices.choose(step.spec.resources, require_gpu=bool(base.get("require_gpu")))
    cores = max(1, min(int(step.spec.resources.get("cpu") or 1), os.cpu_count() or 1))
    parallel = int(params.get("parallel") or cores)
    spec = dataclasses.replace(step.spec, step="train", params=params["train"], fingerprint=None)
    waiting = Imports("mlflow", "tradewind_steps.sweep.report", "matplotlib.figure", *(["optuna"] if search.learns else []))
    with pool(spec, step.scratch, threads=max(1, cores // parallel), device=device, judged=search.pruner is not None) as nursery:
        best = parse_best(params["metric"], params["rules"], nursery.task)
        waiting.done()
        from tradewind_steps.sweep.search import Sweep

        sweep = Sweep(step, spec, search, best, nursery, parallel=parallel, device=device)
        with sweep:
            failure = sweep.search()
            chosen = None if failure else _chosen(best, sweep.known)
            facts = sweep.facts(chosen)
            with ThreadPoolExecutor(1) as aside:  # the best trial's process saves its model meanwhile
                kept = aside.submit(sweep.model_of, chosen) if chosen else None
                put_outcome(step, sweep.known, search, params, chosen, facts)
                sweep.show(chosen)
            if failure:
                raise StepFailed(failure, retryable=False)
            manifest = kept.result() if kept else None
            best.choose(sweep.known)  # says why there is none
            sweep.written()
    assert manifest
    step.outputs.update(manifest.outputs)
    metrics = {name: value for name, value in manifest.metrics.items() if name not in ("curve", "attrs")}
    return StepResult(metrics={**metrics, "sweep": facts})


def _chosen(best: Best, known: list[Trial]) -> Trial | None:
    """None where there is no best one: the report comes first, then the error."""
    try:
        return best.choose(known)
    except SpecError:
        return None


def put_outcome(
    step: Step, known: list[Trial], search: Search, params: dict[str, Any], chosen: Trial | None, facts: dict[str, Any]
) -> None:
    """Outputs ``study``, all trials as JSON, and ``report``, the page."""
    from tradewind_steps.sweep.report import report

    document = {"search": search.to_dict(), "metric": params["metric"], "rules": params["rules"], **facts}
    document["trials"] = [trial.to_dict() for trial in known]
    step.put_report("study", "study.json", json.dumps(document, indent=1, ensure_ascii=False))
    best = parse_best(params["metric"], params["rules"])
    step.put_report("report", "report.html", report(known, search, best, chosen, facts))
