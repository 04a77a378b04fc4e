"""The routes behind the pages, in a real API server: which role may what, what comes, what a stranger's page cannot do."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from api_server import ROLES, Server

import tradewind_plugin
from tradewind.contract import ArtifactRef, StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.store import Store
from tradewind_plugin.rows import Rows

RUN = "scheduled__2026-02-01T00:00:00+00:00"
TASK = f"dags/flights/runs/{quote(RUN, safe='')}/tasks/validate/-1"
HOSTILE = "<script>alert(1)</script>"

WRITE = """
import pyarrow as pa, pyarrow.parquet as pq, sys
rows = range(1_000)
table = pa.table({"late": [f"{n}" if n % 2 else None for n in rows], sys.argv[2]: [f"{sys.argv[2]}, {n}" for n in rows],
                  "tradewind_reasons": ["late: is null"] * len(rows)})
pq.write_table(table.slice(0, 700), sys.argv[1] + "/part-0.parquet", row_group_size=300)
pq.write_table(table.slice(700), sys.argv[1] + "/part-1.parquet")
"""


@pytest.fixture(scope="module")
def validated(server: Server, environments: Environments) -> str:
    """A validation's result with 1,000 rows in quarantine, written as the step does: by its own environment."""
    folder = server.store.run_uri("flights", RUN, "validate", -1, 1)
    local = Path(folder.removeprefix("file://")) / "quarantine"
    local.mkdir(parents=True)
    subprocess.run([environments.python("data"), "-c", WRITE, str(local), HOSTILE], check=True)
    manifest = StepManifest(
        status="success", fingerprint=None, started_at="2026-01-01T00:00:00+00:00", ended_at="2026-01-01T00:00:01+00:00",
        outputs={"quarantine": ArtifactRef(uri=f"{folder}/quarantine", sha256="0" * 64, size=1, kind="dataset")},
        metrics={"rows_checked": 20_000, "rows_quarantined": 1_000, "quarantined_share": 0.05, "verdict": "PASSED"},
        usage={"seconds": 1.0, "cpu_seconds": 1.5, "peak_memory_mb": 100},
    )  # fmt: skip
    server.store.put_manifest(folder, manifest)
    return TASK


# -- who may --------------------------------------------------------------------------------------------------------

SEE = [
    f"{TASK}/rows", f"{TASK}/rows.csv", f"dags/flights/runs/{quote(RUN, safe='')}/results",
    f"dags/flights/tasks/validate/history?run_id={quote(RUN, safe='')}", "dags/flights/versions", "dags/flights/releases",
    "dags/flights/serving", "static/main.js",
]  # fmt: skip
NO_MLFLOW = ("versions", "releases", "serving")  # the server of these tests is told an address where none is


@pytest.mark.parametrize("path", SEE)
def test_who_may_read_a_dag_may_see(server: Server, validated: str, path: str) -> None:
    assert server.get(path, user=None).status_code == 401
    assert server.get(path, user="nobody").status_code == 403
    for user in ROLES:
        if user == "nobody":
            continue
        answer = server.get(path, user=user)
        if path.endswith(NO_MLFLOW):
            assert answer.status_code == 503
            assert "does not answer" in answer.text
        else:
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("user", ROLES)
def test_who_may_trigger_a_dag_may_act(server: Server, user: str) -> None:
    answer = order(server, headers={"Authorization": f"Bearer {server.tokens[user]}"})
    assert answer.status_code == (403 if user in ("viewer", "nobody") else 503), answer.text  # 503: MLflow is asked next
    assert order(server).status_code == 401


def order(server: Server, *, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
    body = {"model": "flights", "rollout": "0" * 16, "do": "promote", "why": "a test"}
    return httpx.post(f"{server.url}/tradewind/dags/flights/rollout", json=body, headers=headers, timeout=30, **options)


@pytest.mark.parametrize(
    ("headers", "done"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "{ours}"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
        ({"Authorization": "Basic YTpi"}, False),
        ({"Authorization": "Basic YTpi", "Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_a_cookie_is_not_enough_from_a_strangers_page(server: Server, headers: dict[str, str], done: bool) -> None:
    headers = {name: value.format(ours=server.url) for name, value in headers.items()}
    answer = order(server, headers=headers, cookies={"_token": server.tokens["operator"]})
    assert answer.status_code == (503 if done else 403), answer.text
    assert done or "another site's page" in answer.text


# -- what comes -----------------------------------------------------------------------------------------------------


def test_rows_come_a_page_at_a_time(server: Server, validated: str) -> None:
    first = server.get(f"{validated}/rows?limit=2").json()
    assert first["columns"] == ["late", HOSTILE, "tradewind_reasons"]
    assert first["rows"] == [[None, f"{HOSTILE}, 0", "late: is null"], ["1", f"{HOSTILE}, 1", "late: is null"]]
    assert first["total"] == 1_000
    across = server.get(f"{validated}/rows?offset=299&limit=402").json()["rows"]  # three row groups, two files
    assert [row[1] for row in across] == [f"{HOSTILE}, {n}" for n in range(299, 701)]
    assert server.get(f"{validated}/rows?offset=1000").json()["rows"] == []
    for wrong in ("offset=-1", "limit=0", "limit=501", "limit=x"):
        assert server.get(f"{validated}/rows?{wrong}").status_code == 422


def test_a_search_has_an_end(server: Server) -> None:
    for what in ("versions", "releases"):
        assert server.get(f"dags/flights/{what}?search={'x' * 201}").status_code == 422
        assert server.get(f"dags/flights/{what}?search={'x' * 200}").status_code == 503  # there is no MLflow


def test_all_rows_are_a_download(server: Server, validated: str) -> None:
    answer = server.get(f"{validated}/rows.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="flights-validate-quarantine.csv"'
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["late", HOSTILE, "tradewind_reasons"]
    assert len(rows) == 1_001
    assert rows[1000] == ["999", f"{HOSTILE}, 999", "late: is null"]


def test_no_cell_of_a_download_is_a_formula(tmp_path: Path) -> None:
    texts = ['=HYPERLINK("http://evil.example")', "+1+cmd|' /C calc'!A0", "-5.5", "-", "@SUM(A1)", "\t=1", "a=1", "a;=1", None]
    table = pa.table({"=1+1": texts, "n": [-1.5] * len(texts)})
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "part.parquet")
    store = Store(str(tmp_path))
    ref = ArtifactRef(uri=f"{store.root}/rows", sha256="0" * 64, size=1, kind="dataset")
    text = "".join(Rows(store, ref).as_csv())
    assert '"a;=1"' in text, "where a semicolon parts cells, it parts none here"
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["'=1+1", "n"]
    kept = {"-5.5", "a=1", "a;=1"}
    assert rows == [[t if t in kept else f"'{t}" if t else "", "-1.5"] for t in texts]


def test_only_quarantine_is_shown_and_only_from_the_store(server: Server, tmp_path: Path) -> None:
    def left(run_id: str, **outputs: str) -> str:
        refs = {name: ArtifactRef(uri=uri, sha256="0" * 64, size=1, kind="dataset") for name, uri in outputs.items()}
        manifest = StepManifest(
            status="success", fingerprint=None, outputs=refs, metrics={}, started_at="2026-01-01T00:00:00+00:00",
            ended_at="2026-01-01T00:00:01+00:00",
        )  # fmt: skip
        server.store.put_manifest(server.store.run_uri("flights", run_id, "validate", -1, 1), manifest)
        return f"dags/flights/runs/{run_id}/tasks/validate/-1/rows"

    none = server.get(left("no-rows", dataset=f"{server.store.root}/x"))
    assert (none.status_code, none.text) == (404, "This task instance has put no rows into quarantine.")
    outside = server.get(left("rows-outside", quarantine=f"file://{tmp_path}"))
    assert (outside.status_code, "not shown" in outside.text) == (404, True)
    server.store.write(f"{server.store.root}/broken/part-0.parquet", b"no Parquet")
    broken = server.get(left("broken-rows", quarantine=f"{server.store.root}/broken"))
    assert (broken.status_code, "cannot be read" in broken.text) == (500, True)
    (tmp_path / "secret.parquet").write_bytes(b"not ours")
    inside = Path(server.store.root.removeprefix("file://")) / "linked"
    inside.mkdir()
    (inside / "part-0.parquet").symlink_to(tmp_path / "secret.parquet")
    linked = server.get(left("linked-rows", quarantine=f"{server.store.root}/linked"))
    assert (linked.status_code, "not shown" in linked.text) == (404, True), "not even a file of it that is a link"
    gone = server.get(left("gone-rows", quarantine=f"{server.store.root}/gone"))
    assert (gone.status_code, "run the task again" in gone.text) == (404, True)


def test_a_run_in_short(server: Server, validated: str) -> None:
    (result,) = server.get(f"dags/flights/runs/{quote(RUN, safe='')}/results").json()
    assert (result["task_id"], result["map_index"], result["status"], result["reused"]) == ("validate", -1, "success", False)
    assert result["headline"] == "20,000 rows checked, 1,000 quarantined (5.00%)"
    assert result["tables"] == ["quarantine"]
    assert "file://" not in str(result)
    of_task = f"dags/flights/runs/{quote(RUN, safe='')}/results?task_id="
    assert server.get(f"{of_task}validate").json() == [result]
    assert server.get(f"{of_task}train").json() == server.get(f"{of_task}{quote('../../x', safe='')}").json() == []
    assert server.get("dags/flights/runs/never/results").json() == []


def test_a_task_over_runs(server: Server, validated: str) -> None:
    found = server.get(f"dags/flights/tasks/validate/history?run_id=never&run_id={quote(RUN, safe='')}").json()
    assert [(entry["run_id"], entry["metrics"]["quarantined_share"]) for entry in found] == [(RUN, 0.05)]
    many = "&".join(f"run_id={n}" for n in range(201))
    assert server.get(f"dags/flights/tasks/validate/history?{many}").status_code == 422


def test_the_pages_files_and_no_others(server: Server) -> None:
    kinds = {"main.js": "text/javascript", "plotly.min.js": "text/javascript", "icon.svg": "image/svg+xml"}
    for name, kind in kinds.items():
        answer = server.get(f"static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    for name in ("__init__.py", "none.js", "..%2Fapp.py", "%2e%2e%2f__init__.py", "widgetbundle.js"):
        assert server.get(f"static/{name}").status_code == 404


def test_nothing_is_loaded_from_elsewhere(server: Server) -> None:
    """Airflow often has no internet, and a page with a stranger's script is theirs."""
    names = [path.name for path in Path(tradewind_plugin.__file__).with_name("static").glob("*.js") if ".min." not in path.name]
    assert "main.js" in names
    for name in names:
        answer = server.get(f"static/{name}")
        assert answer.status_code == 200
        assert not re.search(r"https?://|[\"']//", answer.text), name
