"""One trial, in a process of its own that was forked for it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tradewind.sweep.best import measured, parse_best
from tradewind.sweep.study import COMPLETE, FAILED, PRUNED, Search, Trial
from tradewind_steps.progress import Stopped
from tradewind_steps.step import Step
from tradewind_steps.sweep.family import Family, described
from tradewind_steps.sweep.pruning import judge, progress
from tradewind_steps.train.learn import Learned, learn

log = logging.getLogger("tradewind")


def live(order: dict[str, Any], family: Family, wanted: Callable[[], bool]) -> int:
    """Learn, say what came of it, and keep the model if that is asked for.

    Args:
        order: ``trial``; ``params``, all that the user's function gets but the device; ``run_id`` and ``experiment_id`` of
            MLflow; ``fingerprint``, a training's with these parameters; ``metric``; and, where it may be ended early,
            ``judged``, the file with ``search`` and ``known`` trials.
        wanted: waits for the word; whether the model is to be kept.

    Returns:
        The process's exit code.
    """
    # For what the user's own code logs: MLflow takes up the run at the first call.
    os.environ["MLFLOW_RUN_ID"] = order["run_id"]
    os.environ["MLFLOW_TRACKING_URI"] = str(family.step.spec.tracking_uri)
    trial = order["trial"]
    facts, learned = _learned(order, family)
    (family.folder / f"{trial}.json").write_text(json.dumps(facts))
    family.voice.say("learned", trial=trial)
    if learned is None or not wanted():
        return 0
    try:
        kept = _kept(order, family, learned)
    except Exception as error:
        log.error("%s", traceback.format_exc())
        kept = {"error": described(error)}
    (family.folder / f"{trial}.kept.json").write_text(json.dumps(kept))
    family.voice.say("kept", trial=trial)
    return 0


def _learned(order: dict[str, Any], family: Family) -> tuple[dict[str, Any], Learned | None]:
    best, judging = parse_best(order["metric"], []), None
    if order["judged"]:
        judged = json.loads(Path(order["judged"]).read_text())
        judging = judge(Search.from_dict(judged["search"]), best, [Trial.from_dict(one) for one in judged["known"]])
    report = progress(best, judging)
    facts: dict[str, Any] = {"state": COMPLETE, "metrics": {}, "curves": {}}
    learned = None
    try:
        learned = learn(
            family.data, family.function, {**order["params"], "device": family.device}, report, family.step.spec.entry_point
        )
        facts |= {"metrics": measured({**learned.metrics, "seconds_fit": learned.seconds}), "curves": learned.curves}
    except Stopped as stopped:
        log.info("Trial %d ended early %s: poor beside the trials before", order["trial"], stopped)
        facts |= {"state": PRUNED, "curves": {"reported": [value for _, value in report.curve]}}
    except Exception as error:
        # One trial's failure is a fact about its hyperparameters; the sweep goes on.
        log.error("Trial %d failed\n%s", order["trial"], traceback.format_exc())
        facts |= {"state": FAILED, "error": f"{type(error).__name__}: {error}"[:5000]}
    return {**facts, "curve": report.curve, "attrs": judging.attrs if judging else {}}, learned


def _kept(order: dict[str, Any], family: Family, learned: Learned) -> dict[str, Any]:
    """The model as the train step leaves it: by the same code, from a spec that is a training's with these parameters."""
    from tradewind_steps import tracking
    from tradewind_steps.train.keep import keep

    spec = dataclasses.replace(
        family.step.spec,
        params={**family.step.spec.params, "params": order["params"]},
        fingerprint=order["fingerprint"],
    )
    step = Step(spec, family.step.scratch)
    shutil.rmtree(step.output_path("model"), ignore_errors=True)  # half of one, of a trial that was killed at it
    hyperparameters = {**order["params"], "device": family.device}
    run = tracking.Run.begun(
        spec, params=hyperparameters, tags=tracking.tags_of(spec), run_id=order["run_id"], experiment_id=order["experiment_id"]
    )
    result = keep(step, family.data, learned, run)
    return {"metrics": result.metrics, "outputs": {name: dataclasses.asdict(ref) for name, ref in step.outputs.items()}}
