"""Runs the validate and features steps of several pipelines in one process of the data environment and one Spark session.

``python init_probe.py FILE``: a JSON list of [folder, data, table]; ``table`` is where the features are to lie. The last
line printed is a JSON list: the metrics of both steps, by step.
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

from tradewind.contract import ArtifactRef, StepSpec
from tradewind.packaging import bundle
from tradewind.store import Store
from tradewind_steps.features import make
from tradewind_steps.features.session import spark_session
from tradewind_steps.step import Step

wanted = json.loads(Path(sys.argv[1]).read_text())
scratch = Path(sys.argv[1]).parent / "scratch"
scratch.mkdir()
store = Store(str(scratch / "store"))


def step(name: str, folder: Path, data: str, **fields: object) -> Step:
    spec = StepSpec(
        dag_id=folder.name, run_id="run", task_id=name, step=name, map_index=-1, try_number=1, image="data",
        inputs={"data": ArtifactRef(uri=data, sha256="0" * 64, size=1, kind="dataset")}, code=bundle(folder, store),
        outputs_uri=store.run_uri(folder.name, "run", name, -1, 1), store_uri=store.root, **fields,
    )  # fmt: skip
    mine = scratch / folder.name / name
    mine.mkdir(parents=True)
    return Step(spec, mine)


found = []
with spark_session("probe", scratch, cpu=2) as spark:
    for folder, data, target in ((Path(folder), data, Path(target)) for folder, data, target in wanted):
        table = json.loads((folder / "table.json").read_text())
        params = {"expectations": "expectations.json", "tolerance": 0.05, "time_column": table["time"]}
        validate = step("validate", folder, f"file://{data}", params=params, entry_point=None)
        validated = importlib.import_module("tradewind_steps.validate").run(validate)
        params = {"label": table["label"], "time_column": table["time"]}
        features = step("features", folder, f"file://{data}", params=params, entry_point="features:build")
        build = features.user_function()
        made = make(spark, features, build, {"table": validate.output_path("dataset")})
        shutil.copytree(features.output_path("dataset"), target)
        found.append({"validate": validated.metrics, "features": made.metrics})
        sys.path.remove(str(features.code_folder()))
        del sys.modules["features"]  # the next pipeline has one of its own
print("\n" + json.dumps(found, default=str))
