"""A real Airflow API server in its own process group, with authorisation on, over a store of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tradewind.serving.local.process import free_port
from tradewind.store import Store

READY_SECONDS = 120
# Airflow's own roles, by a user of each.
ROLES = {"viewer": "viewer", "user": "user", "operator": "op", "admin": "admin", "nobody": ""}
PASSWORDS = {user: f"{user}-password" for user in ROLES}


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server's address, the store it reads, and a token per user of `ROLES`; ``nobody`` may nothing."""

    url: str
    store: Store
    folder: Path
    tokens: dict[str, str]
    log: Path
    environment: dict[str, str]

    def get(self, path: str, *, user: str | None = "viewer") -> httpx.Response:
        return self.get_url(f"{self.url}/tradewind/{path}", user=user)

    def get_url(self, url: str, *, user: str | None = "viewer") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[user]}"} if user else {}
        return httpx.get(url, headers=headers, timeout=30)

    def python(self, code: str) -> str:
        """Run Python beside the server, with its configuration and database; the last line of the output."""
        done = subprocess.run([sys.executable, "-c", code], env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout.strip().splitlines()[-1]


@contextmanager
def serve(home: Path, *, options: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server with ``home`` as Airflow's home folder, ``options`` in its environment; nothing of it is left running after."""
    home.mkdir(exist_ok=True)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS) + "\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__TRADEWIND__STORE_URI": str(home / "store"),
        "AIRFLOW__TRADEWIND__TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        **(options or {}),
    }
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*airflow, "api-server", "--host", "127.0.0.1", "--port", str(port), "--apps", "core", "--workers", "1"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(url, process, log)
        tokens = {user: _token(url, user) for user in ROLES}
        yield Server(url=url, store=Store(str(home / "store")), folder=home, tokens=tokens, log=log, environment=environment)
    finally:
        _end(process)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"The API server ended:\n{log.read_text()}"
        try:
            if httpx.get(f"{url}/api/v2/version", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.25)
    raise AssertionError(f"The API server was not ready in {READY_SECONDS} s:\n{log.read_text()}")


def _token(url: str, user: str) -> str:
    answer = httpx.post(f"{url}/auth/token", json={"username": user, "password": PASSWORDS[user]}, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
    process.wait(10)
