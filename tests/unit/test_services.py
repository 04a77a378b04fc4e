"""The embedded environment's processes: whatever ends the command ends them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import httpx
import psutil
import pytest
from live import again_and_again, gone, until

from tradewind.cli import embedded
from tradewind.cli.services import Service, answers, running
from tradewind.errors import RuntimeUnavailable

COMMAND = """
import sys, time
from pathlib import Path
from tradewind.cli.services import Service, running
with running(Path(sys.argv[1])) as services:
    services.start(Service(name="one", command=["sleep", "600"], environment={"OWN": "1"}, ready=lambda: True))
    print(services.pid("one"), flush=True)
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


def test_what_configures_another_airflow_is_not_handed_on(tmp_path: Path) -> None:
    """A user's own store and database stay theirs: the demo would write to them."""
    others = {"AIRFLOW__TRADEWIND__STORE_URI": "s3://prod", "_AIRFLOW_PROCESS_CONTEXT": "server", "KEPT": "1"}
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, **others}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = psutil.Process(int(process.stdout.readline())).environ()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert {"OWN", "KEPT"} <= told.keys()
    assert [name for name in told if "AIRFLOW" in name] == []


def test_a_killed_ones_services_are_ended_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        left = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert left.status() != psutil.STATUS_ZOMBIE
    with running(tmp_path):
        gone([left], within_s=10)


def test_what_ends_after_it_has_answered_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With what it left: a few times, then there is a reason."""
    (tmp_path / "code.py").write_text("import subprocess, time; subprocess.Popen(['sleep', '600']); print('up'); time.sleep(600)")
    with running(tmp_path) as services:
        services.start(Service(name="one", command=[sys.executable, "-u", str(tmp_path / "code.py")], ready=lambda: True))
        log = tmp_path / "logs" / "one.log"
        services.wait(lambda service: None)
        for number in range(1, 4):
            until(lambda number=number: log.read_text() == "up\n" * number, within_s=20, what="its start")
            leader = psutil.Process(services.pid("one"))
            family = [leader, *until(leader.children, within_s=10, what="its child")]
            leader.kill()
            gone([leader], within_s=10)
            services.check()
            gone(family, within_s=10)
            assert psutil.Process(services.pid("one")).is_running()
            assert str(services.pid("one")) in (tmp_path / "processes.json").read_text()
        assert caplog.text.count("one ended with exit code -9 and is started again; its log: ") == 3
        last = psutil.Process(services.pid("one"))
        last.kill()
        gone([last], within_s=10)
        with pytest.raises(RuntimeUnavailable, match=r"one ended with exit code -9; the end of .*one\.log:\nup"):
            services.check()


def test_what_ends_now_and_then_is_started_again_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever thread looks after it."""
    monkeypatch.setattr("tradewind.cli.services._STEADY", 0.0)
    with running(tmp_path) as services:
        services.start(Service(name="one", command=["sleep", "600"], ready=lambda: True))
        services.wait(lambda service: None)
        again: list[bool] = []
        with again_and_again(lambda: again.append(services.check()), every_s=0.1):
            for number in range(1, 6):
                os.kill(services.pid("one"), signal.SIGKILL)
                until(lambda number=number: again.count(True) == number, within_s=20, what="another one")


def test_what_ends_before_it_answers_is_told_with_its_log(tmp_path: Path) -> None:
    with running(tmp_path) as services:
        services.start(Service(name="one", command=["sh", "-c", "echo no port; exit 3"], ready=lambda: False))
        with pytest.raises(RuntimeUnavailable, match=r"one ended with exit code 3; the end of .*one\.log:\nno port"):
            services.wait(lambda service: None)


def test_another_program_that_answers_in_its_place_is_not_taken_for_it(tmp_path: Path) -> None:
    """It was quicker to take the port."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other, running(tmp_path) as services:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        code = f"import http.server, time; time.sleep(1); http.server.HTTPServer(('127.0.0.1', {other.server_port}), None)"
        services.start(
            Service(name="one", command=[sys.executable, "-c", code], ready=lambda: answers(url), port=other.server_port)
        )
        with pytest.raises(RuntimeUnavailable, match=r"(?s)one ended with exit code 1; .*Address already in use"):
            services.wait(lambda service: None)
        other.shutdown()


def test_what_must_end_well_before_it_does_so_first(tmp_path: Path) -> None:
    """With its environment, into its log."""
    with running(tmp_path) as services:
        before = Service(
            name="one", before=["sh", "-c", "echo before $OWN"], command=["sh", "-c", "echo then; sleep 600"],
            environment={"OWN": "1"}, ready=lambda: "then" in (tmp_path / "logs" / "one.log").read_text(),
        )  # fmt: skip
        services.start(before)
        services.wait(lambda service: None)
        assert (tmp_path / "logs" / "one.log").read_text() == "before 1\nthen\n"
        with pytest.raises(RuntimeUnavailable, match=r"two cannot start: exit code 4; the end of .*two\.log:\nno disk"):
            services.start(dataclasses.replace(before, name="two", before=["sh", "-c", "echo no disk; exit 4"]))


@pytest.mark.parametrize("text", ["", '{"processes": [[1,', "[]", '{"processes": [7]}', '[{"pid": 1, "started": 2.0}]'])
def test_a_list_of_processes_that_cannot_be_read_stops_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "processes.json").write_text(text)
    with running(tmp_path):
        assert not (tmp_path / "processes.json").exists()
    assert "processes.json cannot be read" in caplog.text


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


def test_two_environments_do_not_choose_the_same_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second looks for free ports only when the first one's services listen, or have failed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    chosen = queue.Queue[embedded.Addresses]()

    def start_too() -> None:
        with embedded.starting():
            chosen.put(embedded.Addresses.choose())

    with contextlib.ExitStack() as listening:
        with embedded.starting():
            first = embedded.Addresses.choose()
            second = threading.Thread(target=start_too)
            second.start()
            with pytest.raises(queue.Empty):
                chosen.get(timeout=0.3)
            for address in (first.airflow, first.mlflow, first.serving):
                server = listening.enter_context(socket.socket())
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", int(address.rsplit(":", 1)[1])))
                server.listen()
        others = chosen.get(timeout=5)
        second.join()
        assert not {first.airflow, first.mlflow, first.serving} & {others.airflow, others.mlflow, others.serving}
