"""The template with a custom predictor through ``dag.test()`` on a sample of real flights, to its endpoint: twice as it is, once
with another predictor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from in_process import Dags, Run
from live import CHAIN, copy_template, predict

from tradewind.serving.local.client import LocalServing

FLIGHT: dict[str, Any] = {
    "date": "2013-12-06", "carrier": "EV", "origin": "EWR", "dest": "ORD", "distance": 719.0, "sched_dep_time": 1915,
    "sched_arr_time": 2055, "temp": 41.0, "humid": 96.0, "wind_speed": 8.1, "precip": 0.12, "pressure": 1009.0, "visib": 1.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(dags: Dags) -> Path:
    return copy_template(dags.folder, "warning", template="flight_warning")


@pytest.fixture(scope="module")
def first(dags: Dags, pipeline: Path) -> Run:
    return dags.run("warning")


def request(**changes: Any) -> dict[str, Any]:
    """One flight as a client sends it."""
    row = {**FLIGHT, **changes}
    kinds = {name: "BYTES" if isinstance(value, str) else "FP64" for name, value in FLIGHT.items()}
    return {"inputs": [{"name": n, "shape": [1], "datatype": kinds[n], "data": [value]} for n, value in row.items()]}


def test_the_chain_to_an_endpoint_that_takes_flights_as_they_are(dags: Dags, first: Run) -> None:
    assert first.states() == dict.fromkeys(CHAIN, "success")
    assert first.metrics("evaluate")["challenger"]["auc"] > 0.6
    rollout = first.metrics("rollout")
    assert rollout["smoke_difference"] < 1e-6
    assert predict(rollout["endpoint_url"], rollout["example"])["model_version"] == "1"

    answer = predict(rollout["endpoint_url"], request())
    (tensor,) = answer["outputs"]
    warn, late = tensor["data"]
    assert (tensor["shape"], tensor["parameters"]["names"]) == ([1, 2], ["warn", "late"])
    assert 0 < late < 1
    assert warn == (late > 0.25), "a warning costs a quarter of what a late flight does"
    assert answer["parameters"] == {"warned": int(warn), "warn_from": 0.25}

    wrong = httpx.post(f"{rollout['endpoint_url']}/infer", json=request(date="tomorrow"), timeout=30)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "BadRow: date: expected one such as 2013-12-01, got 'tomorrow'")
    assert predict(rollout["endpoint_url"], request(dest="XXX", temp=None))["outputs"][0]["shape"] == [1, 2]


def test_its_business_metrics_are_counted(dags: Dags, first: Run) -> None:
    served = LocalServing(folder=dags.home / "serving").observe("warning").versions["1"]

    def counted() -> dict[str, float]:
        text = httpx.get(f"{served.url.partition('/v2/')[0]}/metrics", timeout=30).text
        pairs = [line.partition("{")[::2] for line in text.splitlines() if line and not line.startswith("#")]
        return {name.removesuffix("_total"): float(rest.rpartition(" ")[2]) for name, rest in pairs}

    before = counted()
    assert before.keys() >= {"flights_asked", "flights_warned", "flights_unknown", "expected_saving"}
    predict(first.metrics("rollout")["endpoint_url"], request(carrier="??"))
    after = counted()
    assert after["flights_asked"] == before["flights_asked"] + 1
    assert after["flights_unknown"] == before["flights_unknown"] + 1


def test_with_nothing_changed_nothing_runs(dags: Dags, first: Run, pipeline: Path) -> None:
    (pipeline / "README.md").write_text("Another text")
    again = dags.run("warning")
    assert again.states() == dict.fromkeys(CHAIN, "success")
    assert again.reused() == ["validate", "features", "train", "evaluate"]
    assert again.metrics("rollout")["changed"] is False


def test_another_predictor_is_another_version_of_the_same_features(dags: Dags, first: Run, pipeline: Path) -> None:
    code = pipeline / "predictor.py"
    code.write_text(code.read_text().replace('"warned": self.warned,', '"warned": self.warned, "asked": self.asked,'))
    run = dags.run("warning", replay=["disagreement <= 0.1", "errors <= 0"])
    assert run.states() == dict.fromkeys(CHAIN, "success")
    replay = run.metrics("rollout")["replay"]
    assert (replay["verdict"], replay["disagreement"], replay["errors"]) == ("PASSED", 0, 0), "the same trees"
    assert set(run.started()) >= {"train", "evaluate"}
    assert not {"validate", "features"} & set(run.started())
    answer = predict(run.metrics("rollout")["endpoint_url"], request())
    assert (answer["model_version"], answer["parameters"]["asked"]) == ("2", 1)


def test_other_costs_are_another_version(dags: Dags, first: Run) -> None:
    run = dags.run("warning", warning_cost=59.9)
    assert run.states() == dict.fromkeys(CHAIN, "success")
    answer = predict(run.metrics("rollout")["endpoint_url"], request())
    assert (answer["outputs"][0]["data"][0], answer["parameters"]["warned"]) == (0, 0), "hardly any flight is worth a warning"
