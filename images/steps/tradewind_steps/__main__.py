"""``python -m tradewind_steps``: run the step whose spec's URI is in TRADEWIND_SPEC, leave a manifest.

Exit code 0 after a success, 1 after a failure that is described in the manifest; anything else means that the process
died before it could say why.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from tradewind.contract import SPEC_VARIABLE, StepError, StepManifest, StepSpec
from tradewind.errors import TradewindError
from tradewind.store import Store, temporary_folder
from tradewind_steps.process import UsageMeter, end_with_parent
from tradewind_steps.step import Step, may_pass

log = logging.getLogger("tradewind")


def main() -> int:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    end_with_parent()
    uri = os.environ[SPEC_VARIABLE]
    store = Store(uri.split("/runs/")[0])
    spec = store.get_spec(uri)
    started_at = now()
    meter = UsageMeter()
    with temporary_folder() as scratch, meter:
        manifest = _run(spec, Path(scratch), started_at, meter)
    store.put_manifest(spec.outputs_uri, manifest)
    return 0 if manifest.status == "success" else 1


def _run(spec: StepSpec, scratch: Path, started_at: str, meter: UsageMeter) -> StepManifest:
    step = Step(spec, scratch)
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
