"""A custom predictor as a canary beside MLServer, behind Istio's gateway: its answers, its metrics, its pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from seldon_place import Place
from served import Alias, example, roll_out, variant

from tradewind.cli.traffic import Traffic, rows_of
from tradewind.contract import PREDICTOR
from tradewind.errors import RolloutAborted
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.seldon.desired import METRICS, deployment_name

TARGET = "lateness"
CODE = f"{PREDICTOR.rpartition('/')[0]}/code/predictor.py"
# Rule and regression answer otherwise to the same flights: that is none of what is tested here.
CANARY: dict[str, Any] = {"steps": [{"weight": 30, "bake_s": 5}], "min_requests": 30, "answer_distance": 1.0, "latency_ratio": 20}


def test_a_predictor_and_an_mlserver_take_turns(clear: Place, models: Path) -> None:
    alias, serving = Alias(), clear.serving()
    roll_out(serving, alias, "1", clear.refer(models / "logistic"), TARGET)
    request: dict[str, Any] = json.loads((models / "predictor" / "smoke.json").read_bytes())["request"]
    url = serving.observe(TARGET).endpoint_url
    with Traffic(url, rows_of(example(models))) as asked:
        record = roll_out(serving, alias, "2", clear.refer(models / "predictor"), TARGET, RolloutSpec.from_dict(CANARY))
    assert record.phase == "done", record.reason
    assert set(asked.answers) == {"1", "2"}, "both answered, and no request failed"
    assert record.of("2").seen["answers"], "the serving looks into the answers of either kind"
    assert (serving.observe(TARGET).weights, alias.champion) == ({"2": 100}, "2")

    answer = httpx.post(f"{url}/infer", json=request, trust_env=False).json()
    assert (answer["model_name"], answer["model_version"]) == (TARGET, "2")
    assert answer["parameters"] == {"rows": 3, "rule": "carrier and hour"}
    (pod,) = clear.pods(deployment_name(TARGET), "v2").values()
    text = httpx.get(f"http://{pod['status']['podIP']}:{METRICS}/prometheus", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("flights_asked_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) >= record.of("2").requests
    assert all(f'model_name="{TARGET}"' in line and 'model_version="2"' in line for line in lines)

    # Its clients may send the predictor hours that are no whole numbers; the regression refuses those.
    back = RolloutSpec.from_dict({**CANARY, "signature": "any"})
    with Traffic(url, rows_of(example(models))) as asked:
        roll_out(serving, alias, "4", clear.refer(models / "logistic"), TARGET, back)
    assert set(asked.answers) == {"2", "4"}


def test_a_class_that_cannot_be_made_is_told_in_its_own_words(clear: Place, models: Path, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        code = folder / CODE
        code.write_text(code.read_text().replace("self.rows = 0", "raise ValueError('made wrong')"))

    alias, serving = Alias(), clear.serving()
    roll_out(serving, alias, "1", clear.refer(models / "logistic"), TARGET)
    with pytest.raises(RolloutAborted, match="ValueError: made wrong"):
        roll_out(serving, alias, "2", variant(clear.refer, tmp_path, models, "predictor", spoil), TARGET)
    assert (serving.observe(TARGET).weights, alias.champion) == ({"1": 100}, "1")
    assert set(serving.observe(TARGET).versions) == {"1"}
