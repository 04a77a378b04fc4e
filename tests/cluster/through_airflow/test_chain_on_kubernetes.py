"""The whole chain as pods: the Dag's file is the embedded run's, byte for byte; only settings differ."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from live import predict
from on_kubernetes import Cluster, said
from platform_under_test import GREEN, Ended, Platform

from tradewind.resources import data_path

STEPS = ["validate", "features", "train", "evaluate"]


@pytest.fixture(scope="module")
def seen() -> list[Any]:
    """Pods as they were while they ran."""
    return []


@pytest.fixture(scope="module")
def chain(platform: Platform, cluster: Cluster, seen: list[Any]) -> Ended:
    run_id = platform.api.trigger("flight_delay", {})
    for step in STEPS:
        seen.append(cluster.pod(run_id, phase="Running", within_s=300) if step == "validate" else _next(cluster, run_id, seen))
    ended = platform.ended("flight_delay", run_id, within_s=600)
    cluster.no_pods(run_id)
    return ended


def _next(cluster: Cluster, run_id: str, seen: list[Any]) -> Any:
    from live import until

    names = {pod.metadata.name for pod in seen}

    def look() -> Any:
        return next((p for p in cluster.pods(run_id) if p.metadata.name not in names), None)

    return until(look, within_s=300, what="the next step's pod")


def test_the_whole_chain(platform: Platform, chain: Ended) -> None:
    assert chain.tasks == GREEN
    rollout = chain.metrics("rollout")
    assert predict(rollout["endpoint_url"], rollout["example"])["outputs"]
    assert platform.champion("flight_delay") == "1"
    assert (platform.dags / "flight_delay" / "dag.py").read_bytes() == (
        data_path("dags") / "flight_delay" / "dag.py"
    ).read_bytes()


def test_each_step_was_a_pod_that_may_do_nothing(cluster: Cluster, chain: Ended, seen: list[Any]) -> None:
    assert [said(pod, "task-id") for pod in seen] == STEPS
    secret = cluster.core.read_namespaced_secret("tradewind-store", cluster.namespace).data
    login = [base64.b64decode(secret[name]).decode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    for pod in seen:
        spec, container = pod.spec, pod.spec.containers[0]
        assert spec.automount_service_account_token is False
        assert spec.security_context.run_as_non_root and container.security_context.read_only_root_filesystem
        assert container.env_from[0].secret_ref.name == "tradewind-store"
        text = json.dumps(cluster.core.api_client.sanitize_for_serialization(pod))
        assert not [value for value in (*login, *secret.values()) if value in text]
        assert not [name for name in secret if f'"{name}"' in text]


def test_each_step_said_what_it_did(platform: Platform, chain: Ended) -> None:
    [run] = platform.runs("flight_delay")[-1:]
    for step, line in (("features", "Sources: "), ("train", "Learned in "), ("evaluate", "PASSED")):
        lines = platform.api.log("flight_delay", run["dag_run_id"], step, 1)
        assert len([text for text in lines if line in text]) == 1, (step, lines[-30:])


def test_nothing_is_done_twice(platform: Platform, cluster: Cluster, chain: Ended) -> None:
    run_id = platform.api.trigger("flight_delay", {})
    ended = platform.ended("flight_delay", run_id, within_s=180)
    assert ended.tasks == GREEN
    assert all(ended.results[step]["reused"] for step in STEPS)
    assert not any(platform.started("flight_delay", run_id, step) for step in STEPS)
