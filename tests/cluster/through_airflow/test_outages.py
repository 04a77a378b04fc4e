"""Parts that everything stands on go away for a while, and come back."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from faults import FAULTS
from kubernetes.client.exceptions import ApiException
from live import until
from on_kubernetes import Cluster
from platform_under_test import Platform
from test_failures_of_pods import ended, lines_of, lines_said, log, nothing_left, start  # noqa: F401 - start is a fixture
from urllib3.exceptions import HTTPError

RESTART = os.environ.get("TRADEWIND_TEST_API_RESTART")  # a command line that ends the API server and starts it again
LINES = 400  # forty seconds of them


@pytest.mark.alone
def test_the_api_server_restarts(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:  # noqa: F811
    assert RESTART, "TRADEWIND_TEST_API_RESTART does not say how to restart the API server"
    runs = [(dag_id, start(dag_id, "lines", amount=LINES)) for dag_id in ("job", "job_in_worker")]
    for dag_id, run_id in runs:
        platform.said(dag_id, run_id, "train", "line 0010", within_s=90)
    with FAULTS.injected("the API server ended, and back after 15 s") as fault:
        assert all([p.status.phase for p in cluster.pods(run_id)] == ["Running"] for _, run_id in runs)
        with subprocess.Popen(shlex.split(str(RESTART))) as restart:
            until(lambda: not answers(cluster), within_s=60, what="the API server's end")
            assert restart.wait(180) == 0
        for dag_id, run_id in runs:
            done = ended(platform, dag_id, run_id, within_s=240)
            fault.run(done.state)
            assert done.state == "success" and done.tries["train"] == 1, dag_id
            said = lines_said(log(platform, dag_id, run_id))
            fault.lines(said, lines_of(LINES))
            assert set(said) == lines_of(LINES), "none is lost"
            nothing_left(cluster, run_id, fault)


def answers(cluster: Cluster) -> bool:
    try:
        cluster.core.list_namespaced_pod(cluster.namespace, _request_timeout=2)
    except (ApiException, HTTPError):
        return False
    return True


def test_the_store_does_not_answer_for_a_while(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:  # noqa: F811
    run_id = start("job_retried", "waits", amount=25)
    cluster.pod(run_id)
    platform.said("job_retried", run_id, "train", "waiting", within_s=60)
    [server] = [
        p for p in psutil.process_iter(["name"]) if p.info["name"] == "versitygw" and str(platform.home) in " ".join(p.cmdline())
    ]
    with FAULTS.injected("the store stopped for 30 s") as fault:
        server.send_signal(signal.SIGSTOP)  # while the step ends: what it learned has nowhere to go
        try:
            until(lambda: server.status() == psutil.STATUS_STOPPED, within_s=5, what="the stop")
            assert [p.status.phase for p in cluster.pods(run_id)] == ["Running"], "its end is still to come"
            time.sleep(30)
            assert platform.api.run_state("job_retried", run_id) == "running"
        finally:
            server.send_signal(signal.SIGCONT)
        done = ended(platform, "job_retried", run_id, within_s=300)
        fault.run(done.state)
        assert done.state == "success"
        nothing_left(cluster, run_id, fault)


def test_two_runs_at_once(platform: Platform, cluster: Cluster, start: Callable[..., str]) -> None:  # noqa: F811
    """Of two equal steps at once one result is taken; of two different ones both are."""
    nonce = f"{time.time()}"
    conf = [{"what": "waits", "amount": 15, "nonce": name} for name in (nonce, nonce, f"{nonce}b")]
    with FAULTS.injected("two equal runs at once, and one beside them") as fault:
        runs = [platform.api.trigger("job", each) for each in conf]
        results = [ended(platform, "job", run_id) for run_id in runs]
        for result in results:
            fault.run(result.state)
        assert [result.state for result in results] == ["success"] * 3
        assert all(platform.started("job", run_id, "train") for run_id in runs), "none came after another's end"
        models = {result.metrics("train")["mlflow_run_id"] for result in results}
        assert len(models) == 2, "two equal steps have one result"
