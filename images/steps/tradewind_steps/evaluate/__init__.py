"""The evaluate step: challenger and champion on the same holdout rows, held against rules. A verdict is no error here."""

from __future__ import annotations

import json
import logging
from typing import Any

from tradewind.errors import StoreError, ValidationFailed
from tradewind.rules import parse_rules
from tradewind_steps.device import limit_threads
from tradewind_steps.imports import Imports
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")

REPLAYED_ROWS = 1000
REPLAYED_AT_ONCE = 20  # rows of a request


def run(step: Step) -> StepResult:
    rules = parse_rules(step.params["rules"])
    limit_threads(step.spec.resources)
    waiting = Imports("mlflow.pyfunc")
    from tradewind_steps.evaluate.holdout import Holdout, read_card
    from tradewind_steps.split import Split, not_comparable

    card = read_card(step, "model")
    rules = parse_rules(step.params["rules"], card["task"])
    columns = list(dict.fromkeys([*(step.params.get("slices") or []), *(rule.column for rule in rules if rule.column)]))
    holdout = Holdout(step, card, columns)
    waiting.done()

    from tradewind_steps import gate
    from tradewind_steps.evaluate.report import report

    challenger, scores = holdout.measure(step.input_path("model"), card["features"])
    champion = champion_scores = champion_card = trouble = differences = data = None
    version = step.params.get("champion_version")
    there = "champion" in step.spec.inputs and step.spec.inputs["champion"].sha256 != step.spec.inputs["model"].sha256
    if there:
        champion_card = read_card(step, "champion")
        data = _data(step, card, champion_card)
        trouble = holdout.cannot_measure(champion_card, card)
        if trouble is None:
            trouble = not_comparable(
                Split.from_dict(champion_card["split"]), holdout.split, holdout.end, data["rows"] if data else None
            )
            champion, champion_scores = holdout.measure(step.input_path("champion"), champion_card["features"])
            differences = holdout.compare(champion_scores, scores) if challenger.rows else None
    min_slice_rows = int(step.params.get("min_slice_rows", 200))
    judgement = gate.judge(
        rules,
        challenger,
        champion,
        min_rows=int(step.params.get("min_rows", 1000)),
        min_slice_rows=min_slice_rows,
        champion_trouble=trouble,
    )
    log.info("%s on %d rows%s", judgement.verdict, challenger.rows, "".join(f"\n  {reason}" for reason in judgement.reasons))
    facts = {
        "verdict": judgement.verdict,
        "reasons": judgement.reasons,
        "model_sha256": step.spec.inputs["model"].sha256,
        "rows": challenger.rows,
        "classes": card["classes"],
        "challenger": challenger.metrics,
        "champion": champion.metrics if champion else None,
        "champion_version": version if there else None,
        "differences": differences.metrics if differences else None,
        "rules": [
            {name: getattr(result, name) for name in ("rule", "value", "expected", "verdict")} for result in judgement.rules
        ],
        "min_slice_rows": min_slice_rows,
        "holdout_start": holdout.start,
        "data_end": holdout.end,
    }
    measured = {"challenger": challenger, "champion": champion, "differences": differences}
    slices = {name: _slices(found) for name, found in measured.items() if found}
    document = {**facts, "slices": slices, "data": data}
    step.put_report("verdict", "verdict.json", json.dumps(document, indent=1, ensure_ascii=False))
    _put_requests(step, holdout, card, champion_card)
    other = None if champion is None or champion_scores is None else (champion, champion_scores)
    page = report(facts, holdout, (challenger, scores), other, card, trouble, differences)
    step.put_report("report", "report.html", page)
    return StepResult(metrics=facts)


def _put_requests(step: Step, holdout: Any, card: dict[str, Any], champion: dict[str, Any] | None) -> None:
    """Output ``requests``: holdout rows as a client would send them, for whoever compares two servers by them."""
    from tradewind_steps import smoke

    features = list(dict.fromkeys([*card["features"], *(champion["features"] if champion else [])]))
    rows = holdout.spread(REPLAYED_ROWS)
    there = [name for name in features if name in rows.frame]
    step.output_path("requests").write_text(
        json.dumps(
            {
                "task": card["task"],
                "requests": [smoke.request(part) for part in rows.batches(there, REPLAYED_AT_ONCE)],
                "slices": rows.slices,
            },
            ensure_ascii=False,
        )
    )
    step.put("requests", "dataset")


def _data(step: Step, card: dict[str, Any], champion: dict[str, Any]) -> dict[str, Any] | None:
    """The champion's training data beside these; None where nobody can compare them: it is told for information, and fails
    nothing. ``columns`` is None where they are the same."""
    if "reference" not in step.spec.inputs:
        return None
    import pyarrow as pa

    try:
        return _beside(step, card, champion)
    except (ValidationFailed, pa.ArrowException, StoreError, OSError) as error:
        log.warning("What the champion was trained on is not compared: %s", str(error).partition("\n")[0])
        return None


def _beside(step: Step, card: dict[str, Any], champion: dict[str, Any]) -> dict[str, Any]:
    from tradewind_steps.drift.beside import beside
    from tradewind_steps.drift.table import Table

    as_of = step.params["reference_as_of"]
    then = Table(step.input_path("reference"), "reference", champion["time_column"], as_of)
    now = Table(step.input_path("dataset"), "dataset", card["time_column"], step.spec.as_of)
    same = step.spec.inputs["reference"].sha256 == step.spec.inputs["dataset"].sha256 and then.rows == now.rows
    return {"rows": [then.rows, now.rows], "columns": None if same else beside(then, now)}


def _slices(measured: Any) -> dict[str, Any]:
    return {
        column: [{"value": value, "rows": part.rows, **part.metrics} for value, part in parts.items()]
        for column, parts in measured.slices.items()
    }
