"""The serving seam, one suite over every implementation: what one alone promises is in files of its own.

Real models, real servers. Most tests want one version that serves: `served` releases it, which costs nothing where the
test before left it so.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from live import until
from served import TARGET, Alias, Refer, example, predict, roll_out, variant

from tradewind.cli.traffic import Traffic
from tradewind.errors import RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.serving.base import Serving

# -- the seam -------------------------------------------------------------------------------------------------------------


def test_a_target_that_was_never_rolled_out_has_an_endpoint_and_no_versions(serving: Serving) -> None:
    deployment = serving.observe("never")
    assert deployment.versions == {}
    assert deployment.endpoint_url.endswith("/v2/models/never")
    assert httpx.post(f"{deployment.endpoint_url}/infer", json={}, trust_env=False).status_code == 404
    with pytest.raises(SpecError, match="letters"):
        serving.observe("a/../b")


def test_no_request_fails_while_versions_are_switched(refer: Refer, serving: Serving, models: Path, alias: Alias) -> None:
    first = roll_out(serving, alias, "1", refer(models / "logistic"))
    assert first.smoke is not None and first.smoke["difference"] < 1e-6
    answer = predict(serving, models)
    assert (answer["model_name"], answer["model_version"], alias.champion) == (TARGET, "1", "1")
    expected = json.loads((models / "logistic" / "smoke.json").read_bytes())["outputs"]
    assert answer["outputs"][0]["data"] == pytest.approx(expected)

    with Traffic(serving.observe(TARGET).endpoint_url, [example(models)]) as load:
        second = roll_out(serving, alias, "2", refer(models / "trees"))
        third = roll_out(serving, alias, "3", refer(models / "logistic"))
        time.sleep(0.3)
    assert (second.stable, third.stable) == ("1", "2")
    assert set(load.answers) == {"1", "2", "3"}
    assert min(load.answers.values()) > 0
    assert serving.observe(TARGET).weights == {"3": 100}
    assert set(serving.observe(TARGET).versions) == {"3"}


def test_a_record_is_kept_until_another_takes_its_place(serving: Serving) -> None:
    assert serving.record("recorded") is None
    for record in ({"phase": "load", "of": "é"}, {"phase": "done"}):
        serving.keep_record("recorded", record)
        assert serving.record("recorded") == record
    assert serving.record("another") is None


def test_an_order_is_left_beside_the_record_by_whoever_has_no_lock(serving: Serving) -> None:
    serving.keep_record("ordered", {"phase": "replay"})
    assert serving.orders("ordered") == {}
    with serving.lock("ordered", holder="run 1", timeout_s=1):
        serving.put_order("ordered", "a1", {"do": "hold", "by": "é"})
        serving.put_order("ordered", "b2", {"do": "roll_back"})
        serving.keep_record("ordered", {"phase": "canary"})
        serving.put_order("ordered", "a1", {"do": "hold", "by": "ada"})
    assert serving.orders("ordered") == {"a1": {"do": "hold", "by": "ada"}, "b2": {"do": "roll_back"}}
    assert serving.record("ordered") == {"phase": "canary"}
    for _ in range(2):
        serving.put_order("ordered", "a1", None)
    assert serving.orders("ordered") == {"b2": {"do": "roll_back"}}
    assert serving.orders("another") == {}


def test_of_equal_orders_at_once_none_is_lost_or_damaged(serving: Serving) -> None:
    serving.keep_record("crowded", {"phase": "replay"})
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda n: serving.put_order("crowded", "a1", {"do": "hold", "by": "x" * n}), range(80)))
    [(key, order)] = serving.orders("crowded").items()
    assert (key, order["do"]) == ("a1", "hold")


def test_weights_split_the_requests_and_each_version_is_counted(refer: Refer, served: Serving, models: Path) -> None:
    served.load(TARGET, "4", refer(models / "trees"))
    served.load(TARGET, "4", refer(models / "trees"))
    assert served.observe(TARGET).weights == {"3": 100}
    served.infer(TARGET, "4", example(models))
    assert served.statistics(TARGET)["4"].requests == 0
    with pytest.raises(RolloutAborted, match="sum to 100"):
        served.shift(TARGET, {"3": 50, "4": 40})
    with pytest.raises(RolloutAborted, match=r"version 9 cannot get 10%.*not loaded"):
        served.shift(TARGET, {"3": 90, "9": 10})
    served.shift(TARGET, {"3": 50, "4": 50})
    got = Counter(predict(served, models)["model_version"] for _ in range(40))
    assert set(got) == {"3", "4"}
    with pytest.raises(RolloutAborted, match="still gets 50%"):
        served.unload(TARGET, "4")
    wrong = httpx.post(f"{served.observe(TARGET).endpoint_url}/infer", json={"inputs": []}, trust_env=False)
    assert (wrong.status_code, "missing: " in wrong.text) == (400, True), wrong.text
    until(lambda: served.statistics(TARGET)["4"].latency_ms, within_s=60, what="the latency")
    found = served.statistics(TARGET)
    assert found["4"].requests >= got["4"] and found["4"].latency_ms["50"] > 0
    assert found["3"].requests + found["4"].requests >= 41
    counted = lambda: sum(served.statistics(TARGET)["4"].latency.values())  # noqa: E731 (Envoy adds them up once a second)
    until(lambda: counted() == found["4"].requests, within_s=10, what="all of them in the histogram")
    served.shift(TARGET, {"3": 100})
    served.unload(TARGET, "4")
    served.unload(TARGET, "4")
    assert set(served.observe(TARGET).versions) == {"3"}
    with pytest.raises(RolloutAborted, match="version 4 is not loaded"):
        served.infer(TARGET, "4", example(models))


def test_copies_of_requests_are_answered_by_nobody_seen(refer: Refer, served: Serving, models: Path) -> None:
    served.load(TARGET, "4", refer(models / "trees"))
    with pytest.raises(RolloutAborted, match="version 9 cannot get copies"):
        served.mirror(TARGET, "9", 10)
    served.mirror(TARGET, "4", 100)
    served.mirror(TARGET, "4", 100)
    assert (served.observe(TARGET).versions["4"].mirror, served.observe(TARGET).weights) == (100, {"3": 100})
    before = served.statistics(TARGET)["4"].requests
    assert {predict(served, models)["model_version"] for _ in range(20)} == {"3"}
    until(lambda: served.statistics(TARGET)["4"].requests == before + 20, within_s=10, what="the copies")
    rows = 3 * 20
    until(lambda: sum(served.statistics(TARGET)["4"].answers.values()) == rows, within_s=10, what="their answers")
    with pytest.raises(RolloutAborted, match="still gets copies of 100%"):
        served.unload(TARGET, "4")
    served.shift(TARGET, {"3": 50, "4": 50})
    assert served.observe(TARGET).versions["4"].mirror == 0
    served.shift(TARGET, {"3": 100})
    served.mirror(TARGET, "4", 0)
    served.unload(TARGET, "4")


def _break_pickle(model: Path) -> None:
    pickle = model / "model.pkl"
    pickle.write_bytes(pickle.read_bytes()[:200])


def _need_a_package(model: Path) -> None:
    text = (model / "MLmodel").read_text()
    (model / "MLmodel").write_text(text.replace("loader_module: mlflow.sklearn", "loader_module: package_that_is_not_there"))


def _expect_other_numbers(model: Path) -> None:
    smoke = json.loads((model / "smoke.json").read_bytes())
    smoke["outputs"][2] *= 1.01
    (model / "smoke.json").write_text(json.dumps(smoke))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_break_pickle, r"version 5 cannot be served: .*pickle data was truncated\n"),
        (_need_a_package, r"version 5 cannot be served: .*No module named 'package_that_is_not_there'\n"),
        (_expect_other_numbers, r"largest relative difference 0\.0.*number 3 of 6"),
    ],
)
def test_a_bad_model_is_refused_and_the_old_one_serves_on(
    refer: Refer, served: Serving, models: Path, alias: Alias, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    with pytest.raises(RolloutAborted, match=says):
        roll_out(served, alias, "5", variant(refer, tmp_path, models, "logistic", change))
    assert alias.champion == "3"
    assert set(served.observe(TARGET).versions) == {"3"}
    assert predict(served, models)["model_version"] == "3"


@pytest.mark.parametrize(("name", "version"), [("skops", "6"), ("flavor", "7")])
def test_a_model_of_another_format_is_released(
    refer: Refer, served: Serving, models: Path, alias: Alias, name: str, version: str
) -> None:
    """MLflow's own default, and a flavor that its author wrote and that comes with the model: both answer as in training."""
    roll_out(served, alias, version, refer(models / name))
    assert alias.champion == version
    assert predict(served, models)["model_version"] == version


def test_a_model_that_is_missing_changed_or_no_model_is_named(
    refer: Refer, served: Serving, models: Path, tmp_path: Path
) -> None:
    good = refer(models / "logistic")
    with pytest.raises(RolloutAborted, match=r"no model folder at .*/nowhere"):
        served.load(TARGET, "6", dataclasses.replace(good, uri=(tmp_path / "nowhere").as_uri(), sha256="0" * 64))
    with pytest.raises(RolloutAborted, match=f"expected sha256 {'0' * 64}, got {good.sha256}"):
        served.load(TARGET, "6", dataclasses.replace(good, sha256="0" * 64))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.txt").write_text("1")
    with pytest.raises(RolloutAborted, match="has no file MLmodel"):
        served.load(TARGET, "6", refer(tmp_path / "other"))
    with pytest.raises(RolloutAborted, match="from another model"):
        served.load(TARGET, "3", refer(models / "trees"))


def test_the_second_release_of_a_target_waits_and_is_told_who_holds_it(serving: Serving) -> None:
    with serving.lock(TARGET, holder="flight_delay / run 1 / rollout", timeout_s=1):
        second = serving.lock(TARGET, holder="run 2", timeout_s=0.3)
        with pytest.raises(RuntimeUnavailable, match=r"held by flight_delay / run 1 / rollout; waited 0\.3 s"), second:
            pass
        with serving.lock("another", holder="run 2", timeout_s=0.3):
            pass
    with serving.lock(TARGET, holder="run 2", timeout_s=0.3):
        pass
