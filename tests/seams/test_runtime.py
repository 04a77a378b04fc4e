"""The runtime seam: one suite over every implementation. Real steps in real processes; what goes wrong is made to go wrong."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from live import gone, linked_home, until

from tradewind.contract import SPEC_VARIABLE, StepError, StepManifest, StepSpec
from tradewind.errors import RuntimeUnavailable, StepFailed, ValidationFailed
from tradewind.packaging import bundle
from tradewind.runtimes.base import Runtime, result
from tradewind.runtimes.environments import Environments
from tradewind.runtimes.local import LocalRuntime
from tradewind.store import Store

PIPELINE = """
import os, subprocess, sys, time

def slow(dataset, params):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"children {os.getpid()} {child.pid}", flush=True)
    time.sleep(600)

def native_crash(dataset, params):
    print("about to crash", flush=True)
    os.kill(os.getpid(), 11)

def gives_up(dataset, params):
    print("giving up", flush=True)
    os._exit(7)

def own_error(dataset, params):
    print("value is", params["trees"], flush=True)
    raise KeyError("no such thing")

def disk_error(dataset, params):
    raise FileNotFoundError("no such disk")

def leaves_a_child(dataset, params):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"children {child.pid}", flush=True)
    raise KeyError("no such thing")
"""


@pytest.fixture(params=["local"])
def runtime(request: pytest.FixtureRequest, environments: Environments, tmp_path: Path) -> Iterator[Runtime]:
    home = linked_home(tmp_path / "home", environments)
    runtime = {"local": LocalRuntime}[request.param](home)
    yield runtime
    assert list((home / "scratch").iterdir()) == [], "a step's temporary files go with it"


@pytest.fixture
def spec(store: Store, environments: Environments, tmp_path: Path) -> Callable[[str], StepSpec]:
    """The spec of a train step on ten rows whose user function is one of `PIPELINE`'s."""
    code = tmp_path / "pipeline"
    code.mkdir()
    (code / "train.py").write_text(PIPELINE)
    rows = tmp_path / "rows.parquet"
    make = "import pandas as pd, sys; pd.DataFrame({'x': range(100), 'y': [0, 1] * 50}).to_parquet(sys.argv[1])"
    subprocess.run([environments.python("train"), "-c", make, str(rows)], check=True)

    def of(function: str) -> StepSpec:
        return StepSpec(
            step="train", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, image="train",
            params={"params": {"trees": 3}, "label": "y", "time_column": None, "holdout": 0.2, "exclude": [], "experiment": "e"},
            inputs={"dataset": store.refer(str(rows))}, code=bundle(code, store), entry_point=f"train:{function}",
            outputs_uri=store.new_try("d", "r", "t", -1, 1), store_uri=store.root,
            resources={"cpu": 1, "memory_mb": 1000, "device": "cpu"}, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        )  # fmt: skip

    return of


def run(runtime: Runtime, store: Store, spec: StepSpec) -> list[str]:
    lines: list[str] = []
    runtime.run(spec, spec_uri=store.put_spec(spec), say=lines.append)
    return lines


def children(line: str) -> list[psutil.Process]:
    """The processes that a line of `PIPELINE` names: ``children 7 8``."""
    return [process for pid in line.split()[1:] if (process := known(int(pid)))]


def known(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def test_a_users_error_comes_with_message_and_stack(runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]) -> None:
    step = spec("own_error")
    lines = run(runtime, store, step)
    assert "value is 3" in lines
    with pytest.raises(StepFailed, match="KeyError: 'no such thing'") as caught:
        result(store, step)
    assert "in own_error" in caught.value.stack
    assert "train.py" in caught.value.stack
    assert not caught.value.retryable
    manifest = store.get_manifest(f"{step.outputs_uri}/manifest.json")
    assert manifest.usage["peak_memory_mb"] > 10
    assert manifest.usage["seconds"] > 0


def test_a_users_error_is_retryable_where_something_outside_may_be_the_cause(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]
) -> None:
    step = spec("disk_error")
    run(runtime, store, step)
    with pytest.raises(StepFailed, match="FileNotFoundError: no such disk") as caught:
        result(store, step)
    assert caught.value.retryable


def test_a_step_failed_is_told_in_its_own_words(store: Store, spec: Callable[[str], StepSpec]) -> None:
    step = spec("own_error")
    error = StepError(type="StepFailed", message="features.py:6 in build: KeyError: 'x'", stack="its stack", retryable=False)
    failed = StepManifest(
        status="failed", fingerprint=None, outputs={}, metrics={}, started_at="2026-01-01T00:00:00+00:00",
        ended_at="2026-01-01T00:00:01+00:00", error=error,
    )  # fmt: skip
    store.put_manifest(step.outputs_uri, failed)
    with pytest.raises(StepFailed, match=r"^features\.py:6 in build: ") as caught:
        result(store, step)
    assert (caught.value.stack, caught.value.retryable) == ("its stack", False)


def test_a_step_is_over_when_its_process_ends_whatever_it_leaves_running(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]
) -> None:
    """The child would hold the step's output open for ten minutes."""
    step = spec("leaves_a_child")
    started = time.monotonic()
    lines = run(runtime, store, step)
    assert time.monotonic() - started < 120
    if left := children(next(line for line in lines if line.startswith("children"))):
        gone(left, within_s=5)
    with pytest.raises(StepFailed, match="no such thing"):
        result(store, step)


def test_an_error_of_ours_keeps_its_type(runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]) -> None:
    step = spec("own_error")
    step = dataclasses.replace(step, params={**step.params, "label": "nowhere"})
    run(runtime, store, step)
    with pytest.raises(ValidationFailed, match="nowhere"):
        result(store, step)


@pytest.mark.parametrize(
    ("function", "said", "last"), [("native_crash", "SIGSEGV", "about to crash"), ("gives_up", "exit code 7", "giving up")]
)
def test_a_process_that_dies_without_a_word(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec], function: str, said: str, last: str
) -> None:
    with pytest.raises(StepFailed, match=said) as caught:
        run(runtime, store, spec(function))
    assert last in caught.value.stack
    assert caught.value.retryable


def test_a_step_that_cannot_even_say_so_is_told_by_its_last_lines(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]
) -> None:
    step = spec("own_error")
    uri = store.put_spec(step)
    store.write(uri, store.read(uri).replace(b'"schema":1', b'"schema":99'))
    with pytest.raises(StepFailed, match="exit code 1 and left no manifest") as caught:
        runtime.run(step, spec_uri=uri, say=print)
    assert "schema 99, expected 1" in caught.value.stack


def test_a_step_that_dies_after_its_commit_is_done(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec], tmp_path: Path
) -> None:
    """As native libraries do while the process ends."""
    folder = tmp_path / "late"
    folder.mkdir()
    late = "import atexit, os\ndef own_error(dataset, params):\n    atexit.register(os.abort)\n    raise ValueError('first')\n"
    (folder / "train.py").write_text(late)
    step = dataclasses.replace(spec("own_error"), code=bundle(folder, store))
    run(runtime, store, step)
    with pytest.raises(StepFailed, match="ValueError: first"):
        result(store, step)


def test_kill_ends_the_step_and_what_it_started(runtime: Runtime, store: Store, spec: Callable[[str], StepSpec]) -> None:
    processes: list[psutil.Process] = []

    def say(line: str) -> None:
        if line.startswith("children"):
            processes.extend(children(line))
            threading.Timer(0.2, runtime.kill).start()

    step = spec("slow")
    with pytest.raises(StepFailed, match="SIGKILL"):
        runtime.run(step, spec_uri=store.put_spec(step), say=say)
    assert len(processes) == 2
    gone(processes, within_s=5)
    runtime.kill()  # twice is harmless


def spec_again(store: Store, uri: str) -> StepSpec:
    """The same step as a new try that ends at once."""
    spec = store.get_spec(uri)
    return dataclasses.replace(spec, entry_point="train:own_error", outputs_uri=store.new_try("d", "r", "t", -1, 2))


WORKER = """
import sys
from pathlib import Path
from typing import TextIO
from tradewind.runtimes.local import LocalRuntime
from tradewind.store import Store
store = Store(sys.argv[2])
LocalRuntime(Path(sys.argv[1])).run(store.get_spec(sys.argv[3]), spec_uri=sys.argv[3], say=lambda line: print(line, flush=True))
"""


def test_a_step_ends_with_the_task_that_started_it(
    environments: Environments, store: Store, spec: Callable[[str], StepSpec], tmp_path: Path
) -> None:
    home = linked_home(tmp_path / "home", environments)
    uri = store.put_spec(spec("slow"))
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(home), store.root, uri], stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    processes = next(children(line) for line in worker.stdout if line.startswith("children"))
    assert len(processes) == 2
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    gone(processes, within_s=5)
    (left,) = (path for path in (home / "scratch").iterdir() if path.is_dir())
    run(LocalRuntime(home), store, spec_again(store, uri))
    assert not left.exists(), "what a killed task left goes with the next step"


def test_a_step_is_told_nothing_of_airflows(
    runtime: Runtime, store: Store, spec: Callable[[str], StepSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AIRFLOW_CONN_S3", "aws://key:secret@")
    step = spec("own_error")
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "train.py").write_text(
        "import os\ndef own_error(dataset, params):\n    print(sorted(os.environ))\n    raise ValueError\n"
    )
    step = dataclasses.replace(step, code=bundle(folder, store))
    said = next(line for line in run(runtime, store, step) if SPEC_VARIABLE in line)
    assert "AIRFLOW" not in said


def free(lock: TextIO) -> bool:
    """Take a lock, if nobody holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


MAKER = """
import sys
from pathlib import Path
from typing import TextIO
from tradewind.runtimes.environments import Environments
Environments(Path(sys.argv[1])).python("data")
"""


def test_uv_that_outlives_its_task_keeps_the_environments_lock(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as index:  # takes requests, never answers
        url = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        environment = {**os.environ, "UV_DEFAULT_INDEX": url, "UV_INDEX_URL": url, "UV_NO_CACHE": "1", "UV_NO_CONFIG": "1"}
        task = subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)], env=environment)
        index.settimeout(60)
        index.accept()
        (uv,) = psutil.Process(task.pid).children()
        task.kill()
        task.wait()
        with next(tmp_path.glob("data-*.lock")).open() as lock:
            assert not free(lock)
            uv.kill()
            # The kernel closes a killed process's files when it gets to it.
            until(lambda: free(lock), within_s=10, what="the lock")


def test_an_environment_that_cannot_be_started_is_transient(
    store: Store, spec: Callable[[str], StepSpec], tmp_path: Path
) -> None:
    runtime = LocalRuntime(tmp_path / "broken")
    python = Environments(tmp_path / "broken" / "envs").path("train")
    (python / "bin").mkdir(parents=True)
    (python / "lib" / f"python3.{sys.version_info.minor}" / "site-packages").mkdir(parents=True)
    (python / "complete").touch()
    with pytest.raises(RuntimeUnavailable, match="could not be started"):
        run(runtime, store, spec("own_error"))
