"""The step's side of the nursery: trials are sent for, events come back."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tradewind.contract import StepSpec
from tradewind.errors import StepFailed, TradewindError, named

log = logging.getLogger("tradewind")
_PATIENCE = 10  # seconds for the nursery to end by itself
_DIED = "The process that the sweep's trials are forked from ended by itself, most often killed for want of memory"


class Pool:
    """Trials in processes of their own, any number at once.

    Attributes:
        task: ``binary``, ``multiclass`` or ``regression``, as the data say.
    """

    def __init__(self, orders: IO[bytes], events: IO[bytes], folder: Path) -> None:
        self._orders = orders
        self._events = events
        self._folder = folder
        self.task = str(self.next("ready")["task"])

    def learn(self, trial: int, **order: Any) -> None:
        """Start a trial; see `member.live` for what it is told. An event ``learned``, or ``ended``, follows."""
        self._send({"do": "learn", "trial": trial, **order})

    def keep(self, trial: int) -> None:
        """Let a trial that has learned keep its model. An event ``kept``, or ``ended``, follows."""
        self._send({"do": "keep", "trial": trial})

    def drop(self, trial: int) -> None:
        """Let a trial that has learned go."""
        self._send({"do": "drop", "trial": trial})

    def next(self, *wanted: str) -> dict[str, Any]:
        """Wait for the next event, or the next of the kinds ``wanted``.

        Raises:
            TradewindError: of the kind that the reading of data and code met.
            StepFailed: the nursery has died.
        """
        while True:
            line = self._events.readline()
            if not line:
                raise StepFailed(_DIED)
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "broken":
                raise error_of(event["error"])
            if not wanted or event["event"] in wanted:
                return event

    def left(self, trial: int) -> dict[str, Any]:
        """What a trial that has learned has left."""
        return self._read(f"{trial}.json")

    def left_kept(self, trial: int) -> dict[str, Any]:
        """The ``metrics`` and ``outputs`` of a model that was kept; raises what went wrong at it."""
        found = self._read(f"{trial}.kept.json")
        if "error" in found:
            raise error_of(found["error"])
        return found

    def _read(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / name).read_text())
        return found

    def _send(self, order: dict[str, Any]) -> None:
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError as error:
            raise StepFailed(_DIED) from error


@contextmanager
def pool(spec: StepSpec, scratch: Path, *, threads: int, device: str, judged: bool) -> Iterator[Pool]:
    """A nursery for the time of the block; no trial outlives it.

    Args:
        spec: a training's, without the sweep's parameters.
        scratch: for all that it leaves.
        threads: of each trial.
        device: ``cpu`` or ``cuda``.
        judged: whether trials may be ended early.
    """
    folder, own = scratch / "trials", scratch / "nursery"
    folder.mkdir()
    own.mkdir()
    first = {
        "spec": spec.to_json(),
        "scratch": str(own),
        "folder": str(folder),
        "threads": threads,
        "device": device,
        "judged": judged,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tradewind_steps.sweep.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(first).encode() + b"\n")
        process.stdin.flush()
        yield Pool(process.stdin, process.stdout, folder)
    finally:
        try:
            process.stdin.close()
        except BrokenPipeError:
            log.info("The trials' process had ended already")
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def error_of(described: dict[str, Any]) -> TradewindError:
    """An error that travelled as data."""
    log.error("%s", described["stack"])
    kind = named(described["type"])
    if kind and kind is not StepFailed:
        return kind(described["message"])
    return StepFailed(
        described["message"] if kind else f"{described['type']}: {described['message']}",
        stack=described["stack"],
        retryable=described["retryable"],
    )
