"""``python -m tradewind_steps``: run the step whose spec's URI is in TRADEWIND_SPEC, leave a manifest.

With arguments it is a model's server, or what fetches a model for one: see `tradewind_steps.serve.model`.

Exit code 0 after a success, 1 after a failure that is described in the manifest, 2 where no spec is named; anything else
means that the process died before it could say why.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from tradewind.contract import SPEC_VARIABLE, StepError, StepManifest
from tradewind.errors import TradewindError
from tradewind.store import Store, temporary_folder
from tradewind_steps.process import UsageMeter, configure_logging, end_with_parent
from tradewind_steps.step import Step, may_pass

log = logging.getLogger("tradewind")


def main() -> int:
    configure_logging()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before anybody imports it: what is learned here tells nobody
    if arguments := sys.argv[1:]:
        from tradewind_steps.serve.model import run

        return run(arguments)
    end_with_parent()
    uri = os.environ.get(SPEC_VARIABLE)
    if not uri:
        log.error(
            "%s is not set: expected the URI of a step's spec.json, got nothing. Tradewind's operators set it: a step is started "
            "by a task of a pipeline, not by hand",
            SPEC_VARIABLE,
        )
        return 2
    store = Store(uri.split("/runs/")[0])
    spec = store.get_spec(uri)
    started_at = now()
    meter = UsageMeter()
    with temporary_folder() as scratch, meter:
        step = Step(spec, Path(scratch))
        manifest = _run(step, started_at, meter)
    store.put_manifest(spec.outputs_uri, manifest)
    if manifest.status != "success":
        return 1
    step.committed()
    return 0


def _run(step: Step, started_at: str, meter: UsageMeter) -> StepManifest:
    spec = step.spec
    try:
        result = importlib.import_module(f"tradewind_steps.{spec.step}").run(step)
    except Exception as error:
        # Whatever goes wrong in a step travels as data: this is the one place that may catch all.
        log.error("%s", traceback.format_exc())
        return StepManifest(
            status="failed",
            fingerprint=None,
            outputs=step.outputs,
            metrics={},
            started_at=started_at,
            ended_at=now(),
            usage=meter.usage(),
            error=StepError(
                type=type(error).__name__,
                message=str(error),
                stack=traceback.format_exc(),
                retryable=error.retryable if isinstance(error, TradewindError) else may_pass(error),
            ),
        )
    return StepManifest(
        status="success",
        fingerprint=spec.fingerprint if result.reusable else None,
        outputs=step.outputs,
        metrics=result.metrics,
        started_at=started_at,
        ended_at=now(),
        usage=meter.usage(),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    sys.exit(main())
