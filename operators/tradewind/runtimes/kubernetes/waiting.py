"""A pod that does not start yet: what it waits for, said in words every minute, up to a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from tradewind.errors import RuntimeUnavailable
from tradewind.runtimes.kubernetes.diagnosis import (
    cannot_start,
    ended,
    is_device,
    lacking,
    running,
    scheduled,
    scheduler_says,
    waits_for,
)

EVERY_S = 60.0
_PATIENCE_S = 900.0
_QUIET_S = 10.0  # what starts within this needs no words
_FIRST_PAUSE_S, _LAST_PAUSE_S, _PAUSES = 1.0, 30.0, 20  # between two looks: a twentieth of the time waited, within these
HAVE_A_NODE = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"  # a field selector


class Waiting:
    """One pod's way from being made to its container's start.

    Args:
        container: the name of the one that runs the step.
        schedule_timeout_s: for a node; for its queue too.
        startup_timeout_s: from there on, for images and volumes.
        say: takes what there is to say.
        others: the pods of the same namespace that have a node (`HAVE_A_NODE`), to say who uses what this one wants.
        since: when the waiting began, in seconds since the epoch; by default now.
    """

    def __init__(
        self,
        *,
        container: str,
        schedule_timeout_s: float,
        startup_timeout_s: float,
        say: Callable[[str], None],
        others: Callable[[Any], Iterable[Any]],
        since: float | None = None,
    ) -> None:
        self._container = container
        self._schedule_timeout_s = schedule_timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._say = say
        self._others = others
        self._since = since or time.time()
        self._scheduled_at: float | None = None
        self._said_at = self._since + _QUIET_S - EVERY_S
        self._waited = False

    def over(self, pod: Any) -> bool:
        """Whether the waiting has an end, good or bad: the container started, or it never will.

        Raises:
            RuntimeUnavailable: it took too long; says what it waited for.
        """
        now = time.time()
        if running(pod, self._container) or ended(pod, self._container) or cannot_start(pod, self._container):
            if self._waited:
                self._say(f"Waited {minutes(now - self._since)}")
            return True
        if scheduled(pod):
            self._scheduled_at = self._scheduled_at or now
            since, limit = self._scheduled_at, self._startup_timeout_s
        else:
            since, limit = self._since, self._schedule_timeout_s
        if now - since > limit:
            raise RuntimeUnavailable(f"The pod {pod.metadata.name} waited {minutes(now - since)} in vain: {self.reason(pod)}")
        if self.will_say(now):
            self._said_at, self._waited = now, True
            self._say(f"Waiting {minutes(now - self._since)}: {self.reason(pod)}")
        return False

    def will_say(self, now: float | None = None) -> bool:
        """Whether it is time to say what the pod waits for."""
        return (now or time.time()) - self._said_at >= EVERY_S

    def will_ask(self, pod: Any) -> bool:
        """Whether it will say who uses what the pod waits for: only then are the others worth a request."""
        return self.will_say() and any(map(is_device, lacking(pod)))

    def pause(self, interval: float) -> float:
        """Seconds until the next look. Most pods start at once, and a thousand that wait for an hour must not keep a processor
        busy: who has waited longer is looked at less often.

        Args:
            interval: between the first looks where it is shorter than a second, between the last ones where it is longer than
                half a minute.
        """
        waited = time.time() - self._since
        return max(min(_FIRST_PAUSE_S, interval), min(waited / _PAUSES, max(_LAST_PAUSE_S, interval)))

    def reason(self, pod: Any) -> str:
        """What it waits for and, where others of its namespace have it, who; then Kubernetes' own words."""
        users = (_users(device, pod, self._others(pod)) for device in filter(is_device, lacking(pod)))
        said, theirs = "; ".join([waits_for(pod, self._container), *filter(None, users)]), scheduler_says(pod)
        return f"{said} ({theirs})" if theirs else said


class Patience:
    """With an API server that does not answer: a quarter of an hour, with a word every minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since = self._said_at = 0.0

    def spend(self, error: Exception) -> None:
        """Raises the error where there is no patience left."""
        now = time.time()
        self._since = self._since or now
        if now - self._since > _PATIENCE_S:
            raise error
        if now - self._said_at >= EVERY_S:
            self._said_at = now
            self._say(f"Kubernetes does not answer, waiting: {error}")


def _users(resource: str, pod: Any, others: Iterable[Any]) -> str:
    """Who holds a device that the pod wants."""
    holders: dict[str, int] = {}
    for other in others:
        if other.metadata.uid == pod.metadata.uid or not other.spec.node_name or other.status.phase in ("Succeeded", "Failed"):
            continue
        amount = sum(int(((c.resources and c.resources.requests) or {}).get(resource) or 0) for c in other.spec.containers)
        if amount:
            said = other.metadata.annotations or {}
            name = (
                " ".join(filter(None, (said.get("tradewind.io/dag-id"), said.get("tradewind.io/task-id")))) or other.metadata.name
            )
            holders[name] = holders.get(name, 0) + amount
    if not holders:
        return ""
    most = sorted(holders.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} ({count})" for name, count in most[:5]) + (" and others" if len(most) > 5 else "")
    return f"{sum(holders.values())} {resource} in use by {listed}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
