"""Runs a step as a process of this machine, in the environment made from its image's lock."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tradewind.contract import LIFELINE_VARIABLE, SPEC_VARIABLE, StepSpec
from tradewind.errors import RuntimeUnavailable, StepFailed
from tradewind.runtimes.base import Say
from tradewind.runtimes.environments import Environments, environment_id
from tradewind.store import MANIFEST, Store

_TAIL = 20  # lines of output that explain a process that died without a manifest


class LocalRuntime:
    """One step at a time, as the leader of its own session and process group.

    Args:
        home: the folder of the embedded environment: environments are made in ``envs``, a step's temporary files lie in
            ``scratch`` and go with it.
        variables: what the step's environment has beside ours: logins, which no spec may hold.
    """

    def __init__(self, home: Path, *, variables: Mapping[str, str] | None = None) -> None:
        self._environments = Environments(home / "envs")
        self._scratch = home / "scratch"
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None

    def environment_id(self, image: str) -> str:
        return environment_id(image)

    def run(self, spec: StepSpec, *, spec_uri: str, say: Say) -> StepSpec:
        python = self._environments.python(spec.image, say)
        tail: collections.deque[str] = collections.deque(maxlen=_TAIL)
        with _scratch_folder(self._scratch) as scratch:
            try:
                process = self._process = subprocess.Popen(
                    [python, "-m", "tradewind_steps"],
                    stdin=subprocess.PIPE,  # never written to: the step ends when it closes
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={**_environment(spec_uri, scratch, spec.resources), **self._variables},
                    start_new_session=True,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise RuntimeUnavailable(f"The step's process could not be started: {error}") from error
            # What user code leaves running may hold the output open: it goes when the step has ended.
            threading.Thread(target=self._kill_after, args=(process,), name="end", daemon=True).start()
            with process:
                try:
                    assert process.stdout
                    for line in process.stdout:
                        tail.append(line.rstrip("\n"))
                        say(tail[-1])
                    code = process.wait()
                finally:
                    self.kill()
        if not Store(spec.store_uri).exists(f"{spec.outputs_uri}/{MANIFEST}"):
            raise StepFailed(_death(spec.step, code), stack="\n".join(tail))
        return spec

    def resume(self, event: Any, *, spec_uri: str, state: Mapping[str, Any], say: Say) -> StepSpec:
        raise StepFailed(
            "This task was deferred when [tradewind] runtime was kubernetes, and now it is local: clear it", retryable=False
        )

    def _kill_after(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        self.kill()

    def kill(self) -> None:
        # By signal handlers too: it must neither wait nor take a lock. The group may outlive its leader.
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _scratch_folder(parent: Path) -> Iterator[str]:
    """A temporary folder that goes with the step. Those that killed tasks left, often large, go with the next step: their
    locks are free."""
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob("*.lock"):
        with contextlib.suppress(OSError), path.open() as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.with_suffix(""))
            path.unlink()
    with tempfile.NamedTemporaryFile(dir=parent, suffix=".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = Path(lock.name).with_suffix("")
        scratch.mkdir(mode=0o700)
        try:
            yield str(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _environment(spec_uri: str, scratch: str, resources: dict[str, object]) -> dict[str, str]:
    """Ours, less what is Airflow's: its connections and keys are no business of a step's."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV"))
    }
    threads = max(1, min(int(float(str(resources.get("cpu") or 1))), os.cpu_count() or 1))
    return {
        **kept,
        SPEC_VARIABLE: spec_uri,
        LIFELINE_VARIABLE: "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TMPDIR": scratch,
    }


def _death(step: str, code: int) -> str:
    if code >= 0:
        return f"The step {step!r} ended with exit code {code} and left no manifest; its last lines are below"
    name = signal.Signals(-code).name
    cause = {
        "SIGKILL": ": somebody killed it, most often the kernel for want of memory",
        "SIGSEGV": ": a crash in native code",
        "SIGTERM": ": somebody asked it to end",
    }
    return f"The step {step!r} was ended by {name}{cause.get(name, '')}"
