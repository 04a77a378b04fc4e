"""A target's lock in the cluster: a Lease that its holder renews, and that whoever waits may take when it is not renewed.

A holder that was killed is not known to be gone but by its silence: the lock is free again after `LENGTH_S`. Whoever waits
measures that on its own clock, from when it saw the Lease change last: clocks of two machines need not agree.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tradewind.errors import Locked, TradewindError
from tradewind.kube import Conflict, Kube

LENGTH_S = 15.0
_RENEW_S = 4.0
_AGAIN_S = 1.0  # after a renewal that was not answered
_LOOK_S = 0.2
HOLDER = "tradewind.io/holder"


class Hold:
    """A lock that this process has. It is not one any more where it could not be renewed in time."""

    def __init__(self, kube: Kube, path: str, lease: dict[str, Any]) -> None:
        self._kube = kube
        self._path = path
        self._lease = lease
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name=f"renews {path}")
        self._thread.start()

    @property
    def valid(self) -> bool:
        # A second less than others wait for. A write that takes longer is refused where they have written: it names what it was
        # made from.
        return time.monotonic() - self._renewed < LENGTH_S - 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        if not self.valid:
            return  # perhaps another's by now
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        with suppress(TradewindError):  # it ends by itself
            self._kube.ask("PUT", self._path, {**self._lease, "spec": spec})

    def _renew(self) -> None:
        pause = _RENEW_S
        while not self._ended.wait(pause):
            began, pause = time.monotonic(), _RENEW_S
            spec = {**self._lease["spec"], "renewTime": _now()}
            try:
                self._lease = self._kube.ask("PUT", self._path, {**self._lease, "spec": spec})
                self._renewed = began
            except Conflict:
                if not self._still_ours():
                    self._renewed = began - LENGTH_S
                    return
                pause = 0.0
            except TradewindError:
                pause = min(_AGAIN_S, _RENEW_S)

    def _still_ours(self) -> bool:
        """A renewal whose answer was lost is a change by ourselves."""
        try:
            found = self._kube.ask("GET", self._path)
        except TradewindError:
            return True  # not known: the next renewal is refused as well if it is not
        if found["spec"].get("holderIdentity") != self._lease["spec"]["holderIdentity"]:
            return False
        self._lease = found
        return True


@contextmanager
def held(kube: Kube, namespace: str, name: str, *, holder: str, timeout_s: float, what: str) -> Iterator[Hold]:
    """Hold the Lease ``name`` alone, for the time of the block.

    Args:
        holder: left in it for whoever comes second.
        what: what the lock protects, for the message.

    Raises:
        Locked: another holds it for longer than ``timeout_s`` seconds; says who.
    """
    hold = _taken(kube, namespace, name, holder, timeout_s, what)
    try:
        yield hold
    finally:
        hold.end()


def _taken(kube: Kube, namespace: str, name: str, holder: str, timeout_s: float, what: str) -> Hold:
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"
    path, identity = f"{leases}/{name}", uuid.uuid4().hex
    deadline, seen, since = time.monotonic() + timeout_s, None, time.monotonic()
    while True:
        found = kube.ask("GET", path, missing=True)
        version = found.get("metadata", {}).get("resourceVersion")
        if version != seen:
            seen, since = version, time.monotonic()
        if not found or not found["spec"].get("holderIdentity") or time.monotonic() - since > LENGTH_S:
            wanted = _lease(name, namespace, identity, holder, version)
            try:
                lease = kube.ask("PUT", path, wanted) if found else kube.ask("POST", leases, wanted)
                return Hold(kube, path, lease)
            except Conflict:
                pass  # another was faster
        if time.monotonic() >= deadline:
            who = (found.get("metadata", {}).get("annotations") or {}).get(HOLDER) or "another"
            raise Locked(f"{what} is held by {who}; waited {timeout_s:g} s")
        time.sleep(min(_LOOK_S, timeout_s / 10))


def _lease(name: str, namespace: str, identity: str, holder: str, version: str | None) -> dict[str, Any]:
    metadata = {
        "name": name, "namespace": namespace, "annotations": {HOLDER: holder},
        "labels": {"app.kubernetes.io/managed-by": "tradewind"}, **({"resourceVersion": version} if version else {}),
    }  # fmt: skip
    spec = {"holderIdentity": identity, "leaseDurationSeconds": int(LENGTH_S), "acquireTime": _now(), "renewTime": _now()}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
