"""Rollouts on Seldon that a real Prometheus judges, from beginning to end: by what the gateway counts, and by what MLServer does.

The lab's gateway is an Envoy that was not told Istio's names for its statistics; the scrape gives them. The labels of the models'
pods are those that the Prometheus operator's monitors give.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from live import again_and_again
from prometheus_server import prometheus_server
from released import CANARY, LONG, Released, errors, failed
from seldon_place import NAMESPACE, STATISTICS, Place

from tradewind.errors import RuntimeUnavailable
from tradewind.serving.seldon.desired import METRICS
from tradewind.serving.seldon.presets import PRESETS
from tradewind.serving.seldon.prometheus import Prometheus

_CLUSTER = f"envoy_cluster_{NAMESPACE.replace('-', '_')}_svc_cluster_local_+"
_ISTIOS_NAMES: list[dict[str, Any]] = [
    {
        "source_labels": ["__name__", "envoy_cluster_name"], "regex": f"{_CLUSTER}upstream_rq.*;(outbound[|].*)",
        "target_label": "cluster_name", "replacement": f"$1.{NAMESPACE}.svc.cluster.local",
    },
    {
        "source_labels": ["__name__", "envoy_response_code_class"], "regex": f"{_CLUSTER}upstream_rq_xx;(.)",
        "target_label": "response_code_class", "replacement": "${1}xx",
    },
    {
        "source_labels": ["__name__"], "regex": f"{_CLUSTER}upstream_rq_xx", "target_label": "__name__",
        "replacement": "envoy_cluster_upstream_rq",
    },
    {
        "source_labels": ["__name__"], "regex": f"{_CLUSTER}(upstream_rq_.*)", "target_label": "__name__",
        "replacement": "envoy_cluster_$1",
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def url(seldon: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    parts, pods = urlsplit(STATISTICS), folder / "pods.json"
    gateway = {
        "job_name": "gateway", "metrics_path": parts.path, "static_configs": [{"targets": [parts.netloc]}],
        "metric_relabel_configs": _ISTIOS_NAMES,
    }  # fmt: skip
    models = {
        "job_name": "models", "metrics_path": "/prometheus",
        "file_sd_configs": [{"files": [str(pods)], "refresh_interval": "1s"}],
    }  # fmt: skip
    finding = again_and_again(lambda: find(seldon, pods), every_s=1)
    with finding, prometheus_server(folder / "server", [gateway, models]) as url:
        yield url


def find(seldon: Place, file: Path) -> None:
    """The models' pods, as the Prometheus operator would find them: Debian's Prometheus does not ask Kubernetes."""
    try:
        pods = seldon.all("pods", labelSelector="seldon-deployment-id")
    except RuntimeUnavailable:
        return  # it is asked again
    found = [
        {"targets": [f"{pod['status']['podIP']}:{METRICS}"], "labels": {"namespace": NAMESPACE, "pod": pod["metadata"]["name"]}}
        for pod in pods
        if pod["status"].get("podIP")
    ]
    (new := file.with_suffix(".new")).write_text(json.dumps(found))
    new.replace(file)


@pytest.fixture(params=["envoy", "mlserver"])
def judged(request: pytest.FixtureRequest, clear: Place, models: Path, url: str) -> Released:
    return Released(clear, models, Prometheus(url=url, preset=PRESETS[request.param]))


def test_a_good_version_is_promoted(judged: Released) -> None:
    with judged.traffic() as load:
        judged.begin(CANARY)
        record = judged.driver().finish(poll_s=0.3)
    assert record.phase == "done", record.reason
    assert failed(load) == {}
    assert (judged.weights, judged.alias.champion) == ({"2": 100}, "2")
    print(f"{dict(load.answers)}; counted: {record.of('1').requests} of version 1, {record.of('2').requests} of version 2")
    assert record.of("2").requests >= 2 * CANARY["min_requests"]
    assert record.of("2").errors == 0
    assert record.of("2").seen["latency"], "the histogram, too"


def test_errors_take_a_version_back(judged: Released) -> None:
    with judged.traffic() as load:
        judged.begin(LONG)
        judged.until_canary(25)
        judged.spoil(errors)
        record = judged.driver().finish(poll_s=0.3)
    assert record.phase == "rolled_back" and record.reason.startswith("errors: "), record.reason
    assert load.ask() == "1"
    print(f"{record.reason}; {dict(load.answers)}")
    assert 0 < record.of("2").errors <= failed(load).get("failed: 500", 0)
    judged.assert_all_old()
