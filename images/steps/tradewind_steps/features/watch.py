"""Executors' pods while a session lasts: said in the step's log when they start, wait or end, and taken away. What they said
themselves is kept in the store.

Spark is told to leave pods that ended: it would delete them before anybody could read why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tradewind.errors import RuntimeUnavailable, StepFailed, StoreError
from tradewind.store import Store
from tradewind_steps.features.pods import Pod, Pods

log = logging.getLogger("tradewind")

_INTERVAL = 2.0  # seconds between two looks
_PATIENCE = 600.0  # seconds for the first executor: a new node, a large image
_HOPELESS_SECONDS = 20.0  # after which a pod that cannot start is believed
_HOPELESS = ("ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_LINES = 20  # of one that failed, in the step's log
_KEPT_LINES = 100_000


class Watch:
    """Looks at the executors' pods of one step, from before the first is made.

    Args:
        selector: which pods these are.
        store, logs_uri: where the file ``NAME.log`` of each goes before its pod does.
        patience: seconds for the first one.

    Attributes:
        last: how the last one that failed did so; None while none has.
    """

    def __init__(self, pods: Pods, selector: str, *, store: Store, logs_uri: str, patience: float = _PATIENCE) -> None:
        self.last: str | None = None
        self._pods = pods
        self._selector = selector
        self._store = store
        self._logs_uri = logs_uri
        self._keeps = True
        self._patience = patience
        self._said: set[tuple[str, str]] = set()
        self._trouble: tuple[float, str] | None = None  # since when a pod cannot start, and why
        self._waits = ""
        self._done = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, name="executors", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()
            self._look()  # why the last ones ended, if not by themselves
            with suppress(RuntimeUnavailable):
                for pod in self._pods.labelled(self._selector):
                    self._delete(pod)

    def wait_for_first(self, there: Callable[[], bool]) -> None:
        """Raises StepFailed where none comes up; says what its pod waits for."""
        deadline = time.monotonic() + self._patience
        while not there():
            trouble = self._trouble  # the other thread may find it gone
            if trouble and time.monotonic() - trouble[0] > _HOPELESS_SECONDS:
                raise StepFailed(f"Spark's executors cannot start: {trouble[1]}")
            if time.monotonic() > deadline:
                waits = self._waits or "no pod of one was made; Spark says above why"
                raise StepFailed(f"Spark got no executor within {self._patience:.0f} s: {waits}")
            time.sleep(0.2)

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        try:
            found = self._pods.labelled(self._selector)
        except RuntimeUnavailable as error:
            self._say("", str(error))
            return
        troubled = False
        for pod in found:
            name, phase = pod["metadata"]["name"], pod["status"].get("phase")
            if phase == "Running":
                self._say(name, f"Executor {name} runs on node {pod['spec'].get('nodeName')}")
            elif phase == "Pending":
                troubled |= self._pending(name, pod)
            elif phase == "Failed":
                self._failed(name, pod)
            elif phase == "Succeeded":
                self._delete(pod)
        if not troubled:
            self._trouble = None

    def _pending(self, name: str, pod: Pod) -> bool:
        """Whether it cannot start."""
        unschedulable = next((c for c in pod["status"].get("conditions", []) if c.get("reason") == "Unschedulable"), None)
        if unschedulable:
            self._waits = f"pod {name} waits for a node: {unschedulable.get('message')}"
            self._say(name, f"Executor's {self._waits}")
        waiting = _state(pod, "waiting")
        if not waiting or waiting.get("reason") not in _HOPELESS:
            return False
        why = f"pod {name}: {waiting['reason']}: {waiting.get('message', '')}"
        self._say(name, f"Executor's {why}")
        self._trouble = self._trouble or (time.monotonic(), why)
        return True

    def _failed(self, name: str, pod: Pod) -> None:
        ended = _state(pod, "terminated") or {}
        reason = ended.get("reason") or pod["status"].get("reason") or "no reason given"
        message = ended.get("message") or pod["status"].get("message") or ""
        hint = "; executor_memory_mb of the profile is too small" if reason == "OOMKilled" else ""
        self.last = f"{reason}, exit code {ended.get('exitCode', 'unknown')} {message}{hint}".strip()
        log.warning("Executor %s ended: %s", name, self.last)
        try:
            for line in self._pods.last_lines(name, _LINES):
                log.warning("  %s | %s", name, line)
        except RuntimeUnavailable as error:
            log.warning("  what it said cannot be read: %s", error)
        self._delete(pod)

    def _delete(self, pod: Pod) -> None:
        name = pod["metadata"]["name"]
        if self._keeps and pod["status"].get("phase") != "Pending":
            self._keep(name)
        try:
            self._pods.delete(name)
        except RuntimeUnavailable as error:
            self._say(name, str(error))

    def _keep(self, name: str) -> None:
        uri = f"{self._logs_uri}/{name}.log"
        try:
            self._store.write(uri, "\n".join([*self._pods.last_lines(name, _KEPT_LINES), ""]).encode())
        except RuntimeUnavailable as error:
            self._say(name, f"What executor {name} said could not be kept: {error}")
        except StoreError as error:
            self._keeps = False  # a store that does not answer is waited for once, not for each of them
            self._say(name, f"What executors from {name} on said could not be kept: {error}")
        else:
            self._say(name, f"What executor {name} said: {uri}")

    def _say(self, name: str, line: str) -> None:
        if (name, line) not in self._said:
            self._said.add((name, line))
            log.info("%s", line)


def _state(pod: Pod, kind: str) -> dict[str, Any] | None:
    """The executor's container as it is: ``waiting`` or ``terminated``."""
    for status in pod["status"].get("containerStatuses", []):
        found: dict[str, Any] | None = status.get("state", {}).get(kind)
        if found:
            return found
    return None
