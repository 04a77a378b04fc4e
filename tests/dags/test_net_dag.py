"""The PyTorch template through ``dag.test()`` on a sample of real flights, to an endpoint that has no PyTorch."""

from __future__ import annotations

import pytest
from in_process import Dags
from live import CHAIN, copy_template, predict

pytestmark = pytest.mark.torch


def test_the_chain(dags: Dags) -> None:
    copy_template(dags.folder, "net", template="flight_delay_net")
    run = dags.run("net")
    assert run.states() == dict.fromkeys(CHAIN, "success")
    assert "Learning on the CPU" in run.log
    assert run.metrics("evaluate")["challenger"]["auc"] > 0.6
    rollout = run.metrics("rollout")
    answer = predict(rollout["endpoint_url"], rollout["example"])
    assert answer["model_version"] == "1"
    assert all(0 <= number <= 1 for number in answer["outputs"][0]["data"])
