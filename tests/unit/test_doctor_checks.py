"""``tradewind doctor`` on one machine: what is broken for real is a line with a fix, and never a stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tradewind.cli.doctor import machine, result, shared
from tradewind.cli.doctor.result import Check, Result, passed
from tradewind.cli.kube import Forbidden
from tradewind.serving.local.process import free_port
from tradewind.settings import Settings

TRADEWIND = [sys.executable, "-m", "tradewind"]


def settings(home: Path, **options: str) -> Settings:
    given = {"home": str(home), "tracking_uri": f"http://127.0.0.1:{free_port()}", **options}
    return Settings.read(given.get)


def look(check: Callable[[], Iterator[Result]], **about: Any) -> dict[str, Result]:
    return {line.name: line for line in result.run(Check(name="it", look=check, **about))}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of its own in memory, with mount's options: only so is a folder read-only or full for root, too."""
    mounts: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount{len(mounts)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this user may not mount: {done.stderr.strip()}")
        mounts.append(folder)
        return folder

    try:
        yield mount
    finally:
        for folder in mounts:
            subprocess.run(["umount", folder], check=True)


@pytest.fixture
def other_program(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that is neither MLflow nor Airflow."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_wrong_option_is_a_line() -> None:
    given = {"home": "here", "runtime": "moon", "profiles": '{"a": {"cpu": 1}}', "namespace": "fine"}
    lines = list(shared.wrong_settings(given.get))
    assert [line.state for line in lines] == ["fail"] * 3
    for line, option in zip(lines, ("home", "runtime", "profiles"), strict=True):
        assert f"[tradewind] {option}" in line.detail
        assert option in line.fix


def test_a_store_is_left_as_it_was(tmp_path: Path) -> None:
    there = tmp_path / "home" / "store" / "runs"
    there.mkdir(parents=True)
    lines = look(lambda: shared.store(settings(tmp_path / "home")))
    assert {name: line.state for name, line in lines.items()} == {"store": "pass", "store, exclusive": "pass"}
    assert [path for path in (tmp_path / "home").rglob("*") if path != there.parent] == [there]


def test_a_read_only_store(tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    folder = mounted("ro,size=1m")
    line = look(lambda: shared.store(settings(tmp_path, store_uri=str(folder))), hint="mend it")["it"]
    assert (line.state, line.fix) == ("fail", "mend it")
    assert "Read-only file system" in line.detail and str(folder) in line.detail


def test_a_full_store(tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    folder = mounted("size=64k")
    with (folder / "rest").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"0" * 4096)
    line = look(lambda: shared.store(settings(tmp_path, store_uri=str(folder))))["it"]
    assert line.state == "fail"
    assert "No space left on device" in line.detail
    assert [path.name for path in folder.iterdir()] == ["rest"], "what was begun is removed"


def test_a_store_of_a_kind_that_nothing_reads(tmp_path: Path) -> None:
    lines = look(lambda: shared.store(settings(tmp_path, store_uri="nokind://bucket/tradewind")))
    assert [line.state for line in lines.values()] == ["fail"]
    assert "nokind" in next(iter(lines.values())).detail


def test_a_store_that_writes_exclusively_in_name_only(tmp_path: Path) -> None:
    """Behind a cache, fsspec looks first and writes then: all at once find nothing there."""
    lines = look(lambda: shared.store(settings(tmp_path, store_uri="simplecache::memory://tradewind")))
    assert lines["store"].state == "pass"
    exclusive = lines["store, exclusive"]
    assert exclusive.state == "fail", exclusive
    assert "If-None-Match" in exclusive.fix


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    line = look(lambda: machine.home(settings(tmp_path / "a" / "b")))["home"]
    assert line.state == "pass"
    assert f"not created yet, in {tmp_path}" in line.detail
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_or_is_full(tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    locked = look(lambda: machine.home(settings(mounted("ro,size=1m") / "home")))["home"]
    assert locked.state == "fail" and "Read-only file system" in locked.detail
    small = look(lambda: machine.home(settings(mounted("size=64k"))))["home"]
    assert small.state == "fail" and "0 MiB free" in small.detail and "tradewind gc" in small.fix
    file = tmp_path / "file"
    file.touch()
    no_folder = look(lambda: machine.home(settings(file / "home")))["home"]
    assert no_folder.state == "fail" and f"{file} is not a folder" in no_folder.detail


def test_an_environment_whose_packages_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{free_port()}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lines = look(lambda: machine.environments(settings(tmp_path)), limit_s=60)
    assert {line.state for line in lines.values()} == {"fail"}
    assert "cannot be downloaded" in lines["environment data"].detail
    assert "UV_DEFAULT_INDEX" in lines["environment data"].fix
    assert list(tmp_path.iterdir()) == []


def test_no_mlflow_and_no_supervisor(tmp_path: Path) -> None:
    found = settings(tmp_path)
    line = look(lambda: shared.mlflow(found))["it"]
    assert line.state == "fail" and found.tracking_uri in line.detail
    line = look(lambda: machine.serving(found))["it"]
    assert line.state == "fail" and "tradewind serve" in line.detail


def test_another_program_where_mlflow_or_airflow_should_be(tmp_path: Path, other_program: str) -> None:
    lines = look(lambda: shared.mlflow(settings(tmp_path, tracking_uri=other_program)))
    assert [line.state for line in lines.values()] == ["fail"]
    assert "404" in lines["it"].detail
    asked = Settings.read({"home": str(tmp_path)}.get, airflow_url=other_program)
    lines = look(lambda: shared.airflow(asked))
    assert [line.state for line in lines.values()] == ["fail"]


def test_pods_cannot_use_what_is_this_machines(tmp_path: Path, other_program: str) -> None:
    found = settings(tmp_path, runtime="kubernetes", tracking_uri=other_program)
    assert look(lambda: shared.store(found))["store, for pods"].state == "fail"
    assert look(lambda: shared.mlflow(found))["MLflow, for pods"].state == "fail"


def test_a_check_that_raises_hangs_or_may_not_look_is_a_line() -> None:
    def raises() -> Iterator[Result]:
        yield passed("first", "well")
        raise ZeroDivisionError("nothing to divide by")

    def hangs() -> Iterator[Result]:
        yield passed("first", "well")
        time.sleep(60)

    def may_not() -> Iterator[Result]:
        raise Forbidden("403")
        yield

    lines = look(raises, hint="count again")
    assert (lines["first"].state, lines["it"].state, lines["it"].fix) == ("pass", "fail", "count again")
    assert lines["it"].detail == "ZeroDivisionError: nothing to divide by"
    started = time.monotonic()
    assert look(hangs, limit_s=0.5)["it"].detail == "no answer within 0.5 s"
    assert time.monotonic() - started < 10
    assert look(may_not)["it"].state == "skipped"


def test_a_check_that_nobody_waits_for_removes_what_it_made() -> None:
    stop, removed = threading.Event(), threading.Event()

    def makes() -> Iterator[Result]:
        try:
            yield passed("made", "it")
            assert stop.wait(30)
        finally:
            removed.set()

    lines = result.run(Check(name="it", look=makes, limit_s=30, stop=stop))
    assert next(lines).name == "made"
    lines.close()  # as Ctrl-C does
    assert removed.is_set()


def test_the_command_says_all_as_json_and_by_its_exit_code(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "JAVA_HOME"},
        "PATH": str(Path(sys.executable).parent),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__TRADEWIND__HOME": str(tmp_path / "home"),
        "AIRFLOW__TRADEWIND__TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "UV_DEFAULT_INDEX": f"http://127.0.0.1:{free_port()}/simple",
        "UV_HTTP_RETRIES": "0",
    }
    done = subprocess.run([*TRADEWIND, "doctor", "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    lines = {line["name"]: line for line in json.loads(done.stdout)}
    assert {lines[name]["state"] for name in ("settings", "Python", "home", "store")} == {"pass"}
    assert {lines[name]["state"] for name in ("Java", "environment data", "MLflow", "serving")} == {"fail"}
    assert all(line["fix"] for line in lines.values() if line["state"] == "fail")
    assert "apt-get install openjdk-17-jre-headless" in lines["Java"]["detail"]
    assert "Traceback" not in done.stderr + done.stdout

    wrong = {**environment, "AIRFLOW__TRADEWIND__SERVING": "moon"}
    done = subprocess.run([*TRADEWIND, "doctor"], env=wrong, capture_output=True, text=True)
    assert done.returncode == 1
    assert "expected one of: local, seldon, got 'moon'" in done.stdout
    assert "everything else: cannot be looked at: settings failed" in done.stdout
