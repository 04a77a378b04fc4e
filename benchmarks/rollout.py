"""The canary's statistics in simulation, and what the split costs a request."""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.looks import fixed_looks
from benchmarks.measure import BUILD, ROOT, Figure
from tradewind.cli import embedded
from tradewind.cli.services import running
from tradewind.contract import ArtifactRef
from tradewind.rollout.analysis import RATIOS, evidence, log_likelihoods
from tradewind.rollout.spec import RolloutSpec
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.client import LocalServing
from tradewind.serving.local.process import free_port
from tradewind.store import hash_folder

WEIGHT = 0.1
LOOK = 20  # requests between two looks
_RUNS, _FALSE_RUNS = 1000, 4000
_MOST, _FALSE_MOST = 40_000, 20_000  # requests of a run
_REQUESTS = 600
_LOAD = 100  # requests a second


def rollout(envs: Path, repeat: int) -> list[Figure]:
    """Detection, false alarms and the price of the split."""
    return [*detection(), *false_alarms(), *fixed_looks(), *split(envs)]


def detection() -> list[Figure]:
    """Canary requests until a version that fails more often is taken back, at a weight of 10%, looked at every 20 requests."""
    figures = []
    for champion, canary, goal in ((0.005, 0.05, "<= 200"), (0.005, 0.3, ""), (0.005, 0.02, "")):
        runs = _simulated([(canary, champion, _MOST)] * _RUNS)
        found = sorted(math.inf if requests is None else requests for requests in runs)
        name = f"detection.{champion:.1%}_to_{canary:.0%}"
        figures += [
            Figure(name=f"{name}.median", value=statistics.median(found), unit="requests", goal=goal),
            Figure(name=f"{name}.p90", value=found[int(0.9 * len(found))], unit="requests"),
            Figure(name=f"{name}.missed", value=round(found.count(math.inf) / len(found), 4), unit="share of runs"),
        ]
    return figures


def false_alarms() -> list[Figure]:
    """Rollouts of a version that is as good, taken back for their errors though looked at all the time."""
    figures = []
    for errors in (0.005, 0.05):
        runs = _simulated([(errors, errors, _FALSE_MOST)] * _FALSE_RUNS)
        share = sum(requests is not None for requests in runs) / len(runs)
        figures.append(Figure(name=f"false_alarms.{errors:.1%}", value=round(share, 5), unit="share of runs", goal="<= 0.005"))
    return figures


def _simulated(runs: list[tuple[float, float, int]]) -> list[int | None]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(_run, runs, range(len(runs)), chunksize=50))


def _run(errors: tuple[float, float, int], seed: int) -> int | None:
    """Canary requests until the evidence reaches the limit; None where it never did."""
    generator = random.Random(seed)
    canary_errors, stable_errors, most = errors
    logs, canary, limit = [0.0] * len(RATIOS), 0, 1 / RolloutSpec().alpha
    for _ in range(most // LOOK):
        asked = sum(generator.random() < WEIGHT for _ in range(LOOK))
        failed = [
            sum(generator.random() < share for _ in range(requests))
            for requests, share in ((asked, canary_errors), (LOOK - asked, stable_errors))
        ]
        canary += asked
        if any(failed):
            logs = [log + term for log, term in zip(logs, log_likelihoods(*failed, asked, LOOK - asked), strict=True)]
            if evidence(logs) >= limit:
                return canary
    return None


def split(envs: Path) -> list[Figure]:
    """The median time of a request through the endpoint that splits, over one to the model's server itself, in turns."""
    figures = []
    with _two_versions(envs) as (endpoint, direct, request):
        for name, load in (("quiet", 0), (f"at_{_LOAD}_a_second", _LOAD)):
            through, alone = _in_turns(endpoint, direct, request, load)
            more = (statistics.median(through) - statistics.median(alone)) * 1000
            figures += [
                Figure(name=f"split.{name}", value=round(more, 2), unit="ms more at p50", goal="<= 2"),
                Figure(name=f"split.{name}.through", value=round(statistics.median(through) * 1000, 2), unit="ms"),
                Figure(name=f"split.{name}.alone", value=round(statistics.median(alone) * 1000, 2), unit="ms"),
            ]
    return figures


@contextmanager
def _two_versions(envs: Path) -> Iterator[tuple[str, str, dict[str, object]]]:
    """An endpoint that gives 10% to a second version; its URL, the first version's own, and a request of one row."""
    home, folder = BUILD / "rollout", BUILD / "models" / "split"
    for made in (home, folder):
        shutil.rmtree(made, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "envs").symlink_to(envs, target_is_directory=True)
    maker = [Environments(envs).python("train"), ROOT / "benchmarks" / "split_model.py", folder]
    subprocess.run(maker, check=True, capture_output=True)
    model = ArtifactRef(uri=folder.as_uri(), sha256=hash_folder(folder), size=0, kind="model")
    request = json.loads((folder / "request.json").read_bytes())
    with running(home) as services:
        names = ("airflow", "mlflow", "serving")
        addresses = embedded.Addresses(**{name: f"http://127.0.0.1:{free_port()}" for name in names})
        services.start(next(s for s in embedded.services(home, home, addresses) if s.name == "serving"))
        services.wait(lambda _: None)
        serving = LocalServing(folder=home / "serving")
        for version in ("1", "2"):
            serving.load("bench", version, model)
        serving.shift("bench", {"1": 90, "2": 10})
        deployment = serving.observe("bench")
        yield deployment.endpoint_url, deployment.versions["1"].url, request


def _in_turns(endpoint: str, direct: str, request: dict[str, object], load: int) -> tuple[list[float], list[float]]:
    """Each pair in an order by chance, after a pause by chance, beside requests of another process that come by chance: where one
    waits for the other, the queue in the model's server would be measured, and not the way to it."""
    chance = random.Random(0)
    others = [multiprocessing.Process(target=_ask, args=(endpoint, request, load / 4, seed)) for seed in range(4 if load else 0)]
    for other in others:
        other.start()
    through, alone = [], []
    try:
        with httpx.Client(trust_env=False, timeout=30) as client:
            for number in range(_REQUESTS + 50):
                for url, seconds in chance.sample([(endpoint, through), (direct, alone)], 2):
                    time.sleep(chance.uniform(0, 0.02))
                    started = time.monotonic()
                    client.post(f"{url}/infer", json=request).raise_for_status()
                    if number >= 50:  # the first ones warm up
                        seconds.append(time.monotonic() - started)
        assert all(other.is_alive() for other in others), "The requests beside it have ended: this was measured without them"
    finally:
        for other in others:
            other.kill()
            other.join()
    return through, alone


def _ask(url: str, request: dict[str, object], rate: float, seed: int) -> None:
    """So many requests a second, with pauses as independent clients make them."""
    chance, due = random.Random(seed), time.monotonic()
    with httpx.Client(trust_env=False, timeout=30) as client:
        while True:
            due += chance.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
            client.post(f"{url}/infer", json=request).raise_for_status()
