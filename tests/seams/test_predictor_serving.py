"""A custom predictor behind the serving seam: seldon-core's wrapper around an author's class, beside MLServer, behind one
endpoint. Real servers, real requests; whatever is wrong with the class is seen before it serves, or as an error of its version.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from live import gone, linked_home, until
from served import Alias, Supervisor, refer, roll_out

from tradewind.cli.traffic import Traffic, rows_of
from tradewind.contract import PREDICTOR, ArtifactRef
from tradewind.errors import RolloutAborted
from tradewind.rollout.spec import RolloutSpec
from tradewind.runtimes.environments import Environments
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing
from tradewind.testing.faults import next_version_is_bad

NAME = "lateness"
SERVER = "tradewind_steps.predictor.server"
CODE = f"{PREDICTOR.rpartition('/')[0]}/code/predictor.py"
# Rule and regression answer otherwise to the same flights: that is none of what is tested here.
CANARY: dict[str, Any] = {"steps": [{"weight": 30, "bake_s": 2}], "min_requests": 30, "answer_distance": 1.0, "latency_ratio": 20}


@pytest.fixture(scope="module")
def serving(supervisor: Supervisor) -> Serving:
    """The local one: no other serves a predictor."""
    return LocalServing(folder=supervisor.folder)


@pytest.fixture
def served(serving: Serving, models: Path, alias: Alias) -> Serving:
    """The serving with the predictor as version 3 behind the target, and nothing else."""
    roll_out(serving, alias, "3", refer(models / "predictor"), NAME)
    return serving


def example(models: Path) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((models / "predictor" / "smoke.json").read_bytes())["request"]
    return request


def changed(folder: Path, models: Path, old: str, new: str) -> ArtifactRef:
    """The predictor with other code."""
    copy = Path(shutil.copytree(models / "predictor", folder / "model"))
    text = (copy / CODE).read_text()
    assert old in text
    (copy / CODE).write_text(text.replace(old, new))
    return refer(copy)


def post(url: str, request: Any) -> httpx.Response:
    return httpx.post(f"{url}/infer", json=request, trust_env=False, timeout=30)


def process(serving: Serving, version: str = "3") -> str:
    """Where a version's process answers, past V2."""
    return serving.observe(NAME).versions[version].url.partition("/v2/")[0]


def test_a_predictor_and_an_mlserver_serve_side_by_side_and_take_turns(serving: Serving, models: Path, alias: Alias) -> None:
    for version, name in (("1", "logistic"), ("2", "predictor"), ("4", "logistic")):
        asked = Traffic(serving.observe(NAME).endpoint_url, rows_of(example(models)))
        if version == "1":
            roll_out(serving, alias, version, refer(models / name), NAME)
            continue
        spec = CANARY if name == "predictor" else {**CANARY, "signature": "any"}  # the predictor takes fractions of an hour
        with asked:
            record = roll_out(serving, alias, version, refer(models / name), NAME, RolloutSpec.from_dict(spec))
        before = str(int(version) // 2)
        assert set(asked.answers) == {before, version}, "both answered, and no request failed"
        assert min(asked.answers.values()) > 0
        assert record.of(version).requests >= 30
        assert record.of(version).seen["answers"], "the serving looks into the answers of either kind"
        assert alias.champion == version


def test_an_answer_carries_the_authors_tags_and_names(served: Serving, models: Path) -> None:
    response = post(served.observe(NAME).endpoint_url, {**example(models), "id": "mine"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (NAME, "3", "mine")
    assert answer["parameters"] == {"rows": 3, "rule": "carrier and hour"}
    (tensor,) = answer["outputs"]
    assert (tensor["shape"], tensor["datatype"], tensor["parameters"]) == ([3, 2], "FP64", {"names": ["in time", "late"]})
    expected = json.loads((models / "predictor" / "smoke.json").read_bytes())["outputs"]
    assert tensor["data"] == pytest.approx([number for row in expected for number in row], abs=1e-9)


def test_the_authors_metrics_are_to_be_had_for_prometheus(served: Serving, models: Path) -> None:
    def asked() -> float:
        text = httpx.get(f"{process(served)}/metrics", trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("flights_asked_total{")]
        assert all(f'model_name="{NAME}"' in line and 'model_version="3"' in line for line in lines)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = asked()
    for _ in range(4):
        served.infer(NAME, "3", example(models))
    assert asked() == before + 4 * 3


def test_seldons_own_protocol_is_answered_alike(served: Serving) -> None:
    message = {"data": {"names": ["carrier", "distance", "hour"], "ndarray": [["UA", 100.0, 17.0]]}}
    answer = httpx.post(f"{process(served)}/api/v1.0/predictions", json=message, trust_env=False).json()
    assert answer["data"]["names"] == ["in time", "late"]
    assert answer["data"]["ndarray"][0][1] == pytest.approx(0.750260, abs=1e-6)
    assert answer["meta"]["tags"] == {"rows": 1, "rule": "carrier and hour"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("class Late:", "class Early:", r"predictor\.py has no class 'Late'; it has: Early"),
        (
            "import numpy as np",
            "import numpy as np\nimport package_that_is_not_there",
            r"No module named 'package_that_is_not_there'",
        ),
        ("self.rows = 0", "raise ValueError('made wrong')", r"ValueError: made wrong"),
        ('"weights.json"', '"other.json"', r"No such file or directory: .*/model/other\.json"),
        ("    def predict(", "    def foresee(", r"has no predict\(X, names, meta\)"),
        ("1 - late, late", "1 - late, late / 2", r"largest relative difference 0\..*number 2 of 6"),
        ("        self.rows = len(X)", "        raise KeyError('gate')", r"answered 500: .*KeyError: 'gate'"),
    ],
    ids=["class missing", "import", "constructor", "load", "no predict", "other numbers", "predict raises"],
)
def test_a_bad_predictor_is_refused_and_the_old_one_serves_on(
    served: Serving, models: Path, alias: Alias, tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(RolloutAborted, match=says):
        roll_out(served, alias, "5", changed(tmp_path, models, old, new), NAME)
    assert alias.champion == "3"
    assert set(served.observe(NAME).versions) == {"3"}
    assert post(served.observe(NAME).endpoint_url, example(models)).json()["model_version"] == "3"


def test_what_predict_raises_is_an_error_and_a_clients_mistake_is_none(
    served: Serving, models: Path, alias: Alias, tmp_path: Path
) -> None:
    late = "if (X[:, 1] > 23).any():\n            raise KeyError('gate')\n        self.rows = len(X)"
    model = changed(tmp_path, models, "self.rows = len(X)", late)
    roll_out(served, alias, "6", model, NAME)
    url, good = served.observe(NAME).endpoint_url, example(models)
    before = served.statistics(NAME)["6"]

    def hour(value: Any) -> dict[str, Any]:
        return {**good, "inputs": [{**t, "data": [value] * 3} if t["name"] == "hour" else t for t in good["inputs"]]}

    failed = post(url, hour(24.0))
    assert (failed.status_code, failed.json()) == (500, {"error": "KeyError: 'gate'"})
    mistakes: dict[str, Any] = {
        "expected a tensor for each column: hour missing; got carrier, distance": {"inputs": good["inputs"][:2]},
        "tensor 'hour': expected numbers or null (FP64), got '17'": hour("17"),
        "tensor 'hour': expected data of shape [rows] or [rows, 1], got shape [3, 1]": hour([1.0, 2.0]),
        'expected {"inputs": [': ["nonsense"],
    }
    for says, request in mistakes.items():
        response = post(url, request)
        assert response.status_code == 400
        assert says in response.json()["error"]
    assert httpx.get(f"{url}/nowhere", trust_env=False).status_code in (404, 405)
    more = {"name": "weather", "shape": [3, 1], "datatype": "BYTES", "data": ["fog"] * 3}
    assert post(url, {"inputs": [more, *good["inputs"][::-1]]}).json()["outputs"] == post(url, good).json()["outputs"]
    assert post(url, hour(None)).status_code == 200
    until(lambda: served.statistics(NAME)["6"].requests == before.requests + 9, within_s=10, what="the counts")
    assert served.statistics(NAME)["6"].errors == before.errors + 1


@pytest.mark.parametrize(
    ("fault", "says"), [("errors", "errors: "), ("drift", "answers: those of"), ("crash", "ended by itself")]
)
def test_a_drills_bad_predictor_is_taken_back(
    served: Serving, supervisor: Supervisor, models: Path, alias: Alias, fault: str, says: str
) -> None:
    spec = RolloutSpec.from_dict({"steps": [{"weight": 40, "bake_s": 4}], "min_requests": 30, "latency_ratio": 20})
    asked = Traffic(served.observe(NAME).endpoint_url, rows_of(example(models)))
    with next_version_is_bad(supervisor.folder.parent, NAME, fault), asked, pytest.raises(RolloutAborted, match=says):
        roll_out(served, alias, "7", refer(models / "predictor"), NAME, spec)
    assert (asked.ask(), alias.champion) == ("3", "3")


def test_it_is_one_process_on_loopback_that_is_started_again_and_leaves_nothing(
    tmp_path: Path, models: Path, environments: Environments
) -> None:
    supervisor = Supervisor(linked_home(tmp_path / "home", environments))
    try:
        serving = supervisor.wait_until_it_answers()
        roll_out(serving, Alias(), "3", refer(models / "predictor"), NAME)
        children = supervisor.children()
        server = supervisor.child(SERVER)
        assert {child.pid for child in children} == {server.pid, supervisor.child("envoy/_bin/envoy").pid}
        listening = [c.laddr.ip for c in server.net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
        server.kill()
        until(lambda: serving.observe(NAME).versions["3"].restarts == 1, within_s=60, what="the crash")
        until(lambda: serving.observe(NAME).versions["3"].ready, within_s=60, what="version 3")
        assert "The predictor of lateness version 3 ended by SIGKILL" in supervisor.log.read_text()
        folder = supervisor.folder / "models" / refer(models / "predictor").sha256
        assert refer(folder).sha256 == folder.name, "what it serves stays as it was trained"
        children = supervisor.children()
    finally:
        supervisor.process.kill()
        supervisor.process.wait(20)
    gone(children, within_s=5)


def test_what_it_is_asked_is_answered_before_it_ends(
    served: Serving, supervisor: Supervisor, models: Path, alias: Alias, tmp_path: Path
) -> None:
    slow = "import time\n        time.sleep(5 if (X[:, 1] > 23).any() else 0)\n        self.rows = len(X)"
    roll_out(served, alias, "8", changed(tmp_path, models, "self.rows = len(X)", slow), NAME)
    url, request = served.observe(NAME).versions["8"].url, example(models)
    late = {**request, "inputs": [{**t, "data": [24.0] * 3} if t["name"] == "hour" else t for t in request["inputs"]]}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(post, url, late)
        time.sleep(0.7)
        assert not answer.done(), "it is under way"
        assert httpx.get(f"{url}/ready", trust_env=False, timeout=1).status_code == 200, "who asks for its health does not wait"
        next(child for child in supervisor.children() if url.split(":")[2].split("/")[0] in _listening(child)).terminate()
        assert not answer.done(), "it still is"
        assert answer.result().status_code == 200


def _listening(process: psutil.Process) -> list[str]:
    return [str(c.laddr.port) for c in process.net_connections() if c.status == psutil.CONN_LISTEN]


def test_changes_of_code_are_other_models(tmp_path: Path, models: Path) -> None:
    change: Callable[[str, str], ArtifactRef] = lambda old, new: changed(tmp_path, models, old, new)  # noqa: E731
    assert change("carrier and hour", "hour and carrier").sha256 != refer(models / "predictor").sha256
