"""The serve image in a pod of Seldon's, as Seldon starts it: with a model's URI and a folder, then to serve what is there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from live import until

from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.store import Store, hash_folder

Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(environments: Environments) -> Start:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [environments.python("serve"), "-m", "tradewind_steps", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    return run


def a_model(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data" / "weights").write_bytes(b"\x00" * 100)
    return folder


def test_a_model_is_fetched_whole_and_twice_does_no_harm(start: Start, any_store: Store, tmp_path: Path) -> None:
    model, folder = a_model(tmp_path / "model"), tmp_path / "mnt"
    folder.mkdir()
    uri = f"{any_store.root}/models/m"
    any_store.upload(model, uri)
    for _ in range(2):
        done = start(f"{uri}#sha256={hash_folder(model)}", folder)
        assert done.returncode == 0, done.stdout
        assert hash_folder(folder) == hash_folder(model)


def test_what_is_wrong_with_a_model_is_said_and_ends_otherwise_than_what_may_pass(start: Start, tmp_path: Path) -> None:
    model, folder = a_model(tmp_path / "model"), tmp_path / "mnt"
    folder.mkdir()
    sha256 = hash_folder(model)
    for uri, said in (
        (f"file://{tmp_path}/nowhere#sha256={sha256}", f"There is no model folder at file://{tmp_path}/nowhere"),
        (f"file://{model}#sha256={'0' * 64}", f"expected sha256 {'0' * 64}, got {sha256}"),
        (f"file://{model}", "expected sha256 in its URI"),
    ):
        done = start(uri, folder)
        assert (done.returncode, said in done.stdout) == (1, True), done.stdout
    (model / "MLmodel").unlink()
    done = start(f"file://{model}#sha256={hash_folder(model)}", folder)
    assert done.returncode == 1 and "has no file MLmodel" in done.stdout
    assert list(folder.iterdir()) == []
    assert start("s3://no").returncode == 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).parents[1] / "seams/make_models.py"
    subprocess.run([environments.python("train"), script, folder], check=True, capture_output=True)
    return folder


def serving(environments: Environments, model: Path, port: int) -> subprocess.Popen[str]:
    told = {
        "MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": str(free_port()), "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_METRICS_ENDPOINT": "/prometheus", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_MODEL_NAME": "flight_delay",
        "MLSERVER_MODEL_VERSION": "3", "MLSERVER_MODEL_URI": str(model),
        "MLSERVER_MODEL_IMPLEMENTATION": "tradewind_steps.serve.runtime.Runtime",
    }  # fmt: skip
    command = [environments.python("serve"), "-m", "tradewind_steps", "serve"]
    return subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_model_is_served_by_what_the_environment_says(environments: Environments, models: Path) -> None:
    port = free_port()
    process, at = serving(environments, models / "logistic", port), f"http://127.0.0.1:{port}/v2/models/flight_delay"
    try:
        until(lambda: process.poll() is not None or _answers(f"{at}/ready"), within_s=90, what="the model")
        request = (models / "logistic" / "smoke.json").read_text()
        answer = httpx.post(f"{at}/infer", json=json.loads(request)["request"], trust_env=False, timeout=30).json()
        assert (answer["model_name"], answer["model_version"]) == ("flight_delay", "3")
        (output,) = answer["outputs"]
        assert (output["shape"], output["parameters"]["names"]) == ([3, 2], ["on time", "late"])
        assert httpx.get(f"http://127.0.0.1:{port}/tradewind/answers", trust_env=False).json() == {}
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(2):
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 200"), "a gateway's idle connection is kept"
                connection.settimeout(5)
                time.sleep(7)
    finally:
        process.kill()
        process.wait()


def test_a_server_without_its_model_is_never_ready_and_does_not_end_well(
    environments: Environments, models: Path, tmp_path: Path
) -> None:
    model, port = Path(shutil.copytree(models / "logistic", tmp_path / "model")), free_port()
    (model / "model.pkl").write_bytes((model / "model.pkl").read_bytes()[:200])
    process = serving(environments, model, port)
    ready = 0
    try:
        while process.poll() is None:
            ready += _answers(f"http://127.0.0.1:{port}/v2/health/ready")
            time.sleep(0.01)
        said = process.communicate()[0]
    finally:
        process.kill()
    assert (ready, process.returncode) == (0, 1)
    assert said.rstrip().endswith("_pickle.UnpicklingError: pickle data was truncated"), said[-2000:]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
