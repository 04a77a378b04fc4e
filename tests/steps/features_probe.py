"""Runs builds that fail, in the data environment and in one Spark session; prints what each raised, as JSON.

``python features_probe.py FOLDER``: ``FOLDER/cases.json`` maps a case's name to its build (Python) and its step params;
``FOLDER/*.csv`` are the sources.
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

from tradewind.contract import StepSpec
from tradewind_steps.features import make
from tradewind_steps.features.session import spark_session
from tradewind_steps.features.sources import as_parquet
from tradewind_steps.step import Step

folder = Path(sys.argv[1])
scratch = folder / "scratch"
code = scratch / "code"
code.mkdir(parents=True)
sys.path.insert(0, str(code))
cases = json.loads((folder / "cases.json").read_text())
paths = {path.stem: as_parquet(path.stem, path, scratch) for path in folder.glob("*.csv")}
raised = {}
with spark_session("probe", scratch, code=code, cpu=2) as spark:
    for number, (name, (build, params)) in enumerate(cases.items()):
        out = (folder / f"out/{number}").as_uri()
        spec = StepSpec(
            step="features", dag_id="test", run_id="run", task_id="features", map_index=-1, try_number=number + 1, params=params,
            inputs={}, code=None, entry_point=None, image="data", outputs_uri=out, store_uri=folder.as_uri(),
        )  # fmt: skip
        (code / f"case_{number}.py").write_text(build)
        importlib.invalidate_caches()
        try:
            made = make(spark, Step(spec, scratch), importlib.import_module(f"case_{number}").build, paths)
            raised[name] = {"type": None, "message": repr(made)}
        except Exception as error:
            raised[name] = {
                "type": type(error).__name__,
                "message": str(error),
                "retryable": getattr(error, "retryable", True),
                "lines": len(traceback.format_exc().splitlines()),
            }
sys.stdout.write("\n" + json.dumps(raised))
