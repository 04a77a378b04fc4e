"""How long the routes behind the pages take, with years of runs, versions and releases behind them."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx

from benchmarks.measure import BUILD, Figure
from tradewind.cli import embedded
from tradewind.cli.services import running
from tradewind.contract import ArtifactRef, StepManifest
from tradewind.registry import CHAMPION, Registry, lineage_tags
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.store import Store

NAME = "pages"
MANY = 3000  # runs, versions and release records, each
ROWS = 100_000  # in quarantine
_RUNS = 50  # of which a page asks at once
_WORDS = "2003-05"  # in the ids of 28 runs
_GOAL = "<= 0.3"
_ROWS = """
import pyarrow as pa, pyarrow.parquet as pq, sys
n = int(sys.argv[2])
table = pa.table({**{f"column_{c}": [f"value {r}" for r in range(n)] for c in range(20)}, "tradewind_reasons": ["is null"] * n})
pq.write_table(table, sys.argv[1] + "/part-0.parquet")
"""


def pages(envs: Path, repeat: int) -> list[Figure]:
    """Each route's median and its worst of ``10 * repeat`` requests, one after another, in a real API server."""
    home = BUILD / "pages"
    shutil.rmtree(home, ignore_errors=True)
    (home / "dags" / NAME).mkdir(parents=True)
    (home / "envs").symlink_to(envs, target_is_directory=True)
    at = embedded.Addresses(**{name: f"http://127.0.0.1:{free_port()}" for name in ("airflow", "mlflow", "serving")})
    with running(home) as up:
        at.write(home)
        for service in embedded.services(home, home / "dags", at):
            up.start(service)
        up.wait(lambda service: print(f"  {service.name} is up", flush=True))
        runs = _fill(home, at)
        token = httpx.get(f"{at.airflow}/auth/token", timeout=60).json()["access_token"]
        with httpx.Client(base_url=at.airflow, timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
            return [figure for name, path in _routes(client, runs).items() for figure in _timed(client, name, path, 10 * repeat)]


def _routes(client: httpx.Client, runs: list[str]) -> dict[str, str]:
    dag, run = f"/tradewind/dags/{NAME}", f"/tradewind/dags/{NAME}/runs/{quote(runs[0], safe='')}"
    found = {f"{what}{'_search' * bool(words)}": f"{dag}/{what}?{urlencode({'limit': 20, 'search': words})}"
             for what in ("versions", "releases") for words in ("", _WORDS)}  # fmt: skip
    return {
        **found,
        "versions_champion": f"{dag}/versions?limit=20&search=champion",
        "versions_last": f"{dag}/versions?{urlencode({'limit': 20, 'page': _last(client, f'{dag}/versions')})}",
        "releases_last": f"{dag}/releases?{urlencode({'limit': 20, 'page': _last(client, f'{dag}/releases')})}",
        "serving": f"{dag}/serving",
        "history": f"{dag}/tasks/validate/history?{urlencode([('run_id', name) for name in runs[:_RUNS]])}",
        "results": f"{run}/results",
        "rows": f"{run}/tasks/validate/-1/rows?limit=25",
        "rows_last": f"{run}/tasks/validate/-1/rows?limit=25&offset={ROWS - 25}",
        "airflows_own": "/api/v2/dags?limit=20",
    }


def _last(client: httpx.Client, path: str) -> str:
    """The name of the last page."""
    page = ""
    while following := client.get(path, params={"limit": 100, "page": page}).raise_for_status().json()["next"]:
        page = following
    assert page, f"{path} has one page only"
    return page


def _timed(client: httpx.Client, name: str, path: str, times: int) -> list[Figure]:
    found = client.get(path).raise_for_status().json()
    lists = [found] if isinstance(found, list) else [value for value in found.values() if isinstance(value, list)]
    assert any(lists) or name == "airflows_own", f"{path} has nothing"
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        taken.append(time.perf_counter() - began)
    goal = "" if name == "airflows_own" else _GOAL
    return [
        Figure(name=f"pages.{name}", value=round(statistics.median(taken), 3), unit="s", goal=goal),
        Figure(name=f"pages.{name}.worst", value=round(max(taken), 3), unit="s"),
    ]


def _fill(home: Path, at: embedded.Addresses) -> list[str]:
    """Results in the store, versions and release records in MLflow; returns the runs."""
    store = Store(str(home / "store"))
    runs = [f"scheduled__{2000 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}T00:00:00+00:00" for n in range(MANY)]
    quarantine = home / "store" / "quarantine"
    quarantine.mkdir(parents=True)
    subprocess.run([Environments(home / "envs").python("data"), "-c", _ROWS, quarantine, str(ROWS)], check=True)
    outputs = {"quarantine": ArtifactRef(uri=f"{store.root}/quarantine", sha256="0" * 64, size=1, kind="dataset")}
    metrics = {"rows_checked": 10 * ROWS, "rows_quarantined": ROWS, "quarantined_share": 0.1, "verdict": "PASSED"}

    def left(run_id: str, task: str, metrics: dict[str, object], outputs: dict[str, ArtifactRef]) -> str:
        folder = store.run_uri(NAME, run_id, task, -1, 1)
        store.put_manifest(folder, StepManifest(
            status="success", fingerprint=None, outputs=outputs, metrics=metrics, started_at="2026-01-01T00:00:00+00:00",
            ended_at="2026-01-01T00:00:01+00:00", usage={"seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_mb": 100.0},
        ))  # fmt: skip
        return f"{folder}/manifest.json"

    with Registry(at.mlflow) as registry, ThreadPoolExecutor(4) as pool:
        registry._call("POST", "registered-models/create", {"name": NAME})

        def version(run_id: str) -> None:
            left(run_id, "validate", dict(metrics), outputs)
            gate = left(run_id, "evaluate", {"challenger": {"auc": 0.7}, "verdict": "PASSED"}, {})
            tags = lineage_tags(dag_id=NAME, run_id=run_id, trained=gate, gate=gate, data_end="")
            asked = {"name": NAME, "source": f"s3://models/{run_id}", "tags": [{"key": k, "value": v} for k, v in tags.items()]}
            made = registry._call("POST", "model-versions/create", asked)["model_version"]["version"]
            record = {"at": float(made), "outcome": "released", "version": made, "serves": made, "before": None, "by": run_id,
                      "why": "", "reason": "", "dag_id": NAME, "run_id": run_id}  # fmt: skip
            registry.note_release(NAME, f"{int(made):016}", record)

        version(runs[0])
        registry.set_alias(NAME, CHAMPION, "1")
        for number, _ in enumerate(pool.map(version, runs[1:]), 1):
            if number % 500 == 0:
                print(f"  {number} of {MANY}", flush=True)
    return runs
