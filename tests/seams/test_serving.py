"""The serving seam, one suite over every implementation; then what only the local one promises.

Real models, real servers. Most tests want one version that serves: `served` releases it, which costs nothing where the
test before left it so.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from live import linked_home, until
from served import CLI, TARGET, Alias, Supervisor, refer, roll_out

from tradewind.cli.traffic import Traffic
from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.runtimes.environments import Environments
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing


def variant(folder: Path, models: Path, name: str, change: Callable[[Path], Any]) -> ArtifactRef:
    """A model made from a good one by a change to its files."""
    copy = Path(shutil.copytree(models / name, folder / "model"))
    change(copy)
    return refer(copy)


def example(models: Path) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((models / "logistic" / "smoke.json").read_bytes())["request"]
    return request


@pytest.fixture
def served(serving: Serving, models: Path, alias: Alias) -> Serving:
    """The serving with version 3 behind the target, and nothing else."""
    roll_out(serving, alias, "3", refer(models / "logistic"))
    return serving


def predict(serving: Serving, models: Path, target: str = TARGET) -> dict[str, Any]:
    response = httpx.post(f"{serving.observe(target).endpoint_url}/infer", json=example(models), trust_env=False, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


# -- the seam -------------------------------------------------------------------------------------------------------------


def test_a_target_that_was_never_rolled_out_has_an_endpoint_and_no_versions(serving: Serving) -> None:
    deployment = serving.observe("never")
    assert deployment.versions == {}
    assert deployment.endpoint_url.endswith("/v2/models/never")
    assert httpx.post(f"{deployment.endpoint_url}/infer", json={}, trust_env=False).status_code == 404
    with pytest.raises(SpecError, match="letters"):
        serving.observe("a/../b")


def test_no_request_fails_while_versions_are_switched(serving: Serving, models: Path, alias: Alias) -> None:
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


def test_weights_split_the_requests_and_each_version_is_counted(served: Serving, models: Path) -> None:
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
    assert wrong.status_code >= 400
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


def test_copies_of_requests_are_answered_by_nobody_seen(served: Serving, models: Path) -> None:
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
    served: Serving, models: Path, alias: Alias, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    with pytest.raises(RolloutAborted, match=says):
        roll_out(served, alias, "5", variant(tmp_path, models, "logistic", change))
    assert alias.champion == "3"
    assert set(served.observe(TARGET).versions) == {"3"}
    assert predict(served, models)["model_version"] == "3"


def test_a_model_that_is_missing_changed_or_no_model_is_named(served: Serving, models: Path, tmp_path: Path) -> None:
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


# -- the local one --------------------------------------------------------------------------------------------------------


def test_what_crashes_is_started_again(supervisor: Supervisor, served: Serving, models: Path) -> None:
    envoy = supervisor.child("envoy/_bin/envoy")
    envoy.kill()
    until(lambda: _answers(served, models), within_s=60, what="an answer through a new Envoy")
    assert supervisor.child("envoy/_bin/envoy").pid != envoy.pid

    server = supervisor.child("mlserver")
    server.kill()
    until(lambda: not served.observe(TARGET).versions["3"].ready, within_s=60, what="the crash of version 3")
    assert "SIGKILL" in (served.observe(TARGET).versions["3"].error or "")
    until(lambda: served.observe(TARGET).versions["3"].ready, within_s=60, what="version 3")
    assert served.observe(TARGET).versions["3"].restarts == 1
    assert predict(served, models)["model_version"] == "3"
    assert "ended by SIGKILL" in supervisor.log.read_text()


def _answers(serving: Serving, models: Path) -> bool:
    try:
        return predict(serving, models)["model_version"] == "3"
    except (httpx.HTTPError, AssertionError):
        return False


def test_only_holders_of_the_token_and_only_below_models(supervisor: Supervisor, served: Serving) -> None:
    state = json.loads((supervisor.folder / "state.json").read_bytes())
    assert httpx.get(f"{state['control_url']}/targets/{TARGET}", trust_env=False).status_code == 401
    assert (supervisor.folder / "token").stat().st_mode & 0o077 == 0
    endpoint = served.observe(TARGET).endpoint_url.partition("/v2/")[0]
    assert httpx.post(f"{endpoint}/v2/repository/models/{TARGET}/unload", trust_env=False).status_code == 404
    around = f"{endpoint}/v2/models/{TARGET}/%2e%2e/%2e%2e/repository/models/{TARGET}/unload"
    assert httpx.post(around, trust_env=False).status_code in (400, 404)
    assert httpx.get(f"{endpoint}/v2/health/ready", trust_env=False).status_code == 200
    listening = [c for child in supervisor.children() for c in child.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip.removeprefix("::ffff:") for connection in listening} == {"127.0.0.1"}


def test_a_second_supervisor_is_refused(supervisor: Supervisor, served: Serving) -> None:
    command = [*CLI, "serve", "--home", str(supervisor.folder.parent)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"held by a supervisor that runs already (process {supervisor.process.pid})" in second.stderr
    assert served.observe(TARGET).versions["3"].ready


def test_a_port_that_is_taken_is_named(tmp_path: Path, environments: Environments) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [*CLI, "serve", "--home", str(linked_home(tmp_path / "home", environments)), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in done.stderr


def test_ctrl_c_while_a_model_loads_leaves_nothing(tmp_path: Path, models: Path, environments: Environments) -> None:
    supervisor = Supervisor(linked_home(tmp_path / "home", environments))
    try:
        serving = supervisor.wait_until_it_answers()
        failed: list[RuntimeUnavailable] = []

        def load() -> None:
            try:
                serving.load(TARGET, "1", refer(models / "trees"))
            except RuntimeUnavailable as error:
                failed.append(error)

        thread = threading.Thread(target=load)
        thread.start()
        until(lambda: len(supervisor.children()) == 2, within_s=60, what="the model's server")
        children = supervisor.children()
        assert supervisor.end(signal.SIGINT) == 0
        thread.join(10)
    finally:
        supervisor.end(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=0)[1] == []
    assert len(failed) == 1


def test_killed_it_leaves_nothing_and_serves_on_after(tmp_path: Path, models: Path, environments: Environments) -> None:
    home = linked_home(tmp_path / "home", environments)
    first = Supervisor(home)
    try:
        serving = first.wait_until_it_answers()
        roll_out(serving, Alias(), "1", refer(models / "trees"))
        endpoint = serving.observe(TARGET).endpoint_url
        children = first.children()
        assert len(children) == 2
    finally:
        first.end(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=5)[1] == []
    with pytest.raises(RuntimeUnavailable, match="start it with `tradewind serve"):
        serving.observe(TARGET)

    second = Supervisor(home)
    try:
        serving = second.wait_until_it_answers()
        until(lambda: serving.observe(TARGET).versions["1"].ready, within_s=60, what="version 1")
        assert serving.observe(TARGET).endpoint_url == endpoint
        assert predict(serving, models)["model_version"] == "1"
        children = second.children()
        assert len(children) == 2
        os.killpg(second.process.pid, signal.SIGINT)
        assert second.process.wait(20) == 0
    finally:
        second.end(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=0)[1] == []
    assert json.loads((home / "serving" / "state.json").read_bytes())["processes"] == []


def test_a_model_that_could_not_be_had_at_the_start_is_fetched_when_it_is_loaded_again(
    tmp_path: Path, models: Path, environments: Environments
) -> None:
    home = linked_home(tmp_path / "home", environments)
    model = variant(tmp_path, models, "logistic", lambda folder: None)
    first = Supervisor(home)
    try:
        roll_out(first.wait_until_it_answers(), Alias(), "1", model)
    finally:
        first.end()
    shutil.rmtree(home / "serving" / "models")
    (tmp_path / "model").rename(tmp_path / "away")

    second = Supervisor(home)
    try:
        serving = second.wait_until_it_answers()
        until(lambda: serving.observe(TARGET).versions["1"].error, within_s=60, what="the error")
        with pytest.raises(RolloutAborted, match="no model folder at"):
            serving.load(TARGET, "1", model)
        (tmp_path / "away").rename(tmp_path / "model")
        serving.load(TARGET, "1", model)
        assert predict(serving, models)["model_version"] == "1"
    finally:
        second.end()


def test_another_program_at_the_supervisors_address_is_named(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b'{"detail": "Not Found"}')

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "state.json").write_text(json.dumps({"control_url": url}))
        (tmp_path / "token").write_text("token")
        with pytest.raises(RuntimeUnavailable, match=f"{url}, got another program: 404 .*state.json"):
            LocalServing(folder=tmp_path).observe(TARGET)
        server.shutdown()
