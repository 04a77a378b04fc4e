"""A real Prometheus with the chart's rules, over a real Envoy that names its clusters as Istio's do, before real MLServers.

Istio's telemetry and Seldon's executor are not here: ``written.txt`` has series with the names and labels of their sources.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import until
from prometheus_server import DASHBOARD, answers, ended_with_us

from tradewind.cli.traffic import Traffic, rows_of
from tradewind.errors import RuntimeUnavailable
from tradewind.runtimes.environments import Environments
from tradewind.serving.base import VersionStatistics
from tradewind.serving.local import envoy_config
from tradewind.serving.local.mlserver import environment
from tradewind.serving.local.process import free_port
from tradewind.serving.local.supervisor import _envoy_binary
from tradewind.serving.seldon.presets import PRESETS, Preset
from tradewind.serving.seldon.prometheus import Prometheus
from tradewind.serving.seldon.statistics import Gateway

NAMESPACE, NAME = "models", "drill"
PREDICTORS = {"1": "v1", "2": "v2"}
WEIGHTS = {"1": 50, "2": 50}


class Upstream(envoy_config.Upstream):
    @property
    def cluster(self) -> str:
        return f"outbound|9000|v{self.version}|{self.target}-v{self.version}.{NAMESPACE}.svc.cluster.local"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where they all are."""

    endpoint: str
    envoy: str
    prometheus: str

    def by(self, preset: str) -> Prometheus:
        return Prometheus(url=self.prometheus, preset=PRESETS[preset])

    def ask(self, path: str, **query: str) -> Any:
        response = httpx.get(f"{self.prometheus}/api/v1/{path}", params=query, trust_env=False)
        assert response.status_code == 200, f"{query}: {response.text}"
        return response.json()["data"]

    def firing(self) -> set[tuple[str, str]]:
        alerts = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("version", "")) for a in alerts if a["state"] == "firing"}


@pytest.fixture(scope="module")
def site(
    prometheus: Callable[..., AbstractContextManager[str]],
    environments: Environments,
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Version 1 is well, of version 2 one request in five fails; each gets half of the requests."""
    folder, python = tmp_path_factory.mktemp("prometheus"), environments.python("serve")
    with contextlib.ExitStack() as stack:
        ports = {
            version: stack.enter_context(mlserver(folder / version, python, models / "trees", version, fault))
            for version, fault in (("1", None), ("2", "errors"))
        }
        endpoint, admin = stack.enter_context(envoy(folder / "envoy", python, {v: http for v, (http, _) in ports.items()}))
        # As the Prometheus operator's monitors label what they scrape.
        pods = [
            {"targets": [f"127.0.0.1:{m}"], "labels": {"namespace": NAMESPACE, "pod": f"{NAME}-v{v}-0-model-5d9c7b-x2kzp"}}
            for v, (_, m) in ports.items()
        ]
        gateway = {"targets": [f"127.0.0.1:{admin}"], "labels": {"namespace": "istio-system", "pod": "gateway-1"}}
        written, here = free_port(), str(Path(__file__).parent)
        command = [sys.executable, "-m", "http.server", str(written), "--bind", "127.0.0.1", "--directory", here]
        stack.enter_context(ended_with_us(command, folder / "written.log"))
        jobs = [
            {"job_name": "models", "static_configs": pods},
            {"job_name": "written", "metrics_path": "/written.txt", "static_configs": [{"targets": [f"127.0.0.1:{written}"]}]},
            {"job_name": "gateway", "metrics_path": "/stats/prometheus", "static_configs": [gateway]},
        ]
        server = stack.enter_context(prometheus(folder / "server", jobs))
        yield Site(endpoint=endpoint, envoy=f"http://127.0.0.1:{admin}/stats/prometheus", prometheus=server)


@contextlib.contextmanager
def mlserver(folder: Path, python: Path, model: Path, version: str, fault: str | None) -> Iterator[tuple[int, int]]:
    """One with its metrics, as on Seldon; its ports."""
    folder.mkdir()
    http, metrics = free_port(), free_port()
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": 0, "metrics_port": metrics, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "debug": False}))
    parameters = {"uri": str(model), "version": version, "extra": {"fault": fault}}
    runtime = {"name": NAME, "implementation": "tradewind_steps.serve.runtime.Runtime", "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    command = [str(python), str(python.with_name("mlserver")), "start", str(folder)]
    with ended_with_us(command, folder / "server.log", env=environment(), cwd=folder):
        until(lambda: answers(f"http://127.0.0.1:{http}/v2/models/{NAME}/ready"), within_s=120, what=f"MLServer {version}")
        yield http, metrics


@contextlib.contextmanager
def envoy(folder: Path, python: Path, servers: dict[str, int]) -> Iterator[tuple[str, int]]:
    """The model's endpoint, and the port of Envoy's statistics."""
    dynamic = folder / "dynamic"
    dynamic.mkdir(parents=True)
    upstreams = [Upstream(target=NAME, version=v, port=port, weight=WEIGHTS[v]) for v, port in servers.items()]
    (dynamic / envoy_config.ROUTES).write_text(json.dumps(envoy_config.routes(upstreams, number="1")))
    clusters = envoy_config.clusters(upstreams, number="1")
    for cluster in clusters["resources"]:  # a semicolon ends a name in statistics, as Istio has it
        cluster["alt_stat_name"] = f"{cluster['name']};"
    (dynamic / envoy_config.CLUSTERS).write_text(json.dumps(clusters))
    port, admin = free_port(), free_port()
    bootstrap = envoy_config.bootstrap(port=port, admin_socket=folder / "unused", dynamic=dynamic)
    bootstrap["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
    # What Istio's proxies are told to take out of a statistic's name for a label.
    tags = {
        "cluster_name": r"^cluster(\.([^;]+);)",
        "response_code": r"_rq(_([1-5]\d\d))$",
        "response_code_class": r"_rq(_([1-5]xx))$",
    }
    bootstrap["stats_config"] = {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in tags.items()],
    }
    (folder / "bootstrap.json").write_text(json.dumps(bootstrap))
    command = [str(_envoy_binary(python)), "-c", str(folder / "bootstrap.json"), "--disable-hot-restart", "--concurrency", "1"]
    with ended_with_us(command, folder / "envoy.log", env={"PATH": os.environ["PATH"]}):
        until(lambda: answers(f"http://127.0.0.1:{admin}/ready"), within_s=30, what="Envoy")
        yield f"http://127.0.0.1:{port}/v2/models/{NAME}", admin


@pytest.fixture(scope="module")
def asked(site: Site, models: Path) -> Traffic:
    """Requests until the bad version's alert fires; nobody asks any more after that."""
    request = json.loads((models / "trees" / "smoke.json").read_bytes())["request"]
    with Traffic(site.endpoint, rows_of(request)) as traffic:
        until(lambda: ("TradewindVersionErrors", "2") in site.firing(), within_s=240, what="the alert")
    return traffic


def test_errors_of_one_version_fire_its_alert_and_no_other(site: Site, asked: Traffic) -> None:
    assert site.firing() == {("TradewindVersionErrors", "2")}
    assert set(asked.answers) == {"1", "2", "failed: 500"}


def test_what_prometheus_has_scraped_is_what_the_gateway_says(site: Site, asked: Traffic) -> None:
    gateway = Gateway(site.envoy).read(NAMESPACE, NAME, PREDICTORS)
    assert sum(found.requests for found in gateway.values()) == asked.answers.total()
    assert (gateway["1"].errors, gateway["2"].errors) == (0, asked.answers["failed: 500"])

    def scraped() -> bool:  # Envoy's histograms are a second behind its counters
        return site.by("envoy").read(NAMESPACE, NAME, PREDICTORS) == Gateway(site.envoy).read(NAMESPACE, NAME, PREDICTORS)

    until(scraped, within_s=30, what="the same counts, latencies and all")
    assert " series of envoy_cluster_upstream_rq_completed" in site.by("envoy").look()


def test_mlserver_counts_the_same_by_its_own_clock_and_direct_requests_too(site: Site, asked: Traffic) -> None:
    gateway = Gateway(site.envoy).read(NAMESPACE, NAME, PREDICTORS)

    def counted() -> dict[str, VersionStatistics] | None:
        found = site.by("mlserver").read(NAMESPACE, NAME, PREDICTORS)
        counts = {version: (f.requests, f.errors) for version, f in found.items()}
        return found if counts == {version: (f.requests, f.errors) for version, f in gateway.items()} else None

    found = until(counted, within_s=10, what=f"the same counts as {gateway}")
    for statistics in found.values():
        assert sum(statistics.latency.values()) == statistics.requests and statistics.active == 0
        assert set(statistics.latency_ms) == {"50", "90", "95", "99"}


@pytest.mark.parametrize("preset", ["istio", "executor"])
def test_who_counts_under_other_names_is_understood(site: Site, preset: str) -> None:
    until(lambda: answer(site, preset)["1"].requests, within_s=10, what="the written text")
    found = answer(site, preset)
    assert {version: (f.requests, f.errors, f.active, f.latency) for version, f in found.items()} == {
        "1": (90, 0, 0, {"5": 60, "10": 30}), "2": (10, 2, 0, {"0": 8, "10": 2}),
    }  # fmt: skip


def answer(site: Site, preset: str) -> dict[str, VersionStatistics]:
    return site.by(preset).read("other-models", "flights", PREDICTORS)


@pytest.mark.parametrize("preset", PRESETS)
def test_who_was_never_asked_has_counts_of_0(site: Site, preset: str) -> None:
    found = site.by(preset).read(NAMESPACE, 'no"such', {"1": "v1"})
    assert found == {"1": VersionStatistics(requests=0, errors=0, active=0, latency_ms={})}


def test_a_prometheus_that_scrapes_nobody_who_counts_is_told(site: Site) -> None:
    nobody = Preset(where="", requests="no_such_total{$where}", errors="no_such_total", below="no_such_bucket")
    with pytest.raises(RuntimeUnavailable, match="has no no_such_total: it scrapes nobody who counts so"):
        Prometheus(url=site.prometheus, preset=nobody).look()
    with pytest.raises(RuntimeUnavailable, match=r"status 400, .*parse error"):
        Prometheus(url=site.prometheus, preset=dataclasses.replace(nobody, requests="{")).read(NAMESPACE, NAME, PREDICTORS)


def test_every_panel_of_the_dashboard_has_something_to_show(site: Site, asked: Traffic) -> None:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$namespace", NAMESPACE).replace("$target", ".*")
            assert "$" not in query and site.ask("query", query=query)["result"], panel["title"]
