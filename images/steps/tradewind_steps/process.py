"""The step's own process: it ends with the task that started it, and it knows what it used."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Self

import psutil

from tradewind.contract import LIFELINE_VARIABLE

_INTERVAL = 0.25  # seconds between two readings of memory


def configure_logging() -> None:
    """A line a message, on standard output. The exporter of networks tells each of its thoughts otherwise."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def end_with_parent() -> None:
    """End the whole process group when the task that started this step is gone, however it went.

    The task holds the other end of a pipe on standard input. When it dies, even by SIGKILL, the pipe closes; the JVM
    and worker processes that the step started are in its group and go with it. Not armed in a pod, where the kubelet
    does this.
    """
    if os.environ.pop(LIFELINE_VARIABLE, None) is None:
        return
    lifeline = os.dup(sys.stdin.fileno())
    os.set_inheritable(lifeline, False)
    # What this process starts must not hold the pipe open or read from it.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class UsageMeter:
    """Seconds, CPU seconds and peak memory (the sum of resident sets, in MB) of this process and its children."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._peak = 0
        self._children_cpu: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        self._stop.set()

    def usage(self) -> dict[str, float]:
        self._read()
        own = os.times()
        return {
            "seconds": round(time.monotonic() - self._started, 3),
            "cpu_seconds": round(own.user + own.system + sum(self._children_cpu.values()), 3),
            "peak_memory_mb": round(self._peak / 1e6, 1),
        }

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._read()

    def _read(self) -> None:
        this = psutil.Process()
        memory = this.memory_info().rss
        for child in this.children(recursive=True):
            try:
                memory += child.memory_info().rss
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            self._children_cpu[child.pid] = times.user + times.system
        self._peak = max(self._peak, memory)
