"""The serving seam: what a rollout may ask of a place that serves models, wherever that is.

A *target* is one stable endpoint that serves one registered model: versions of it come and go behind the endpoint, and
each gets a share (weight) of the requests. Every implementation speaks the Open Inference Protocol (V2), splits traffic
for real and reports requests, errors and latency of each version.

All methods block and all are idempotent: asked for what is already so, they do nothing.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from tradewind.contract import ArtifactRef
from tradewind.errors import SpecError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class ServedVersion:
    """One version of a target.

    Attributes:
        ready: it answers.
        digest: the sha256 of the model it was loaded from.
        weight: its share of the endpoint's requests in percent, 0 to 100.
        mirror: the share of the endpoint's requests, in percent, of which it gets a copy whose answer nobody sees.
        url: where this very version answers, past the split: ``{url}/infer``.
        restarts: how often it was started again because it had ended by itself.
        error: why it is not ready, if that is known.
    """

    ready: bool
    digest: str
    weight: int
    url: str
    mirror: int = 0
    restarts: int = 0
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What serves behind a target now.

    Attributes:
        endpoint_url: the model's stable V2 URL: ``{endpoint_url}/infer``. It is known before the first version is there.
        versions: by registered version, the ones without a share of the requests too.
    """

    target: str
    endpoint_url: str
    versions: dict[str, ServedVersion] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, int]:
        """The versions that get requests, with their shares in percent."""
        return {version: served.weight for version, served in self.versions.items() if served.weight}


@dataclass(frozen=True, kw_only=True)
class VersionStatistics:
    """What a version did with the endpoint's requests; a direct `Serving.infer` is not counted.

    Attributes:
        requests: ended ones, since the version was loaded or its proxy started.
        errors: those of them that ended with a 5xx status, a refused connection or a timeout.
        active: requests under way.
        latency_ms: by quantile in percent, as ``{"50": 4.1, "95": 7.9, "99": 12.0}``; empty before the first request.
        latency: how many of the requests took how long: the lower bound of a bucket in milliseconds to its count.
        answers: how many of their rows were answered with what: the lower bound of a bin to its count; empty where the serving
            does not look into answers.
    """

    requests: int
    errors: int
    active: int
    latency_ms: dict[str, float]
    latency: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)


class Serving(Protocol):
    """A place where models serve.

    Raises (all methods):
        RuntimeUnavailable: it does not answer; transient.
        SpecError: a target or version name that cannot be part of a URL.
    """

    def observe(self, target: str) -> Deployment:
        """What serves behind ``target``; a target that was never rolled out has no versions."""
        ...

    def load(self, target: str, version: str, model: ArtifactRef) -> None:
        """Start serving a version without giving it requests; returns when it is ready.

        Args:
            model: a folder in MLflow's format; its bytes are checked against ``model.sha256``.

        Raises:
            RolloutAborted: it cannot be served: says why. What served before is untouched.
        """
        ...

    def infer(self, target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        """The V2 answer of one version to a V2 request, past the split.

        Raises:
            RolloutAborted: there is no such version, or it answered with an error.
        """
        ...

    def mirror(self, target: str, version: str, percent: int) -> None:
        """Give a version copies of so many of the endpoint's requests, beside whoever answers them; 0 ends it.

        Raises:
            RolloutAborted: there is no such version, or it is not ready.
        """
        ...

    def shift(self, target: str, weights: dict[str, int], *, even_unready: bool = False) -> None:
        """Share the endpoint's requests between versions; returns when it is in effect. A version with a share gets no copies.

        Args:
            weights: percent by version; they sum to 100, or there are none and nothing serves.
            even_unready: also to a version that does not answer now: away from another, whatever comes of it.

        Raises:
            RolloutAborted: a version with a weight is missing, or not ready; the shares stay as they were.
        """
        ...

    def unload(self, target: str, version: str) -> None:
        """Let a version finish the requests it has and end it.

        Raises:
            RolloutAborted: it still has a share of the requests, or gets copies of them.
        """
        ...

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        """Requests, errors and latency of each version of a target."""
        ...

    def record(self, target: str) -> dict[str, Any] | None:
        """The document that was last kept for a target; None before the first."""
        ...

    def keep_record(self, target: str, record: dict[str, Any]) -> None:
        """Keep a document for a target, durably, in place of the one before; only under the target's `lock`.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    def orders(self, target: str) -> dict[str, dict[str, Any]]:
        """What was left for whoever holds the `lock`, by key."""
        ...

    def put_order(self, target: str, key: str, order: dict[str, Any] | None) -> None:
        """Leave a document for whoever holds the `lock`, durably, or take it away; nobody needs the lock for that. There is a
        record of the target.

        Args:
            key: letters and digits; the document takes the place of the one with the same key, and of no other.

        Raises:
            StoreError: it cannot be written.
        """
        ...

    def lock(self, target: str, *, holder: str, timeout_s: float) -> AbstractContextManager[None]:
        """Hold a target alone. It is free again when the holder's process is gone, however it went.

        Args:
            holder: who wants it, for the message to the next one: ``flight_delay / manual__2013 / rollout``.

        Raises:
            Locked: another holds it for longer than ``timeout_s``; says who.
        """
        ...


def checked_name(name: str, what: str) -> str:
    """``name`` as it is, if it can be part of a URL and of a file's name; SpecError if not."""
    if not _NAME.fullmatch(name):
        raise SpecError(f"{what} {name!r}: expected at most 128 letters, digits, '_', '-' and '.', a letter or digit first")
    return name
