"""The server of a custom predictor by itself: whose fault an answer is, and what is answered while the author's class is busy."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import until

from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

HEAD = "import time\nimport numpy as np\n\nclass Asked:\n    def __init__(self, model_uri):\n        pass\n\n"
REQUEST = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
Serve = Callable[..., Any]


@pytest.fixture
def serve(environments: Environments, tmp_path: Path) -> Serve:
    """Serve a class with these methods, and files beside it; gives the address of its process."""

    @contextmanager
    def served(methods: str, **files: str) -> Iterator[str]:
        folder, port = tmp_path / "data" / "predictor", free_port()
        (folder / "code").mkdir(parents=True)
        (folder / "model").mkdir()
        (folder / "predictor.json").write_text(json.dumps({"schema": 1, "class": "asked:Asked", "inputs": {"x": "FP64"}}))
        (folder / "code" / "asked.py").write_text(HEAD + methods)
        for name, text in files.items():
            (folder / "code" / f"{name}.py").write_text(text)
        settings = {"host": "127.0.0.1", "port": port, "name": "m", "version": "1", "model": str(tmp_path)}
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        command = [environments.python("predictor"), "-m", "tradewind_steps.predictor.server", tmp_path / "settings.json"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
            url = f"http://127.0.0.1:{port}"
            try:
                until(lambda: ready(url), within_s=90, what="the server")
                yield url
            finally:
                process.terminate()
                process.wait(20)

    return served


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", trust_env=False, timeout=30).is_success
    except httpx.TransportError:
        return False


def ask(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v2/models/m/infer", json=REQUEST, trust_env=False, timeout=60)


def test_what_is_no_answer_is_the_versions_error_not_the_clients(serve: Serve) -> None:
    with serve("    def predict(self, X, names):\n        if X[0, 0] > 1:\n            return X\n") as url:
        answer = ask(url)
    assert answer.status_code == 500, "a forgotten return is a fault of the version, which its canary is judged by"
    assert "Unknown data type returned" in answer.json()["error"]


def test_only_a_status_is_taken_for_one(serve: Serve) -> None:
    raises = "        error = OSError('no store')\n        error.status_code = None\n        raise error\n"
    with serve(f"    def predict(self, X, names):\n{raises}") as url:
        answer = ask(url)
    assert (answer.status_code, answer.json()) == (500, {"error": "OSError: no store"})


def test_what_is_imported_late_leaves_nothing_in_the_models_folder(serve: Serve, tmp_path: Path) -> None:
    tags = "    def tags(self):\n        import later\n        return {'a': later.A}\n"
    with serve(f"    def predict(self, X, names):\n        return X\n\n{tags}", later="A = 1\n") as url:
        assert ask(url).json()["parameters"] == {"a": 1}
    assert not [*tmp_path.rglob("*.pyc")]


def test_a_busy_class_is_alive(serve: Serve) -> None:
    with serve("    def predict(self, X, names):\n        time.sleep(0.5)\n        return X\n") as url:
        with ThreadPoolExecutor(20) as pool:
            requests = [pool.submit(ask, url) for _ in range(20)]
            time.sleep(0.5)
            began = time.monotonic()
            assert ready(url)
            waited = time.monotonic() - began
            assert not all(request.done() for request in requests), "twenty of half a second each are under way"
        assert all(request.result().is_success for request in requests)
    assert waited < 3
