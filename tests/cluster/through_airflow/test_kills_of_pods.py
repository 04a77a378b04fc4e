"""Whoever ends a task, a worker or a triggerer: no pod survives, or it is taken over."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
from faults import FAULTS
from live import strike, until
from on_kubernetes import Cluster
from platform_under_test import Platform
from processes import command, environment, living, words
from test_failures_of_pods import ended, lines_of, lines_said, log, nothing_left

SECONDS = 30  # within which Airflow notices and the pod is gone
LINES = 450  # forty-five seconds of them


@pytest.fixture
def running(platform: Platform, cluster: Cluster) -> Callable[..., list[tuple[str, Any]]]:
    """Runs of these Dags, begun at once; each as soon as its pod runs, with the pod."""

    def begin(*dag_ids: str, what: str = "waits", amount: int = 300) -> list[tuple[str, Any]]:
        conf = {"what": what, "amount": amount}
        runs = [(dag_id, platform.api.trigger(dag_id, {**conf, "nonce": f"{time.time()}"})) for dag_id in dag_ids]
        found = []
        for dag_id, run_id in runs:
            found.append((run_id, cluster.pod(run_id)))
            platform.said(dag_id, run_id, "train", "line 0001" if what == "lines" else "waiting", within_s=60)
        return found

    return begin


def url(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}"


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marked(platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]], state: str) -> None:
    dag_ids = ("job", "job_in_worker")
    for dag_id, (run_id, _) in zip(dag_ids, running(*dag_ids), strict=True):
        with FAULTS.injected(f"marked {state}, {'deferred' if dag_id == 'job' else 'in a worker'}") as fault:
            platform.mark(state, dag_id, run_id, "train")
            nothing_left(cluster, run_id, fault, within_s=SECONDS)


@pytest.mark.parametrize("state", ["failed", "queued"])
def test_its_run_is_deleted(
    platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]], state: str
) -> None:
    """Airflow deletes none that runs: it is marked failed before, or put back into the queue while its task goes on."""
    dag_ids = ("job", "job_in_worker")

    def deleted(run: str) -> bool:
        platform.http.patch(run, json={"state": state}).raise_for_status()
        return platform.http.delete(run).status_code == httpx.codes.NO_CONTENT

    for dag_id, (run_id, _) in zip(dag_ids, running(*dag_ids), strict=True):
        run = url(dag_id, run_id)
        with FAULTS.injected(f"run {state} and deleted, {'deferred' if dag_id == 'job' else 'in a worker'}") as fault:
            until(functools.partial(deleted, run), within_s=10, what="the run's deletion")
            nothing_left(cluster, run_id, fault, within_s=SECONDS)
            assert platform.http.get(run).status_code == httpx.codes.NOT_FOUND


def test_cleared(platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]]) -> None:
    [(run_id, first)] = running("job")
    asked = {"dry_run": False, "only_failed": False, "only_running": False, "dag_run_id": run_id, "task_ids": ["train"]}
    with FAULTS.injected("cleared") as fault:
        platform.http.post("/dags/job/clearTaskInstances", json=asked).raise_for_status()
        until(
            lambda: first.metadata.name not in {p.metadata.name for p in cluster.pods(run_id)},
            within_s=SECONDS,
            what="the first pod's end",
        )
        cluster.pod(run_id, but=first.metadata.name)
        # A trigger that no triggerer has yet is not told that its task was ended: that pod is for `tradewind reap`.
        platform.said("job", run_id, "train", "waiting", try_number=2, within_s=60)
        platform.mark("failed", "job", run_id, "train")
        nothing_left(cluster, run_id, fault, within_s=SECONDS)


def test_it_takes_too_long(platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]]) -> None:
    [(run_id, _)] = running("job_timed")
    with FAULTS.injected("execution timeout") as fault:
        done = ended(platform, "job_timed", run_id, within_s=150)
        assert done.state == "failed"
        assert any("took longer than the task's execution_timeout" in line for line in log(platform, "job_timed", run_id))
        nothing_left(cluster, run_id, fault, within_s=SECONDS)


def test_the_task_process_is_killed(platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]]) -> None:
    dag_id = "job_in_worker_retried"
    [(run_id, pod)] = running(dag_id, what="lines", amount=LINES)
    with FAULTS.injected("the task's process killed") as fault:
        os.kill(task_process(platform, dag_id, run_id).pid, signal.SIGKILL)
        done = ended(platform, dag_id, run_id, within_s=240)
        fault.run(done.state)
        assert done.state == "success" and done.tries["train"] == 2
        second = log(platform, dag_id, run_id, 2)
        assert any(f"Taking over pod {pod.metadata.name} of try 1" in line for line in second)
        both = lines_said(log(platform, dag_id, run_id, 1)) + lines_said(second)
        fault.lines(both, lines_of(LINES))
        assert set(both) == lines_of(LINES), "none is lost"
        nothing_left(cluster, run_id, fault)


def task_process(platform: Platform, dag_id: str, run_id: str) -> psutil.Process:
    found = platform.http.get(f"{url(dag_id, run_id)}/taskInstances/train").raise_for_status().json()
    [process] = [p for p in living() if f"airflow worker -- {found['id']}" in " ".join(words(p))]
    return process


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_triggerer_is_ended(
    platform: Platform, cluster: Cluster, running: Callable[..., list[tuple[str, Any]]], how: signal.Signals
) -> None:
    """Another is started in its place."""
    [(run_id, pod)] = running("job", what="lines", amount=LINES)
    triggerers = of_triggerer(platform)
    with FAULTS.injected(f"the triggerer ended by {how.name}") as fault:
        strike(triggerers, how, within_s=30)
        assert cluster.core.read_namespaced_pod(pod.metadata.name, cluster.namespace).status.phase == "Running"
        done = ended(platform, "job", run_id, within_s=240)
        fault.run(done.state)
        assert done.state == "success" and done.tries["train"] == 1
        said = lines_said(log(platform, "job", run_id))
        fault.lines(said, lines_of(LINES))
        assert set(said) == lines_of(LINES), "none is lost"
        repeated = sum(said.values()) - len(said)
        assert repeated == 0 if how is signal.SIGTERM else repeated <= 40, "at most those of one look"
        nothing_left(cluster, run_id, fault)


def of_triggerer(platform: Platform) -> list[psutil.Process]:
    mine = str(platform.home / "airflow")
    return [p for p in living() if command(p)[-1:] == ["triggerer"] and environment(p).get("AIRFLOW_HOME") == mine]
