"""A server that is kept alive: started, found ready, started again when it ends by itself, ended on request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from tradewind.errors import RuntimeUnavailable, TradewindError

_CHILD = Path(__file__).with_name("child.py")
_POLL = 0.05  # seconds between two looks for readiness
_STEADY = 60.0  # seconds of life after which an end counts as the first again
_MAX_PAUSE = 30.0  # seconds at most before the next start
_TAIL_LINES = 15
_ROUTINE = re.compile(r"INFO:|\S+ \S+ \[\S+\] INFO ")  # what a server says while it starts and stops
_PORT_TRIES = 3
_MAX_LOG_BYTES = 20_000_000


class ServerProcess:
    """One server and its log.

    It must be started from the supervisor's main thread: the kernel ends it when the thread that started it is gone.

    Args:
        name: for messages: ``MLServer of flight_delay 3``.
        prepare: makes the command, anew for each start; may choose another port.
        probe: whether it answers.
        folder: its working folder.
        log: what it prints goes there.
        environment: its whole environment.
        limit_s: how long it may take to be ready.
        changed: called after it became ready or ended by itself.
        say: told, in one line, what happened by itself.
    """

    def __init__(
        self,
        *,
        name: str,
        prepare: Callable[[], list[str]],
        probe: Callable[[], Awaitable[bool]],
        folder: Path,
        log: Path,
        environment: dict[str, str],
        limit_s: float,
        changed: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.log = log
        self.ready = False
        self.error: str | None = None
        self.restarts = 0
        self._prepare = prepare
        self._probe = probe
        self._folder = folder
        self._environment = environment
        self._limit_s = limit_s
        self._changed = changed
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start it, wait until it is ready, and keep it alive from then on.

        Raises:
            RuntimeUnavailable: it ended or was not ready in time; carries the last lines of its log. It is ended.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        for attempt in range(_PORT_TRIES):
            try:
                await self._begin()
                break
            except BaseException as error:
                await self._end(grace_s=1)
                # Between choosing a port and listening on it another program may have taken it.
                taken = isinstance(error, RuntimeUnavailable) and "address already in use" in str(error).lower()
                if not taken or attempt + 1 == _PORT_TRIES:
                    raise
        self.keep()

    @property
    def kept(self) -> bool:
        """Whether it is being kept alive, running or about to be started again."""
        return self._keeper is not None

    def keep(self) -> None:
        """Keep it alive: start it now if it does not run, and again whenever it ends."""
        self._keeper = asyncio.create_task(self._keep(), name=self.name)

    async def stop(self, *, grace_s: float) -> None:
        """End it: politely, and by force after ``grace_s`` seconds."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._end(grace_s=grace_s)

    async def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._trim_log()
        command = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), *self._prepare()]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,  # Ctrl-C goes to the supervisor alone: it ends them in order
            )
        await self._changed()
        deadline = time.monotonic() + self._limit_s
        while not await self._probe():
            if self._process.returncode is not None:
                how = _how(self._process.returncode)
                raise RuntimeUnavailable(f"{self.name} ended {how} before it was ready: {self.last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"{self.name} was not ready after {self._limit_s:g} s: {self.last_words()}")
            await asyncio.sleep(_POLL)
        self.ready, self.error = True, None
        await self._changed()

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            if self._process is not None:
                begun = time.monotonic()
                code = await self._process.wait()
                self.ready = False
                self.restarts += 1
                self.error = f"{self.name} ended {_how(code)}; starting it again"
                self._say(self.error)
                pause = 0.0 if time.monotonic() - begun > _STEADY else min(_MAX_PAUSE, pause * 2 or 0.25)
            try:
                await asyncio.sleep(pause)
                await self._begin()
                self._say(f"{self.name} is ready")
            except (TradewindError, OSError) as error:
                self.restarts += 1
                self.error = str(error)
                self._say(self.error)
                await self._end(grace_s=1)
                pause = min(_MAX_PAUSE, pause * 2 or 0.25)
                self._process = None

    async def _end(self, *, grace_s: float) -> None:
        self.ready = False
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace_s)
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()

    def last_words(self) -> str:
        """The last line of its log that is no routine, which is an exception's message, then the lines before it."""
        lines = self._log_lines()
        return "\n".join([lines[-1], f"{self.log} ends with:", *lines]) if lines else f"{self.log} is empty"

    def _log_lines(self) -> list[str]:
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines()]
        return [line for line in lines if line and not _ROUTINE.match(line)][-_TAIL_LINES:]

    def _trim_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))


def free_port(wanted: int = 0) -> int:
    """``wanted`` where it is free on loopback, else any free port: that one is kept for a server for about a minute."""
    for port in dict.fromkeys((wanted, 0)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if not port:
                _keep(probe)
            return int(probe.getsockname()[1])
    raise RuntimeUnavailable("There is no free port on 127.0.0.1")


def _keep(bound: socket.socket) -> None:
    """A server may take seconds to start, and the kernel would meanwhile give its port to any connection or to another server.

    It does not where a connection to the port has just been closed by this end; a server may still listen there.
    """
    bound.listen()
    with socket.create_connection(bound.getsockname()):
        bound.accept()[0].close()


def started_at(pid: int) -> float | None:
    """When that process began (seconds since the epoch), None where there is none: tells it from a later one with its id."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def end_left_over(pid: int, started: float) -> bool:
    """Kill a process, and its group, that a dead supervisor left; a later process with the same id is left alone."""
    if started_at(pid) != started:
        return False
    _signal_group(pid, signal.SIGKILL)
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
