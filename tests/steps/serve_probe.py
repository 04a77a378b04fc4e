"""``python serve_probe.py FOLDER...``: for each model folder the largest difference between the model's own numbers in
``smoke.json`` and what MLServer's MLflow runtime answers to the request in it; in the serve environment."""

import asyncio
import json
import sys
from pathlib import Path

from mlserver import ModelSettings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest
from mlserver_mlflow import MLflowRuntime


async def answers(folder: Path, request: dict) -> list[float]:
    runtime = MLflowRuntime(
        ModelSettings(name="probe", implementation=MLflowRuntime, parameters=ModelParameters(uri=str(folder)))
    )
    await runtime.load()
    response = await runtime.predict(InferenceRequest.model_validate(request))
    return list(response.outputs[0].data.root)


def flat(value):
    return [number for item in value for number in flat(item)] if isinstance(value, list) else [value]


found = []
for folder in map(Path, sys.argv[1:]):
    smoke = json.loads((folder / "smoke.json").read_text())
    got, expected = asyncio.run(answers(folder, smoke["request"])), flat(smoke["outputs"])
    nulls = sum(value is None for tensor in smoke["request"]["inputs"] for value in tensor["data"])
    worst = max(abs(a - b) for a, b in zip(got, expected, strict=True))
    found.append({"rows": len(smoke["outputs"]), "nulls": nulls, "difference": worst})
print(json.dumps(found))
