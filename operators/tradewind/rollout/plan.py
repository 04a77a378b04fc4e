"""What is to be done next: a pure function of what is, what shall be and what is on record. No clock, no IO.

::

    load -> smoke -> replay -> canary (step by step) -> switch -> release -> done
                        |          |  ^                    |
                        v          v  |                    v
                     roll_back <- held            roll_back -> rolled_back

A first release has no replay and no canary. One call decides one thing: it moves the record on, or names one action that
brings the world closer to what the record says; acted on twice, it does no harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tradewind.rollout.analysis import SLOW_QUANTILE, apart, evidence, further, log_likelihoods, quantile, slower
from tradewind.rollout.record import Record
from tradewind.serving.base import Deployment, ServedVersion, VersionStatistics

Do = Literal["load", "unload", "smoke", "replay", "shift", "alias", "note"]

_UNREADY_S = 5.0  # how long a canary may not answer
_TROUBLE_S = 60.0  # how long the registry may not take the alias after the switch, before all goes back


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is.

    Attributes:
        now: seconds since the epoch.
        statistics: by version; only where the phase needs them.
        champion: the version that has the alias; None: nobody.
        champion_known: False where the registry does not answer.
    """

    now: float
    deployment: Deployment
    champion: str | None
    champion_known: bool = True
    statistics: Mapping[str, VersionStatistics] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do to one version. ``weights`` are those of a ``shift``."""

    do: Do
    version: str
    weights: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        shares = ", ".join(f"{version}: {weight}%" for version, weight in self.weights.items()) or "nothing"
        return f"shift to {shares}" if self.do == "shift" else f"{self.do} {self.version}"


Decision = tuple[Record, Action | None]


def plan(observed: Observed, record: Record) -> Decision:
    """The record as it is now, and what to do; nothing where it has to wait, or has ended."""
    if record.ended:
        return record, None
    record = dataclasses.replace(record, updated_at=observed.now)
    if record.order:
        return _ordered(observed, record), None
    if record.phase not in ("roll_back", "release") and (changed := _champion_changed(observed, record)):
        return _roll_back(observed, record, changed), None
    return _PHASES[record.phase](observed, record)


def _load(observed: Observed, record: Record) -> Decision:
    served = observed.deployment.versions.get(record.version)
    if served and served.digest != record.model.sha256:
        if served.weight:
            return _roll_back(
                observed, record,
                f"version {record.version} serves already, but from another model: expected sha256 {record.model.sha256}, got "
                f"{served.digest}. Register the model as a new version",
            ), None  # fmt: skip
        return record, Action(do="unload", version=record.version)
    if not served or not served.ready:
        return record, Action(do="load", version=record.version)
    return record.to("smoke", observed.now, f"version {record.version} is loaded"), None


def _smoke(observed: Observed, record: Record) -> Decision:
    if record.smoke is None:
        return record, Action(do="smoke", version=record.version)
    if record.stable is None:
        return record.to("switch", observed.now, "there is no version to compare with: all requests go to this one"), None
    if record.spec.replay:
        return record.to("replay", observed.now, "its answers are those of the trained model"), None
    return _canary_or_switch(observed, record), None


def _replay(observed: Observed, record: Record) -> Decision:
    if record.replay is None:
        return record, Action(do="replay", version=record.version)
    reasons = "; ".join(record.replay["reasons"])
    if record.replay["verdict"] == "FAILED":
        return _roll_back(observed, record, f"the replay failed: {reasons}"), None
    if record.replay["verdict"] == "INCONCLUSIVE":
        return _inconclusive(observed, record, f"the replay is inconclusive: {reasons}"), None
    return _canary_or_switch(observed, record), None


def _canary(observed: Observed, record: Record) -> Decision:
    assert record.stable
    step = record.spec.steps[record.step]
    weights = {record.stable: 100 - step.weight, record.version: step.weight}
    record = record.looked(observed.statistics, observed.now, step.weight)
    record = _watched(observed, record)
    if trouble := guards(observed, record):
        return _roll_back(observed, record, trouble), None
    if observed.deployment.weights != weights:
        return record, Action(do="shift", version=record.version, weights=weights)
    waited = observed.now - record.since
    answered = record.of(record.version).requests - record.step_requests
    if waited < step.bake_s:
        return record, None
    if answered < record.spec.min_requests:
        if waited < step.bake_s + record.spec.patience_s:
            return record, None
        few = f"{answered} requests at {step.weight}% in {waited:.0f} s, expected at least {record.spec.min_requests} to conclude"
        return _inconclusive(observed, record, few), None
    if trouble := _slow(record) or _drifted(record):
        return _roll_back(observed, record, trouble), None
    done = f"{answered} requests at {step.weight}%: no worse than version {record.stable}"
    return _next_step(observed, record, done), None


def _held(observed: Observed, record: Record) -> Decision:
    record = _watched(
        observed, record.looked(observed.statistics, observed.now, observed.deployment.weights.get(record.version, 0))
    )
    if trouble := guards(observed, record):
        return _roll_back(observed, record, trouble), None
    if observed.now - record.since > record.spec.hold_s:
        return _roll_back(observed, record, f"held for {record.spec.hold_s:g} s and nobody decided: {record.reason}"), None
    return record, None


def _switch(observed: Observed, record: Record) -> Decision:
    """All requests, with the old version ready to go back to."""
    record = _watched(observed, record.looked(observed.statistics, observed.now, 100))
    if observed.deployment.weights != {record.version: 100}:
        trouble = _broken(observed, record)
        return (_roll_back(observed, record, trouble), None) if trouble else (
            record, Action(do="shift", version=record.version, weights={record.version: 100})
        )  # fmt: skip
    if record.stable and (trouble := guards(observed, record) or _worse_than_before(record)):
        return _roll_back(observed, record, trouble), None
    if observed.now - record.since < record.spec.keep_stable_s:
        return record, None
    return record.to("release", observed.now, f"version {record.version} has all requests"), None


def _release(observed: Observed, record: Record) -> Decision:
    if observed.deployment.weights != {record.version: 100}:
        return record, Action(do="shift", version=record.version, weights={record.version: 100})
    if not observed.champion_known or observed.champion != record.version:
        if record.trouble_since and observed.now - record.trouble_since > _TROUBLE_S:
            return _roll_back(observed, record, "the registry does not take the champion's alias"), None
        if observed.champion_known and observed.champion != record.champion:
            return _roll_back(observed, record, _by_hand(observed, record)), None
        return record, Action(do="alias", version=record.version)
    if not record.noted:
        return record, Action(do="note", version=record.version)
    if others := sorted(set(observed.deployment.versions) - {record.version}):
        return record, Action(do="unload", version=others[0])
    return record.to("done", observed.now, f"version {record.version} is the champion"), None


def _rolling_back(observed: Observed, record: Record) -> Decision:
    """To what was: the old version's requests, its alias, and nothing left of the new one."""
    weights = {record.stable: 100} if record.stable else {}
    if observed.deployment.weights != weights:
        return record, Action(do="shift", version=record.version, weights=weights)
    if observed.champion_known and observed.champion == record.version and record.champion not in (None, record.version):
        return record, Action(do="alias", version=str(record.champion))
    if record.version != record.stable and record.version in observed.deployment.versions:
        return record, Action(do="unload", version=record.version)
    if not observed.champion_known:
        return record, None  # the alias may have moved in a call that seemed to fail: it is looked at before the end
    if not record.noted:
        return record, Action(do="note", version=record.version)
    back = f"version {record.stable} has all requests" if record.stable else "nothing serves"
    return record.to("rolled_back", observed.now, back), None


_PHASES = {
    "load": _load,
    "smoke": _smoke,
    "replay": _replay,
    "canary": _canary,
    "held": _held,
    "switch": _switch,
    "release": _release,
    "roll_back": _rolling_back,
}


def guards(observed: Observed, record: Record) -> str | None:
    """Why a version that gets requests has to go back at once; None where nothing speaks against it."""
    if broken := _broken(observed, record):
        return broken
    limit = 1 / record.spec.alpha
    if record.evidence >= limit:
        new, old = record.of(record.version), record.of(record.stable)
        return (
            f"errors: {new.errors} of {new.requests} requests of version {record.version} failed, {old.errors} of {old.requests} "
            f"of version {record.stable}: evidence {record.evidence:.4g}, limit {limit:g}"
        )
    return None


def _worse_than_before(record: Record) -> str | None:
    """After the switch nobody else is asked: the new version's errors since are held against the old one's before."""
    new, old = record.of(record.version), record.of(record.stable)
    requests, errors = new.requests - record.step_requests, new.errors - record.step_errors
    if evidence(log_likelihoods(errors, old.errors, requests, old.requests)) < 1 / record.spec.alpha:
        return None
    return (
        f"errors: {errors} of {requests} requests failed since version {record.version} has all of them, "
        f"{old.errors} of {old.requests} of version {record.stable} before"
    )


def _broken(observed: Observed, record: Record) -> str | None:
    served = observed.deployment.versions.get(record.version)
    if served is None:
        return f"version {record.version} is not loaded any more"
    ended = served.restarts - record.restarts
    most = record.spec.max_restarts
    if ended > most:
        return f"version {record.version} ended by itself {ended} times, at most {most} are allowed{_said(served)}"
    if record.unready_since is not None and observed.now - record.unready_since >= _UNREADY_S:
        return f"version {record.version} has not answered for {observed.now - record.unready_since:.0f} s{_said(served)}"
    return None


def _said(served: ServedVersion) -> str:
    return f": {served.error}" if served.error else ""


def _slow(record: Record) -> str | None:
    new, old = record.of(record.version).latency, record.of(record.stable).latency
    looks = len(record.spec.steps)
    if slower(new, old, record.spec.latency_ratio) >= record.spec.alpha / looks:
        return None
    ours, theirs = quantile(new, SLOW_QUANTILE), quantile(old, SLOW_QUANTILE)
    return (
        f"latency: nine of ten requests of version {record.version} took up to {ours:g} ms, of version {record.stable} "
        f"{theirs:g} ms: more than {record.spec.latency_ratio:g} times as long"
    )


def _drifted(record: Record) -> str | None:
    new, old = record.of(record.version).answers, record.of(record.stable).answers
    if further(new, old, record.spec.answer_distance) >= record.spec.alpha / len(record.spec.steps):
        return None
    return (
        f"answers: those of version {record.version} are distributed {apart(new, old):.2f} apart from those of version "
        f"{record.stable} to the same kind of requests, at most {record.spec.answer_distance:g} is allowed"
    )


def _watched(observed: Observed, record: Record) -> Record:
    served = observed.deployment.versions.get(record.version)
    if served and served.ready:
        return dataclasses.replace(record, unready_since=None)
    return record if record.unready_since is not None else dataclasses.replace(record, unready_since=observed.now)


def _canary_or_switch(observed: Observed, record: Record) -> Record:
    record = _counting(observed, record)
    if not record.spec.steps or record.stable is None:
        return record.to("switch", observed.now, "it may have all requests")
    return record.to("canary", observed.now, f"it gets {record.spec.steps[0].weight}% of the requests", step=0)


def _counting(observed: Observed, record: Record) -> Record:
    served = observed.deployment.versions.get(record.version)
    return dataclasses.replace(record.counting(observed.statistics), restarts=served.restarts if served else 0)


def _next_step(observed: Observed, record: Record, what: str) -> Record:
    record = record.marked()
    if record.step + 1 == len(record.spec.steps):
        return record.to("switch", observed.now, what)
    return record.to("canary", observed.now, what, step=record.step + 1)


def _inconclusive(observed: Observed, record: Record, what: str) -> Record:
    match record.spec.on_inconclusive:
        case "roll_back":
            return _roll_back(observed, record, what)
        case "replay" if record.replay and record.replay["verdict"] == "PASSED":
            return record.marked().to("switch", observed.now, f"{what}; the replay has passed, and the spec lets that decide")
    return _hold(observed, record, what)


def _hold(observed: Observed, record: Record, why: str) -> Record:
    return record.to("held", observed.now, why, reason=why, paused=record.phase if record.phase != "held" else record.paused)


def _roll_back(observed: Observed, record: Record, why: str) -> Record:
    return record.to("roll_back", observed.now, why, reason=why, noted=False)


def _ordered(observed: Observed, record: Record) -> Record:
    """A person's word goes before the machine's, but what has begun to be released or taken back is finished."""
    order = record.order or {}
    record = dataclasses.replace(record, order=None)
    why = f"{order['do'].replace('_', ' ')} by {order['by']}: {order['why']}"
    match order["do"], record.phase:
        case _, "release" | "roll_back":
            return record.said(observed.now, f"{why} (too late: it is decided)")
        case "roll_back", _:
            return _roll_back(observed, record, why)
        case "hold", "canary" | "switch":
            return _hold(observed, record, why)
        case "promote", "canary" | "held" | "switch" | "replay":
            record = record.marked() if record.traffic else _counting(observed, record)
            return record.to("switch", observed.now, why, why=why)
        case "resume", "held":
            record = dataclasses.replace(record.marked(), reason="")
            if record.paused == "replay":  # nothing more would come of it
                return _canary_or_switch(observed, record.said(observed.now, why))
            return record.to(record.paused or "canary", observed.now, why)
    return record.said(observed.now, f"{why} (not possible in phase {record.phase})")


def _champion_changed(observed: Observed, record: Record) -> str | None:
    if not observed.champion_known or observed.champion in (record.champion, record.version):
        return None
    return _by_hand(observed, record)


def _by_hand(observed: Observed, record: Record) -> str:
    return (
        f"the champion is version {observed.champion or 'none'}, but it was {record.champion or 'none'} when the rollout began: "
        "it was changed by hand"
    )
