"""What is known of a target's rollout: one durable document, kept where the serving is.

Whoever ticks reads it, and saves it before it acts: the intent is on record before anything changes. So a tick that is
killed anywhere is made again by the next one, from whatever process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from tradewind.contract import ArtifactRef, digest
from tradewind.errors import SpecError
from tradewind.rollout.analysis import RATIOS, evidence, log_likelihoods, quantile
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import VersionStatistics

SCHEMA = 1
_SAMPLES = 500  # kept for pictures; older ones are thinned out

Phase = Literal["load", "smoke", "replay", "mirror", "canary", "held", "switch", "release", "done", "roll_back", "rolled_back"]
ENDED = ("done", "rolled_back")
WAITING = ("mirror", "canary", "held", "switch")  # for traffic, time or a person

Order = Literal["promote", "roll_back", "hold", "resume"]
ORDERS: tuple[Order, ...] = ("promote", "roll_back", "hold", "resume")


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one version did with the endpoint's requests since the canary began.

    Attributes:
        requests, errors: of this rollout, over restarts of the proxy too.
        latency, answers: histograms of the present step; see `VersionStatistics`.
        seen: the proxy's own counts at the last look, from which the next ones are taken.
    """

    requests: int = 0
    errors: int = 0
    latency: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def looked(self, now: VersionStatistics) -> Traffic:
        """With what came since the last look. A count that fell began anew; a histogram that is empty was not to be had."""
        latency, answers = now.latency or self.seen.get("latency", {}), now.answers or self.seen.get("answers", {})
        return Traffic(
            requests=self.requests + _grown(self.seen.get("requests", 0), now.requests),
            errors=self.errors + _grown(self.seen.get("errors", 0), now.errors),
            latency=_added(self.latency, self.seen.get("latency", {}), latency),
            answers=_added(self.answers, self.seen.get("answers", {}), answers),
            seen={"requests": now.requests, "errors": now.errors, "latency": latency, "answers": answers},
        )


@dataclass(frozen=True, kw_only=True)
class Record:
    """One rollout of one version.

    Attributes:
        id: equal for equal attempts: see `attempt_id`.
        version, model: what is to serve.
        stable: the version that served when it began; None in a first release.
        champion: the version that had the alias when it began.
        by: who asked: ``flight_delay / manual__2013 / rollout``, or a person.
        why: what for, in words.
        lineage: from which data, code and run; goes into the release record.
        step: the canary's step, from 0.
        since: when the phase, or the canary's step, began; seconds since the epoch, as all times.
        logs: the evidence against the canary: see `tradewind.rollout.analysis`.
        weighed: requests and errors by version, up to which the evidence goes.
        step_requests, step_errors: the new version's when its step, or the switch, began.
        restarts: the canary's when it began to get requests.
        unready_since: since when the canary does not answer.
        blind_since: since when the two versions cannot be compared.
        uncounted: whether counting is to begin with the first counts that can be had.
        trouble_since: since when the registry does not take the alias.
        aliased: whether the registry has taken it: who moves it then does so by hand.
        paused: the phase that a held rollout resumes.
        reason: why it is held or rolled back.
        order: what a person wants: ``{"attempt", "do", "by", "why", "at"}``; it waits beside what is kept (`orders`) until the
            next tick takes it up.
        orders: what persons wanted, as it was taken up, in order: ``{"at", "do", "by", "why"}``.
        events: what happened, in order: ``{"at", "phase", "what"}``.
        samples: looks at the traffic: ``{"at", "weight", "canary": [requests, errors], "stable": [...], "evidence", "p95"}``; the
            last is both versions' latency in the step, [canary, stable] in seconds, None where there is none. Older ones lack it.
    """

    id: str
    target: str
    version: str
    model: ArtifactRef
    stable: str | None
    champion: str | None
    spec: RolloutSpec
    by: str
    why: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)
    phase: Phase = "load"
    step: int = 0
    since: float = 0.0
    started_at: float = 0.0
    updated_at: float = 0.0
    smoke: dict[str, Any] | None = None
    replay: dict[str, Any] | None = None
    traffic: dict[str, Traffic] = field(default_factory=dict)
    logs: list[float] = field(default_factory=lambda: [0.0] * len(RATIOS))
    weighed: dict[str, list[int]] = field(default_factory=dict)
    step_requests: int = 0
    step_errors: int = 0
    restarts: int = 0
    unready_since: float | None = None
    blind_since: float | None = None
    uncounted: bool = False
    trouble_since: float | None = None
    paused: Phase | None = None
    reason: str = ""
    order: dict[str, Any] | None = None
    aliased: bool = False
    noted: bool = False
    orders: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    @property
    def evidence(self) -> float:
        return evidence(self.logs)

    def of(self, version: str | None) -> Traffic:
        return self.traffic.get(version or "", Traffic())

    def to(self, phase: Phase, now: float, what: str, **changes: Any) -> Record:
        """In another phase, with the event that says why."""
        event = {"at": now, "phase": phase, "what": what}
        return dataclasses.replace(self, phase=phase, since=now, events=[*self.events, event], **changes)

    def counting(self, statistics: Mapping[str, VersionStatistics]) -> Record:
        """From here on: what the proxy counted before is none of this rollout's."""
        traffic = {version: Traffic(seen=Traffic().looked(found).seen) for version, found in statistics.items()}
        return dataclasses.replace(self, traffic=traffic)

    def marked(self) -> Record:
        """At the beginning of a step: latency and answers of the one before say nothing of this one's hours."""
        new = self.of(self.version)
        traffic = {version: dataclasses.replace(found, latency={}, answers={}) for version, found in self.traffic.items()}
        weighed = {version: [found.requests, found.errors] for version, found in traffic.items()}
        return dataclasses.replace(self, traffic=traffic, weighed=weighed, step_requests=new.requests, step_errors=new.errors)

    def said(self, now: float, what: str) -> Record:
        """In the same phase, with an event."""
        return dataclasses.replace(self, events=[*self.events, {"at": now, "phase": self.phase, "what": what}])

    def looked(self, statistics: Mapping[str, VersionStatistics], now: float, weight: int) -> Record:
        """With the traffic since the last look, and what it says of the canary."""
        if self.uncounted and statistics:
            return dataclasses.replace(self.counting(statistics).marked(), uncounted=False)
        pair = [version for version in (self.version, self.stable) if version and version in statistics]
        traffic = {**self.traffic, **{version: self.of(version).looked(statistics[version]) for version in pair}}
        after = dataclasses.replace(self, traffic=traffic)
        if after.traffic == self.traffic:
            return after
        new, old = after._unweighed(self.version), after._unweighed(self.stable)
        if new[0] and old[0]:  # where only one was asked there is nothing to compare: what came is kept for the next look
            terms = log_likelihoods(new[1], old[1], new[0], old[0])
            after = dataclasses.replace(
                after,
                logs=[log + term for log, term in zip(self.logs, terms, strict=True)],
                weighed={version: [after.of(version).requests, after.of(version).errors] for version in pair},
            )
        sample = {
            "at": now,
            "weight": weight,
            "canary": [after.of(self.version).requests, after.of(self.version).errors],
            "stable": [after.of(self.stable).requests, after.of(self.stable).errors],
            "evidence": round(after.evidence, 4),
            "p95": [_seconds(quantile(after.of(version).latency, 0.95)) for version in (self.version, self.stable)],
        }
        return dataclasses.replace(after, samples=_thinned([*self.samples, sample]))

    def _unweighed(self, version: str | None) -> tuple[int, int]:
        """Requests and errors of a version that the evidence does not have yet; an error is of one of the requests."""
        requests, errors = self.weighed.get(version or "", [0, 0])
        now = self.of(version)
        return now.requests - requests, min(now.requests - requests, now.errors - errors)

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises SpecError where another version of this package wrote it, or it is damaged."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SpecError(f"The rollout's record has not the schema {SCHEMA}: remove it, then roll out again")
        try:
            if data["phase"] not in get_args(Phase):
                raise ValueError(f"phase {data['phase']!r}")
            return cls(
                **{
                    **data,
                    "model": ArtifactRef.from_dict(data["model"]),
                    "spec": RolloutSpec.from_dict(data["spec"]),
                    "traffic": {version: Traffic(**fields) for version, fields in data["traffic"].items()},
                }
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise SpecError(f"The rollout's record is damaged ({error!r}): remove it, then roll out again") from error


def attempt_id(target: str, version: str, model: ArtifactRef, spec: RolloutSpec, *attempt: object) -> str:
    """The same for every try of one attempt, so that a retry goes on with it; a changed spec is another rollout.

    Args:
        attempt: what tells attempts apart: the Dag's run, and how often a person has cleared the task.
    """
    return digest([target, version, model.sha256, spec.to_dict(), [str(part) for part in attempt]])[:16]


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def _added(known: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    anew = sum(now.values()) < sum(before.values())
    grown = {bound: count - (0 if anew else before.get(bound, 0)) for bound, count in now.items()}
    return {bound: total for bound in {*known, *grown} if (total := known.get(bound, 0) + max(0, grown.get(bound, 0)))}


def _thinned(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return samples if len(samples) <= _SAMPLES else [*samples[: -_SAMPLES // 2 : 2], *samples[-_SAMPLES // 2 :]]
