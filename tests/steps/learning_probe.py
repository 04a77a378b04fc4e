"""Runs train and evaluate steps one after the other in one process of the train environment, for its imports take seconds.

``python learning_probe.py FILE GPUS``: a JSON list of specs (as JSON text), in the order to run them; how many GPUs CUDA's driver
is said to see. What came of each is
printed, the last line being a JSON list: ``{"metrics": {...}, "outputs": {name: uri}}`` or ``{"type", "message", "retryable"}``.
"""

import importlib
import json
import sys
import tempfile
import traceback
from pathlib import Path

from tradewind.contract import StepSpec
from tradewind_steps import device
from tradewind_steps.step import Step

if int(sys.argv[2]):
    device.count_gpus = lambda: int(sys.argv[2])
found = []
for text in json.loads(Path(sys.argv[1]).read_text()):
    spec = StepSpec.from_json(text)
    with tempfile.TemporaryDirectory() as scratch:
        step = Step(spec, Path(scratch))
        try:
            result = importlib.import_module(f"tradewind_steps.{spec.step}").run(step)
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            found.append({"type": type(error).__name__, "message": str(error), "retryable": getattr(error, "retryable", None)})
        else:
            outputs = {
                name: {"uri": ref.uri, "sha256": ref.sha256, "size": ref.size, "kind": ref.kind}
                for name, ref in step.outputs.items()
            }
            found.append({"metrics": result.metrics, "outputs": outputs})
        for name in [name for name, module in sys.modules.items() if (getattr(module, "__file__", "") or "").startswith(scratch)]:
            del sys.modules[name]  # the next pipeline has modules of its own by these names
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(scratch)]
print(json.dumps(found))
