"""The embedded environment's processes: whatever ends the command ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import httpx
import psutil
import pytest

from tradewind.cli import embedded
from tradewind.cli.services import answers

COMMAND = """
import sys, time
from pathlib import Path
from tradewind.cli.services import Service, running
with running(Path(sys.argv[1])) as services:
    services.start(Service(name="one", command=["sleep", "600"], ready=lambda: True))
    print(services._running[0][1].pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_services_too(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        service = int(process.stdout.readline())
        os.kill(process.pid, number)
        assert process.wait(30) != 0
    assert not psutil.pid_exists(service)
    assert not (tmp_path / "processes.json").exists()


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "elsewhere")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        embedded.reach_loopback_directly()
        assert answers(url)
        server.shutdown()
