"""What an executor said, where the API server cannot tell all of it."""

from __future__ import annotations

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tradewind.runtimes.environments import Environments

PODS = b'{"items": [{"metadata": {"name": "one"}, "spec": {"nodeName": "node"}, "status": {"phase": "Running"}}]}'


class BreaksOff(BaseHTTPRequestHandler):
    """An API server that ends in the midst of a pod's log."""

    deleted: list[str]

    def do_GET(self) -> None:
        is_log = "/log?" in self.path
        self.send_response(200)
        self.send_header("Content-Length", "1000" if is_log else str(len(PODS)))
        self.end_headers()
        self.wfile.write(b"half a line" if is_log else PODS)

    def do_DELETE(self) -> None:
        self.deleted.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """It says nothing."""


def test_a_log_that_breaks_off_does_not_break_the_step(tmp_path: Path, environments: Environments) -> None:
    (tmp_path / "token").write_text("secret")
    BreaksOff.deleted = []
    with HTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        probe = [environments.python("data"), Path(__file__).with_name("executors_probe.py")]
        url = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run([*probe, url, tmp_path], capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert "What executor one said could not be kept: Kubernetes at" in done.stdout
    assert len(BreaksOff.deleted) == 1
    assert not (tmp_path / "executors").exists()
