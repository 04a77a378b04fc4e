"""gpu_run.py FEATURES OUT [--models net trees]: the templates' training on a GPU and on the CPU, in turns in one process.

Alone, without this package: Python with pandas, pyarrow, scikit-learn and what a template learns with (torch, xgboost). Each
is the template's own ``train.py``; of the network's the learning, without the export for serving. ``samples_per_s`` is rows
times passes (epochs, trees) over the seconds of learning, without what makes numbers of the rows, which is the CPU's work on
both. Without a GPU only the CPU is measured, and the document says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

DAGS = Path(__file__).parents[1] / "dags"
HOLDOUT = 0.2
# By model: name of the size, its parameters, and what the CPU does of the passes (samples per second do not depend on it).
SIZES: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "net": [
        ("template", {"epochs": 8, "width": 128, "batch": 2048}, {"epochs": 4}),
        ("wide", {"epochs": 12, "width": 2048, "batch": 8192, "learning_rate": 0.0005}, {"epochs": 1}),
    ],
    "trees": [
        ("template", {"trees": 100, "max_depth": 6}, {}),
        ("deep", {"trees": 400, "max_depth": 10}, {"trees": 100}),
    ],
}
PASSES = {"net": "epochs", "trees": "trees"}
PIPELINES = {"net": "flight_delay_net", "trees": "flight_delay"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path, help="a Parquet file of gpu_features.py")
    parser.add_argument("out", type=Path, help="the JSON file")
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--rows", type=int, help="take so many rows, evenly")
    parser.add_argument("--limit-s", type=float, default=210, help="begin nothing later than this")
    arguments = parser.parse_args()
    began = time.monotonic()
    dataset = read(arguments.features, arguments.rows)
    gpu = gpu_name()
    document: dict[str, Any] = {
        "gpu": gpu, "cpu_cores": len(os.sched_getaffinity(0)), "rows_train": len(dataset.train.y),
        "rows_holdout": len(dataset.holdout.y), "features": dataset.train.X.shape[1],
        "versions": {"python": platform.python_version()}, "measured": [], "left_out": [],
    }  # fmt: skip
    print(f"GPU: {gpu or 'none here'}; {document['cpu_cores']} cores; {document['rows_train']} rows to learn from", flush=True)
    for model in arguments.models:
        learner = LEARNERS[model](document["versions"])
        if gpu:
            learner(small(dataset), {**SIZES[model][0][1], PASSES[model]: 1, "device": "cuda"})  # CUDA's start is no learning
        for size, params, on_cpu in SIZES[model]:
            for device in ("cuda", "cpu") if gpu else ("cpu",):
                if time.monotonic() - began > arguments.limit_s:
                    document["left_out"].append([model, size, device])
                    continue
                given = {**params, **(on_cpu if device == "cpu" else {}), "device": device}
                found = measure(learner, dataset, given, given[PASSES[model]])
                document["measured"].append({"model": model, "size": size, "params": given, **found})
                print(line(document["measured"][-1]), flush=True)
    document["seconds"] = round(time.monotonic() - began, 1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(["", *table(document)]))
    return 0


def read(file: Path, rows: int | None) -> SimpleNamespace:
    """The features as the train step gives them: numbers and text, the last rows in time held back."""
    frame = pd.read_parquet(file)
    if rows:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, rows).astype(int)].reset_index(drop=True)
    y, frame = frame["late"].astype("int64"), frame.drop(columns=["late", "time_hour"])
    number = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    x = pd.DataFrame(
        {n: frame[n].astype("float64") if number[n] else frame[n].astype(object).where(frame[n].notna()) for n in frame}
    )
    cut = int(len(x) * (1 - HOLDOUT))
    return SimpleNamespace(train=SimpleNamespace(X=x[:cut], y=y[:cut]), holdout=SimpleNamespace(X=x[cut:], y=y[cut:]))


def small(dataset: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(train=SimpleNamespace(X=dataset.train.X[:5000], y=dataset.train.y[:5000]), holdout=dataset.holdout)


# A learner trains once: gives the seconds that went into learning, the device that did it, and scores of the holdout.
Learner = Callable[[SimpleNamespace, dict[str, Any]], tuple[float, str, np.ndarray]]


def net(versions: dict[str, str]) -> Learner:
    import torch

    module = template("net")
    versions["torch"] = torch.__version__
    epoch, seconds = module.one_epoch, list[float]()

    def timed(*arguments: Any) -> float:
        began = time.perf_counter()
        loss: float = epoch(*arguments)  # a number: the GPU has done its work
        seconds.append(time.perf_counter() - began)
        return loss

    module.one_epoch = timed

    def learn(dataset: SimpleNamespace, params: dict[str, Any]) -> tuple[float, str, np.ndarray]:
        seconds.clear()
        if params["device"] == "cuda":
            torch.cuda.reset_peak_memory_stats()
        encoder, network, _ = module.learn(dataset, params)
        used = "cpu"
        if params["device"] == "cuda":
            used = f"{torch.cuda.get_device_name()}, {torch.cuda.max_memory_allocated() / 1e6:.0f} MB allocated"
        codes, numbers = encoder.transform(dataset.holdout.X)
        with torch.no_grad():
            scores = network(torch.tensor(codes), torch.tensor(numbers)).numpy()
        return sum(seconds), used, scores

    return learn


def trees(versions: dict[str, str]) -> Learner:
    import xgboost

    module = template("trees")
    versions["xgboost"] = xgboost.__version__
    fit, seconds = xgboost.XGBClassifier.fit, list[float]()

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        fitted = fit(*arguments, **{**named, "verbose": False})
        seconds.append(time.perf_counter() - began)
        return fitted

    xgboost.XGBClassifier.fit = timed

    def learn(dataset: SimpleNamespace, params: dict[str, Any]) -> tuple[float, str, np.ndarray]:
        seconds.clear()
        pipeline = module.train(dataset, params)
        booster = pipeline[-1].get_booster()
        used = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
        pipeline[-1].device = "cpu"
        booster.set_param({"device": "cpu"})
        return sum(seconds), used, pipeline.predict_proba(dataset.holdout.X)[:, 1]

    return learn


LEARNERS: dict[str, Callable[[dict[str, str]], Learner]] = {"net": net, "trees": trees}


def template(model: str) -> Any:
    """The module ``train`` of a template; both have one of that name."""
    for name in ("train", "net", "served"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(DAGS / PIPELINES[model]))
    return importlib.import_module("train")


def measure(learner: Learner, dataset: SimpleNamespace, params: dict[str, Any], passes: int) -> dict[str, Any]:
    with utilisation() as readings:
        began = time.perf_counter()
        learning, used, scores = learner(dataset, params)
        seconds = time.perf_counter() - began
    busy = [percent for percent, _ in readings]
    return {
        "device": params["device"], "used": used, "passes": passes, "seconds": round(seconds, 3),
        "seconds_learning": round(learning, 3), "samples_per_s": round(len(dataset.train.y) * passes / learning),
        "gpu_percent_mean": round(float(np.mean(busy)), 1) if busy else None, "gpu_percent_max": max(busy, default=None),
        "gpu_memory_mb": max((memory for _, memory in readings), default=None),
        "auc": round(float(roc_auc_score(dataset.holdout.y, scores)), 4),
    }  # fmt: skip


def gpu_name() -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return (done.stdout.splitlines() or [None])[0]


@contextmanager
def utilisation() -> Iterator[list[tuple[float, float]]]:
    """Percent of the time that the GPU was busy and MB in use, five times a second while the block runs; nothing without one."""
    readings: list[tuple[float, float]] = []
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", "0", "-lms", "200"]
    try:
        process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield readings
        return

    def take() -> None:
        for said in process.stdout or []:
            parts = said.split(",")
            if len(parts) == 2 and all(part.strip().replace(".", "").isdigit() for part in parts):
                readings.append((float(parts[0]), float(parts[1])))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield readings
    finally:
        process.kill()
        thread.join()
        process.wait()


def line(found: dict[str, Any]) -> str:
    busy = "" if found["gpu_percent_mean"] is None else f", GPU {found['gpu_percent_mean']}% busy"
    return (
        f"{found['model']} {found['size']} on {found['device']} ({found['used']}): {found['samples_per_s']:,} samples/s, "
        f"{found['seconds_learning']} of {found['seconds']} s{busy}, AUC {found['auc']}"
    )


def table(document: dict[str, Any]) -> list[str]:
    """As Markdown."""
    rows = [
        "| model | size | device | samples/s | over the CPU | learning, s | whole, s | GPU busy, mean / max | AUC |",
        "|" + "---|" * 9,
    ]
    for found in document["measured"]:
        same = {f["device"]: f for f in document["measured"] if (f["model"], f["size"]) == (found["model"], found["size"])}
        ratio = f"{found['samples_per_s'] / same['cpu']['samples_per_s']:.1f}" if "cpu" in same else ""
        busy = "" if found["gpu_percent_mean"] is None else f"{found['gpu_percent_mean']}% / {found['gpu_percent_max']:.0f}%"
        rows.append(
            f"| {found['model']} | {found['size']} | {found['device']} | {found['samples_per_s']:,} | {ratio} | "
            f"{found['seconds_learning']} | {found['seconds']} | {busy} | {found['auc']} |"
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
