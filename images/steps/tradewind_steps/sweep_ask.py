"""What the next trials of a sweep try, where each trial is a step of its own."""

from __future__ import annotations

import json
import logging

from tradewind.sweep.best import parse_best
from tradewind.sweep.study import Search, Trial
from tradewind_steps.step import Step, StepResult
from tradewind_steps.sweep.sampling import propose

log = logging.getLogger("tradewind")


def run(step: Step) -> StepResult:
    params = step.params
    search, best = Search.from_dict(params["search"]), parse_best(params["metric"], params["rules"])
    known = [Trial.from_dict(trial) for trial in params["known"]]
    points = propose(search, best, known, range(*params["numbers"]))
    for number, point in zip(range(*params["numbers"]), points, strict=True):
        log.info("Trial %d: %s", number, point)
    step.put_report("study", "study.json", json.dumps(params["known"], ensure_ascii=False))
    return StepResult(metrics={"trials": points, "known": len(known)})
