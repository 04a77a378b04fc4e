"""Every route of the plugin in a real API server: who may see it, what comes, and what a hostile manifest cannot do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import httpx
import pytest
from api_server import Server
from live import until

from tradewind.contract import ArtifactRef, Kind, StepManifest, StepSpec

HOSTILE = "<script>alert(1)</script>"
REPORT = b"<!doctype html><h1>Flights</h1>"

Left = Callable[..., str]


@pytest.fixture
def left(server: Server) -> Left:
    """Leave a try's result in the store as a step does; returns the address of the task instance below the plugin."""
    tries = itertools.count(1)

    def leave(outputs: dict[str, ArtifactRef], *, run_id: str, task_id: str = "validate", map_index: int = -1) -> str:
        folder = server.store.run_uri("flights", run_id, task_id, map_index, next(tries))
        spec = StepSpec(
            step="validate", dag_id="flights", run_id=run_id, task_id=task_id, map_index=map_index, try_number=1, params={},
            inputs={}, code=None, entry_point=None, image="data", outputs_uri=folder, store_uri=server.store.root,
        )  # fmt: skip
        manifest = StepManifest(
            status="success", fingerprint=None, outputs=outputs, metrics={"rows": 3},
            started_at="2026-01-01T00:00:00+00:00", ended_at="2026-01-01T00:00:01+00:00",
        )  # fmt: skip
        server.store.put_spec(spec)
        server.store.put_manifest(folder, manifest)
        return f"dags/flights/runs/{quote(run_id, safe='')}/tasks/{quote(task_id, safe='')}/{map_index}"

    return leave


@pytest.fixture
def report(server: Server) -> ArtifactRef:
    return server.store.put_content("report.html", REPORT, "report")


def ref(uri: str, kind: Kind = "report") -> ArtifactRef:
    return ArtifactRef(uri=uri, sha256="0" * 64, size=1, kind=kind)


# -- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["tasks/validate/-1/report", "tasks/validate/-1/manifest"])
def test_every_route_asks_for_login_and_for_the_right(server: Server, left: Left, report: ArtifactRef, route: str) -> None:
    left({"report": report}, run_id="guarded")
    path = f"dags/flights/runs/guarded/{route}"
    assert server.get(path, user=None).status_code == 401
    assert server.get(path, user="nobody").status_code == 403
    assert server.get(path, user="viewer").status_code == 200
    forged = httpx.get(f"{server.url}/tradewind/{path}", headers={"Authorization": "Bearer forged"})
    assert forged.status_code == 403
    with_cookie = httpx.get(f"{server.url}/tradewind/{path}", cookies={"_token": server.tokens["viewer"]})
    assert with_cookie.status_code == 200
    with_wrong_cookie = httpx.get(f"{server.url}/tradewind/{path}", cookies={"_token": server.tokens["nobody"]})
    assert with_wrong_cookie.status_code == 403


def test_the_list_above_has_every_route(server: Server) -> None:
    """A route added without a look at who may see it fails here. The server has no page that would list them."""
    code = "import json; from tradewind_plugin.app import create_app; print(json.dumps([r.path for r in create_app().routes]))"
    assert set(json.loads(server.python(code))) == {
        "/dags/{dag_id}/runs/{run_id:path}/tasks/{task_id}/{map_index}/report",
        "/dags/{dag_id}/runs/{run_id:path}/tasks/{task_id}/{map_index}/manifest",
        # In test_page_routes.py:
        "/dags/{dag_id}/runs/{run_id:path}/tasks/{task_id}/{map_index}/rows",
        "/dags/{dag_id}/runs/{run_id:path}/tasks/{task_id}/{map_index}/rows.csv",
        "/dags/{dag_id}/runs/{run_id:path}/results",
        "/dags/{dag_id}/tasks/{task_id}/history",
        "/dags/{dag_id}/versions",
        "/dags/{dag_id}/releases",
        "/dags/{dag_id}/serving",
        "/dags/{dag_id}/rollout",
        "/static/{name}",
    }
    assert {server.get(path).status_code for path in ("docs", "redoc", "openapi.json", "")} == {404}


def test_nothing_can_be_written(server: Server, left: Left, report: ArtifactRef) -> None:
    path = left({"report": report}, run_id="read-only")
    headers = {"Authorization": f"Bearer {server.tokens['viewer']}"}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert httpx.request(method, f"{server.url}/tradewind/{path}/report", headers=headers).status_code == 405


# -- what comes -----------------------------------------------------------------------------------------------------


def test_a_report_comes_as_written_and_is_locked_in(server: Server, left: Left, report: ArtifactRef) -> None:
    answer = server.get(f"{left({'report': report}, run_id='whole')}/report")
    assert answer.content == REPORT
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:2] == ["sandbox", "default-src 'none'"]
    assert {"style-src 'unsafe-inline'", "img-src data:", "frame-ancestors 'self'"} <= set(policy)
    assert not any("allow-" in rule or rule.startswith("script-src") for rule in policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-frame-options" not in answer.headers or answer.headers["x-frame-options"].upper() == "SAMEORIGIN"


def test_the_newest_committed_try_is_shown(server: Server, left: Left, report: ArtifactRef) -> None:
    newer = server.store.put_content("report.html", b"<p>second try", "report")
    left({"report": report}, run_id="retried")
    path = left({"report": newer}, run_id="retried")
    server.store.write(f"{server.store.run_uri('flights', 'retried', 'validate', -1, 9)}/report.html", b"not committed")
    assert server.get(f"{path}/report").content == b"<p>second try"


def test_another_report_is_asked_for_by_name(server: Server, left: Left, report: ArtifactRef) -> None:
    figures = server.store.put_content("figures.json", b'{"rows": 3}', "report")
    path = left({"report": report, "figures": figures}, run_id="named")
    answer = server.get(f"{path}/report?name=figures")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"rows": 3}


def test_a_file_that_is_no_page_is_a_download(server: Server, left: Left) -> None:
    path = left({"report": server.store.put_content("report.bin", b"MZ", "report")}, run_id="binary")
    answer = server.get(f"{path}/report")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"


def test_the_manifest_comes_as_json(server: Server, left: Left, report: ArtifactRef) -> None:
    answer = server.get(f"{left({'report': report}, run_id='manifest')}/manifest")
    manifest = StepManifest.from_json(answer.content)
    assert manifest.metrics == {"rows": 3}
    assert manifest.outputs["report"] == report


@pytest.mark.parametrize(
    "run_id", ["manual__2026-01-01T00:00:00+00:00", "a b", "a/b", "50%", "Ünïcode", "a%2Fb", "x/tasks/y/0/report"]
)
def test_run_ids_may_hold_any_characters(server: Server, left: Left, run_id: str) -> None:
    """As Airflow's UI writes them into the address: percent-encoded as one segment."""
    mine = server.store.put_content("report.html", f"<p>{run_id}".encode(), "report")
    assert server.get(f"{left({'report': mine}, run_id=run_id)}/report").text == f"<p>{run_id}"


@pytest.mark.parametrize("run_id", ["..", "../..", "../../other/runs/x"])
def test_a_run_id_is_never_a_path(server: Server, left: Left, run_id: str) -> None:
    """Sent as it is: a browser would not send dots, an attacker does."""
    mine = server.store.put_content("report.html", f"<p>{run_id}".encode(), "report")
    left({"report": mine}, run_id=run_id)
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    path = f"/tradewind/dags/flights/runs/{run_id}/tasks/validate/-1/report"
    connection.request("GET", path, headers={"Authorization": f"Bearer {server.tokens['viewer']}"})
    assert connection.getresponse().read() == f"<p>{run_id}".encode()
    root = server.store.root
    assert not {"validate", "other"} & {*server.store.names(root), *server.store.names(f"{root}/runs")}


def test_mapped_and_unmapped_task_instances_differ(server: Server, left: Left, report: ArtifactRef) -> None:
    mapped = server.store.put_content("report.html", b"<p>third", "report")
    left({"report": report}, run_id="mapped")
    path = left({"report": mapped}, run_id="mapped", map_index=2)
    assert server.get(f"{path}/report").content == b"<p>third"
    assert server.get("dags/flights/runs/mapped/tasks/validate/%7BMAP_INDEX%7D/report").content == REPORT
    assert server.get("dags/flights/runs/mapped/tasks/validate/two/report").status_code == 404


# -- what is missing or hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["report", "manifest"])
def test_before_the_first_result_a_sentence_says_so(server: Server, route: str) -> None:
    answer = server.get(f"dags/flights/runs/never/tasks/validate/-1/{route}")
    assert (answer.status_code, answer.text) == (404, "This task instance has left no result yet.")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_no_report_is_not_shown(server: Server, left: Left, report: ArtifactRef) -> None:
    path = left({"model": ref(report.uri, "model")}, run_id="kinds")
    answer = server.get(f"{path}/report?name=model")
    assert (answer.status_code, answer.text) == (404, "This task instance has no report named 'model'. It has none.")


def test_a_hostile_name_stays_text(server: Server, left: Left) -> None:
    path = left({HOSTILE: server.store.put_content("report.html", REPORT, "report")}, run_id="hostile-name")
    missing = server.get(f"{path}/report")
    assert missing.status_code == 404
    assert missing.headers["content-type"].startswith("text/plain")
    assert server.get(f"{path}/report?name={quote(HOSTILE, safe='')}").content == REPORT


@pytest.mark.parametrize("where", ["beside", "above", "chain", "link", "prefix", "root", "web"])
def test_nothing_outside_the_store_is_shown(server: Server, left: Left, where: str) -> None:
    secret = server.folder / "secret.html"
    secret.write_text("secret")
    root = server.store.root
    link = server.folder / "store" / "content" / "link.html"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    beside = server.folder / "store-of-another"
    beside.mkdir(exist_ok=True)
    (beside / "report.html").write_text("secret")
    uri = {
        "beside": f"file://{secret}",
        "above": f"{root}/content/../../secret.html",
        "chain": f"{root}/content::file://{secret}",
        "link": f"{root}/content/link.html",
        "prefix": f"file://{beside}/report.html",
        "root": root,
        "web": f"{server.url}/api/v2/version",
    }[where]
    logged = server.log.stat().st_size
    answer = server.get(f"{left({'report': ref(uri)}, run_id=f'outside-{where}')}/report")
    assert answer.status_code == 404
    assert "secret" not in answer.text
    until(lambda: b"outside the store" in server.log.read_bytes()[logged:], within_s=10, what="a line in the server's log")


def test_a_report_that_was_deleted_is_explained(server: Server, left: Left) -> None:
    answer = server.get(f"{left({'report': ref(f'{server.store.root}/content/gone.html')}, run_id='gone')}/report")
    assert answer.status_code == 404
    assert "run the task again" in answer.text


def test_a_report_too_large_is_not_read(server: Server, left: Left) -> None:
    large = server.folder / "store" / "large.html"
    with large.open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    answer = server.get(f"{left({'report': ref(f'file://{large}')}, run_id='large')}/report")
    assert answer.status_code == 413
    assert "larger than 32 MiB" in answer.text


def test_a_broken_manifest_is_explained_and_hides_no_other(server: Server, left: Left, report: ArtifactRef) -> None:
    left({"report": report}, run_id="broken", task_id="good")
    folder = server.store.run_uri("flights", "broken", "bad", -1, 1)
    server.store.write(f"{folder}/manifest.json", b"{")
    answer = server.get("dags/flights/runs/broken/tasks/bad/-1/report")
    assert answer.status_code == 500
    assert "cannot be read" in answer.text
    assert [result["task_id"] for result in server.get("dags/flights/runs/broken/results").json()] == ["good"]


def test_the_pages_are_offered_to_airflows_ui(server: Server) -> None:
    plugins = server.get_url(f"{server.url}/api/v2/plugins").json()["plugins"]
    (apps,) = (plugin["react_apps"] for plugin in plugins if plugin["name"] == "tradewind")
    assert {app["destination"]: app["name"] for app in apps} == {
        "nav": "Tradewind", "dag_run": "Chain", "task_instance": "Result",
    }  # fmt: skip
    assert {server.get_url(f"{server.url}/{app['bundle_url']}").status_code for app in apps} == {200}
