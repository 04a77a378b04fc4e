"""A real Prometheus for tests, Debian's package, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from live import until

from tradewind.serving import local
from tradewind.serving.local.process import free_port

RULES = Path(__file__).parents[1] / "charts/tradewind/files/rules.yaml"
DASHBOARD = RULES.with_name("dashboard.json")


def program(name: str) -> str:
    """``prometheus`` or ``promtool``."""
    found = shutil.which(name)
    assert found, f"there is no {name}: apt-get install --no-install-recommends prometheus"
    return found


@contextmanager
def prometheus_server(folder: Path, jobs: list[dict[str, Any]]) -> Iterator[str]:
    """A server with the chart's rules that scrapes ``jobs`` every second, for the time of the block; its address."""
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    folder.mkdir()
    configuration, url = folder / "prometheus.yml", f"127.0.0.1:{free_port()}"
    configuration.write_text(json.dumps({"global": every, "rule_files": [str(RULES)], "scrape_configs": jobs}))
    server = [
        program("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url}",
    ]  # fmt: skip
    with ended_with_us(server, folder / "prometheus.log") as process:
        until(lambda: process.poll() is not None or answers(f"http://{url}/-/ready"), within_s=60, what="Prometheus's answer")
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield f"http://{url}"


@contextmanager
def ended_with_us(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and with this process however that ends."""
    with log.open("wb") as file:
        guard = [sys.executable, "-I", "-S", str(Path(local.__path__[0], "child.py")), str(os.getpid())]
        process = subprocess.Popen([*guard, *command], stdout=file, stderr=file, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
