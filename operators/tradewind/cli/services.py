"""The services of the embedded environment, as processes of this machine: started together, ended together.

Each is the leader of its own process group and logs to a file. Which groups there are is on disk as soon as each has been
started, so that the next start ends what a killed one left behind. (Killed between the two, a moment's work, it leaves a
service that nobody knows of: its port is taken then, and the next start says so or chooses another.)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.serving.local.files import write_json
from tradewind.serving.local.process import end_left_over, started_at

log = logging.getLogger("tradewind")
_POLL = 0.1  # seconds
_GRACE = 5.0  # seconds in which a service may end by itself
_RESTARTS = 3  # of one service, each soon after the last; one that ends again and again has a reason that its log tells
_STEADY = 60.0  # seconds after its first answer, with which a start has gone well
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process.

    Attributes:
        before: a command that must have ended well before this one starts.
        ready: true as soon as it answers.
        port: where it listens, if ``ready`` asks there: another program that answers in its place is not taken for it.
        patience: seconds until it must be ready.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    before: Sequence[str] = ()
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = 120


@dataclass(kw_only=True)
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    answered: bool = False
    since: float = 0.0  # when it did
    restarts: int = 0


class Services:
    """Starts services in a folder and ends them all when the block ends, whatever happens in it.

    Args:
        home: logs go to ``<home>/logs``, the list of groups to ``<home>/processes.json``.
    """

    def __init__(self, home: Path) -> None:
        self._logs = home / "logs"
        self._list = home / "processes.json"
        self._running: list[_Running] = []

    def start(self, service: Service) -> None:
        """Start a service; `wait` for it.

        Raises:
            RuntimeUnavailable: what must have ended well before it did not; carries the end of its log.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        self.log(service).write_bytes(b"")
        if service.before:
            with self.log(service).open("ab") as log:
                code = subprocess.run(service.before, **_apart(service, log), check=False).returncode
            if code:
                raise RuntimeUnavailable(f"{service.name} cannot start: exit code {code}{self._tail(service)}")
        # What was started and is not on the list would be left behind.
        with _undisturbed():
            self._running.append(_Running(service=service, process=self._process(service)))
            self._write_list()

    def pid(self, name: str) -> int:
        """The process of that service."""
        return next(running.process.pid for running in self._running if running.service.name == name)

    def log(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def wait(self, said: Callable[[Service], None]) -> None:
        """Until all answer; ``said`` is called as each does.

        Raises:
            RuntimeUnavailable: one ended, or did not answer in time; carries the end of its log.
        """
        started = time.monotonic()
        while waiting := [running for running in self._running if not running.answered]:
            self.check()
            for running in waiting:
                service = running.service
                if service.ready() and (service.port is None or _listens(running.process.pid, service.port)):
                    running.answered, running.since = True, time.monotonic()
                    said(service)
                elif time.monotonic() - started > service.patience:
                    raise RuntimeUnavailable(
                        f"{service.name} did not answer within {service.patience:.0f} s{self._tail(service)}"
                    )
            time.sleep(_POLL)

    def check(self) -> bool:
        """Start again what has ended by itself, as whatever keeps services elsewhere would, and wait until it answers; a warning
        tells of it. Whether there was anything.

        Raises:
            RuntimeUnavailable: one ended before it had answered, or too often, or does not answer; carries the end of its log.
        """
        again = False
        for running in self._running:
            service, code = running.service, running.process.poll()
            if code is None:
                continue
            if time.monotonic() - running.since > _STEADY:
                running.restarts = 0
            if not running.answered or running.restarts == _RESTARTS:
                raise RuntimeUnavailable(f"{service.name} ended with exit code {code}{self._tail(service)}")
            log.warning("%s ended with exit code %d and is started again; its log: %s", service.name, code, self.log(service))
            _end_group(running.process.pid, 0)
            with _undisturbed():
                running.process, running.restarts = self._process(service), running.restarts + 1
                self._write_list()
            running.answered, again = False, True
        if again:
            self.wait(lambda service: None)
        return again

    def stop(self) -> None:
        # Steps have groups of their own: they end as soon as they notice that their tasks have gone.
        family = [member for running in self._running for member in _descendants(running.process.pid)]
        for running in self._running:
            with contextlib.suppress(ProcessLookupError):
                running.process.terminate()
        for running in self._running:
            _end_group(running.process.pid, _GRACE)
            running.process.wait()
        _wait(family, 10)
        self._running.clear()
        self._list.unlink(missing_ok=True)

    def end_leftovers(self) -> None:
        """End what an earlier start left running because it was itself killed."""
        if not self._list.exists():
            return
        try:
            for pid, started in json.loads(self._list.read_bytes())["processes"]:
                end_left_over(pid, started)
        except (ValueError, KeyError, TypeError):
            log.warning("%s cannot be read: what an earlier start left running, if anything, is not ended", self._list)
        self._list.unlink()

    def _process(self, service: Service) -> subprocess.Popen[bytes]:
        with self.log(service).open("ab") as log:
            return subprocess.Popen(service.command, **_apart(service, log))

    def _write_list(self) -> None:
        pids = [running.process.pid for running in self._running]
        write_json(self._list, {"processes": [(pid, started_at(pid)) for pid in pids]})

    def _tail(self, service: Service) -> str:
        lines = self.log(service).read_text(errors="replace").splitlines()[-15:]
        return f"; the end of {self.log(service)}:\n" + "\n".join(lines)


def _apart(service: Service, log: IO[bytes]) -> dict[str, Any]:
    """How its processes start: with its environment and log, in a group of their own."""
    return {
        "env": {**_inherited(), **service.environment}, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT,
        "start_new_session": True,
    }  # fmt: skip


def _inherited() -> dict[str, str]:
    """This process's environment without what configures another Airflow: its store or database must not become ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}


def _end_group(group: int, grace: float) -> None:
    """End a process group: wait up to ``grace`` seconds for its processes to go, then kill what is left."""
    until = time.monotonic() + grace
    while _alive(group) and time.monotonic() < until:
        time.sleep(_POLL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return found
    except psutil.NoSuchProcess:
        return []


def _listens(pid: int, port: int) -> bool:
    """Whether a process, or one below it, listens on that port."""
    for process in [psutil.Process(pid), *_descendants(pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")):
                return True
    return False


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Until they have gone, a killed one too takes its time; what is left after ``seconds`` is killed."""
    until = time.monotonic() + seconds
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > until:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return
        time.sleep(_POLL)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _alive(group: int) -> bool:
    """Whether a process group has a member that runs; one that has ended and was not yet collected does not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


@contextmanager
def running(home: Path) -> Iterator[Services]:
    """The services of a home folder, for the time of the block; a second one on the same folder is refused.

    SIGTERM and a closed terminal end the block as Ctrl-C does.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SpecError(f"Another demo runs in {home}; end it, or name another folder with --home") from error
        services = Services(home)
        with _undisturbed():
            services.end_leftovers()
        before = {number: signal.getsignal(number) for number in _ENDS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, _interrupt)
        try:
            yield services
        finally:
            # A second Ctrl-C must not leave half of them running.
            for number in before:
                signal.signal(number, signal.SIG_IGN)
            services.stop()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and its like wait for the block's end. They come to the main thread: another one has nothing to wait with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {n: h for n in _ENDS if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda got, _: came.append(got))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def answers(url: str) -> bool:
    """Whether a GET gives a 2xx answer within a few seconds."""
    try:
        return httpx.get(url, timeout=15).is_success
    except httpx.HTTPError:
        return False
