"""A sweep of a hundred trials of no work, as one step: what trials cost."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.measure import BUILD, ROOT, Figure
from tradewind.cli import embedded
from tradewind.cli.services import running
from tradewind.contract import ArtifactRef, StepSpec
from tradewind.packaging import bundle
from tradewind.runtimes.base import result
from tradewind.runtimes.environments import Environments, environment_id
from tradewind.runtimes.local import LocalRuntime
from tradewind.serving.local.process import free_port
from tradewind.store import Store
from tradewind.sweep.study import Search

TRIALS = 100
_CODE = ROOT / "benchmarks" / "no_work"


def sweep(envs: Path, repeat: int) -> list[Figure]:
    """From the spec to the manifest, the process's start and MLflow's runs among it; then one trial more, the others reused."""
    home = BUILD / "sweep"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "envs").symlink_to(envs, target_is_directory=True)
    python = Environments(envs).python("train", say=print)
    subprocess.run([python, _CODE / "table.py", home / "table"], check=True)
    mlflow = f"http://127.0.0.1:{free_port()}"
    addresses = embedded.Addresses(airflow="http://127.0.0.1:1", mlflow=mlflow, serving="http://127.0.0.1:1")
    with running(home) as services:
        services.start(next(service for service in embedded.services(home, home, addresses) if service.name == "mlflow"))
        services.wait(lambda service: print(f"  {service.name} is up", flush=True))
        fresh, more, cpu = [], [], []
        for number in range(repeat + 1):
            before = _cpu()
            seconds = _run(home, mlflow, number, TRIALS)
            used = _cpu() - before
            again = _run(home, mlflow, number, TRIALS + 1)
            load = os.getloadavg()[0]
            print(
                f"  {number}/{repeat}: {seconds:.2f} s (CPU {used:.2f} s), one trial more {again:.2f} s, load {load:.1f}",
                flush=True,
            )
            if number:  # the first run after a start is slower, whatever it does
                fresh.append(seconds)
                more.append(again)
                cpu.append(used)
    return [
        Figure(
            name="sweep.no_work_seconds", value=round(statistics.median(fresh), 3), unit="s", goal="<= 5", spread=tuple(fresh)
        ),
        Figure(name="sweep.no_work_cpu_seconds", value=round(statistics.median(cpu), 3), unit="s", spread=tuple(cpu)),
        Figure(name="sweep.one_more_seconds", value=round(statistics.median(more), 3), unit="s", spread=tuple(more)),
    ]


def _cpu() -> float:
    """CPU seconds of the steps that have ended, all their processes; MLflow's server is not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(home: Path, mlflow: str, seed: int, trials: int) -> float:
    store = Store(str(home / "store"))
    search = Search.of(
        space={"guess": {"low": -1.0, "high": 1.0}}, trials=trials, sampler="random", seed=seed, batch=8, pruner=None, warm_up=0
    )
    train = {
        "params": {}, "label": "y", "time_column": None, "holdout": 0.2, "exclude": [], "task": None, "experiment": "no_work",
    }  # fmt: skip
    outer = {"metric": "rmse", "rules": [], "max_failed": 0, "parallel": None}
    identity = {"code": "no_work", "environment": environment_id("train"), "device": "cpu"}
    spec = StepSpec(
        step="sweep", dag_id="benchmark", run_id=str(seed), task_id="sweep", map_index=-1, try_number=1,
        params={"train": train, "search": search.to_dict(), "identity": identity, **outer},
        inputs={"dataset": ArtifactRef(uri=f"file://{home}/table", sha256="0" * 64, size=1, kind="dataset")},
        code=bundle(_CODE, store), entry_point="train:train", image="train",
        outputs_uri=store.new_try("benchmark", f"{seed}-{trials}", "sweep", -1, 1), store_uri=store.root,
        tracking_uri=mlflow, resources={"cpu": 2, "device": "cpu"},
    )  # fmt: skip
    uri = store.put_spec(spec)
    started = time.monotonic()
    LocalRuntime(home).run(spec, spec_uri=uri, say=lambda line: None)
    seconds = time.monotonic() - started
    done = result(store, spec).metrics["sweep"]
    assert done["complete"] == trials
    assert done["reused"] == (0 if trials == TRIALS else TRIALS)
    return seconds
