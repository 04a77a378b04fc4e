"""What ``tradewind doctor --pods`` runs in a pod, here in the steps' environments: it tells what is there and what is not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tradewind.contract import PROBE_VARIABLE
from tradewind.packaging import own_code, own_files
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.store import Store


def probe(python: Path, store: Store, message: Path, tracking_uri: str, **variables: str) -> dict[str, Any]:
    asked = {
        "folder": f"{store.root}/doctor",
        "tracking_uri": tracking_uri,
        "files": [name for name, _ in own_files()],
        "limit_s": 5,
        "message": str(message),
    }
    environment = {**os.environ, PROBE_VARIABLE: json.dumps(asked), **variables}
    subprocess.run([python, "-m", "tradewind_steps.doctor"], env=environment, check=True, capture_output=True)
    assert message.stat().st_size < 4096, "more does Kubernetes not keep"
    found: dict[str, Any] = json.loads(message.read_text())
    return found


@contextmanager
def mlflow(user: str) -> Iterator[str]:
    """Answers as MLflow does, to that user alone."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = self.headers.get("Authorization")
            self.send_response(200 if (given == user) else 401)
            self.end_headers()
            self.wfile.write(b'{"experiments": []}' if given == user else b"You are not authenticated")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("image", ["data", "train"])
def test_it_finds_what_is_there(environments: Environments, store: Store, tmp_path: Path, image: str) -> None:
    store.write(f"{store.root}/doctor/ours", b"from Airflow")
    with mlflow("Basic bWU6c2VjcmV0") as url:
        login = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"}
        found = probe(environments.python(image), store, tmp_path / "message", url, **login)
    assert (found["store"], found["mlflow"], found["code"]) == ("", "", own_code())
    assert store.read(f"{store.root}/doctor/theirs") == found["wrote"].encode()


def test_it_tells_what_is_not(environments: Environments, store: Store, tmp_path: Path) -> None:
    with mlflow("nobody") as url:
        found = probe(environments.python("data"), store, tmp_path / "message", url)
    assert "401" in found["mlflow"] and "not authenticated" in found["mlflow"]
    assert found["store"].startswith("FileNotFoundError")
    found = probe(environments.python("data"), store, tmp_path / "message", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in found["mlflow"]


def test_other_code_is_seen(environments: Environments, store: Store, tmp_path: Path) -> None:
    """As an image that was built before a change has it."""
    import tradewind_steps  # the tests may: they are nobody's step

    copy = tmp_path / "old"
    copy.mkdir()
    (copy / "tradewind_steps").mkdir()
    for name in ("__init__.py", "doctor.py"):
        source = Path(str(tradewind_steps.__file__)).with_name(name)
        (copy / "tradewind_steps" / name).write_text(source.read_text())
    found = probe(environments.python("data"), store, tmp_path / "message", "http://127.0.0.1:1", PYTHONPATH=str(copy))
    assert found["code"] != own_code()
