"""What the local serving alone promises: processes that are kept alive and leave nothing, a token, ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
from live import linked_home, until
from served import CLI, TARGET, Alias, Refer, Supervisor, predict, refer, roll_out, variant

from tradewind.errors import RolloutAborted, RuntimeUnavailable, TradewindError
from tradewind.runtimes.environments import Environments
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing
from tradewind.serving.local.envoy_config import ROUTES


@pytest.fixture(scope="module")
def serving_kind() -> str:
    return "local"


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


def test_requests_go_back_even_to_a_version_that_does_not_answer_now(
    supervisor: Supervisor, served: Serving, refer: Refer, models: Path
) -> None:
    """Away from the other is what is wanted; the supervisor starts it again."""
    old = supervisor.child("mlserver")
    served.load(TARGET, "4", refer(models / "trees"))
    served.shift(TARGET, {"3": 90, "4": 10})
    old.kill()
    until(lambda: not served.observe(TARGET).versions["3"].ready, within_s=60, what="the crash of version 3")
    with pytest.raises(RolloutAborted, match="version 3 cannot get 100%"):
        served.shift(TARGET, {"3": 100})
    served.shift(TARGET, {"3": 100}, even_unready=True)
    assert served.observe(TARGET).weights == {"3": 100}
    until(lambda: _answers(served, models), within_s=60, what="an answer of version 3")
    served.unload(TARGET, "4")


def test_a_shift_that_could_not_be_written_is_not_believed(
    supervisor: Supervisor, served: Serving, refer: Refer, models: Path
) -> None:
    served.load(TARGET, "4", refer(models / "trees"))
    served.shift(TARGET, {"3": 90, "4": 10})
    [routes] = supervisor.folder.rglob(ROUTES)
    kept = routes.rename(routes.parent.parent / "kept.json")
    routes.mkdir()  # in its place, so that nothing can be written there
    with pytest.raises(TradewindError, match=ROUTES):
        served.shift(TARGET, {"3": 100}, even_unready=True)
    assert served.observe(TARGET).weights == {"3": 90, "4": 10}
    routes.rmdir()
    kept.rename(routes)
    served.shift(TARGET, {"3": 100}, even_unready=True)
    served.unload(TARGET, "4")


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
    model = variant(refer, tmp_path, models, "logistic", lambda folder: None)
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
