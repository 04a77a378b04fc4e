"""What is to be done next: a pure function of what is, what shall be and what is on record. No clock, no IO.

::

    load -> smoke -> replay -> mirror -> canary (step by step) -> switch -> release -> done
                        |         |         |  ^                    |
                        v         v         v  |                    v
                        roll_back   <--     held           roll_back -> rolled_back

A first release has no replay, no mirror and no canary. One call decides one thing: it moves the record on, or names one
action that brings the world closer to what the record says; acted on twice, it does no harm.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from tradewind.rollout.observed import Observed
from tradewind.rollout.record import Record
from tradewind.rollout.transitions import (
    after_replay,
    by_hand,
    canary_or_switch,
    champion_changed,
    counting,
    inconclusive,
    looked,
    next_step,
    ordered,
    promoted,
    roll_back,
    unseen,
)
from tradewind.rollout.verdict import (
    broken,
    broken_rules,
    drifted,
    guards,
    kept_rules,
    slow,
    unread_rules,
    worse_than_before,
)

Do = Literal["load", "unload", "smoke", "replay", "mirror", "shift", "alias", "withdraw", "note"]

_TROUBLE_S = 60.0  # how long the registry may not take the alias after the switch, before all goes back


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do to one version. ``weights`` are those of a ``shift``, ``percent`` is that of a ``mirror``; a shift is done
    ``even_unready`` where those that get a share do not answer now."""

    do: Do
    version: str
    weights: dict[str, int] = field(default_factory=dict)
    percent: int = 0
    even_unready: bool = False

    def __str__(self) -> str:
        shares = ", ".join(f"{version}: {weight}%" for version, weight in self.weights.items()) or "nothing"
        return f"shift to {shares}" if self.do == "shift" else f"{self.do} {self.version}"


Decision = tuple[Record, Action | None]


def plan(observed: Observed, record: Record) -> Decision:
    """The record as it is now, and what to do; nothing where it has to wait, or has ended."""
    if record.ended:
        return record, None
    # A clock that was set back must not make it wait for the time that it already was.
    record = dataclasses.replace(record, updated_at=observed.now, since=min(record.since, observed.now))
    if record.order:
        return ordered(observed, record), None
    if record.phase not in ("roll_back", "release") and (changed := champion_changed(observed, record)):
        return roll_back(observed, record, changed), None
    return _PHASES[record.phase](observed, record)


def _load(observed: Observed, record: Record) -> Decision:
    if not record.traffic:
        record = counting(observed, record)  # without a canary, what the old version does until the switch is the measure
    served = observed.deployment.versions.get(record.version)
    if served and served.digest != record.model.sha256:
        if served.weight:
            return roll_back(
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
    return after_replay(observed, record), None


def _replay(observed: Observed, record: Record) -> Decision:
    if record.replay is None:
        return record, Action(do="replay", version=record.version)
    reasons = "; ".join(record.replay["reasons"])
    if record.replay["verdict"] == "FAILED":
        return roll_back(observed, record, f"the replay failed: {reasons}"), None
    if record.replay["verdict"] == "INCONCLUSIVE":
        return inconclusive(observed, record, f"the replay is inconclusive: {reasons}"), None
    return after_replay(observed, record), None


def _mirror(observed: Observed, record: Record) -> Decision:
    assert record.spec.mirror
    step, served = record.spec.mirror, observed.deployment.versions.get(record.version)
    record = looked(observed, record, 0)
    if trouble := guards(observed, record):
        return roll_back(observed, record, trouble), None
    begun = not served or served.mirror == step.percent
    record, waits = unseen(observed, record, observed.blind, begun=begun)
    if waits:
        return record, None
    if served and not begun:
        return record, Action(do="mirror", version=record.version, percent=step.percent)
    verdict = _judged(observed, record, step.bake_s, f"of which it got copies ({step.percent}%)")
    return (verdict if isinstance(verdict, Record) else canary_or_switch(observed, record.said(observed.now, verdict))), None


def _canary(observed: Observed, record: Record) -> Decision:
    assert record.stable
    step = record.spec.steps[record.step]
    weights, stable = (
        {record.stable: 100 - step.weight, record.version: step.weight},
        observed.deployment.versions.get(record.stable),
    )
    record = looked(observed, record, step.weight)
    if trouble := guards(observed, record):
        return roll_back(observed, record, trouble), None
    begun = observed.deployment.weights == weights
    away = None if begun or not stable or stable.ready else f"version {record.stable} does not answer"  # that is not its fault
    record, waits = unseen(observed, record, observed.blind or away, begun=begun)
    if waits:
        return record, None
    if not begun:
        return record, Action(do="shift", version=record.version, weights=weights)
    verdict = _judged(observed, record, step.bake_s, f"at {step.weight}%")
    return (verdict if isinstance(verdict, Record) else next_step(observed, record, verdict)), None


def _judged(observed: Observed, record: Record, bake_s: float, what: str) -> Record | str:
    """At a step's end: why it may go on, in words; or the record, where it has to wait, to hold or to go back."""
    waited = observed.now - record.since
    answered = record.of(record.version).requests - record.step_requests
    if waited < bake_s:
        return record
    if answered < record.spec.min_requests:
        if waited < bake_s + record.spec.patience_s:
            return record
        few = f"{answered} requests {what} in {waited:.0f} s, expected at least {record.spec.min_requests} to conclude"
        return inconclusive(observed, record, few)
    if trouble := slow(record) or drifted(record) or broken_rules(record):
        return roll_back(observed, record, trouble)
    if unknown := unread_rules(record):
        return inconclusive(observed, record, unknown)
    return f"{answered} requests {what}: no worse than version {record.stable}{kept_rules(record)}"


def _held(observed: Observed, record: Record) -> Decision:
    record = looked(observed, record, observed.deployment.weights.get(record.version, 0))
    if trouble := guards(observed, record) or (record.paused == "switch" and worse_than_before(record)):
        return roll_back(observed, record, trouble), None
    if observed.now - record.since > record.spec.hold_s:
        return roll_back(observed, record, f"held for {record.spec.hold_s:g} s and nobody decided: {record.reason}"), None
    return record, None


def _switch(observed: Observed, record: Record) -> Decision:
    """All requests, with the old version ready to go back to."""
    record, begun = looked(observed, record, 100), observed.deployment.weights == {record.version: 100}
    trouble = broken(observed, record) if not begun else record.stable and (guards(observed, record) or worse_than_before(record))
    if trouble:
        return roll_back(observed, record, trouble), None
    record, waits = unseen(observed, record, None if promoted(record) else observed.blind, begun=begun)
    if waits:
        return record, None
    if not begun:
        return record, Action(do="shift", version=record.version, weights={record.version: 100})
    if observed.now - record.since < record.spec.keep_stable_s:
        return record, None
    return record.to("release", observed.now, f"version {record.version} has all requests"), None


def _release(observed: Observed, record: Record) -> Decision:
    if observed.deployment.weights != {record.version: 100}:
        return record, Action(do="shift", version=record.version, weights={record.version: 100})
    if not observed.champion_known or observed.champion != record.version:
        if record.trouble_since and observed.now - record.trouble_since > _TROUBLE_S:
            return roll_back(observed, record, "the registry does not take the champion's alias"), None
        if observed.champion_known and (record.aliased or observed.champion != record.champion):
            return roll_back(observed, record, by_hand(observed, record)), None
        return record, Action(do="alias", version=record.version)
    if not record.noted:
        return record, Action(do="note", version=record.version)
    if others := sorted(set(observed.deployment.versions) - {record.version}):
        return record, _ended(observed, others[0])
    return record.to("done", observed.now, f"version {record.version} is the champion"), None


def _rolling_back(observed: Observed, record: Record) -> Decision:
    """To what was: the old version's requests, its alias, and nothing left of the new one."""
    weights = {record.stable: 100} if record.stable else {}
    if record.stable and record.stable not in observed.deployment.versions:
        return record, Action(do="load", version=record.stable)
    if observed.deployment.weights != weights:
        return record, Action(do="shift", version=record.version, weights=weights, even_unready=True)
    if observed.champion_known and observed.champion == record.version != record.champion:
        # The alias was taken, but its answer was lost for as long as it is waited for; or who had it may not have it again.
        if record.champion is None:
            return record, Action(do="withdraw", version=record.version)
        return record, Action(do="alias", version=record.champion)
    if record.version != record.stable and record.version in observed.deployment.versions:
        return record, _ended(observed, record.version)
    if not observed.champion_known:
        return record, None  # the alias may have moved in a call that seemed to fail: it is looked at before the end
    if not record.noted:
        return record, Action(do="note", version=record.version)
    back = f"version {record.stable} has all requests" if record.stable else "nothing serves"
    return record.to("rolled_back", observed.now, back), None


def _ended(observed: Observed, version: str) -> Action:
    """The next thing that ends a version without a share of the requests."""
    if observed.deployment.versions[version].mirror:
        return Action(do="mirror", version=version, percent=0)
    return Action(do="unload", version=version)


_PHASES = {
    "load": _load,
    "smoke": _smoke,
    "replay": _replay,
    "mirror": _mirror,
    "canary": _canary,
    "held": _held,
    "switch": _switch,
    "release": _release,
    "roll_back": _rolling_back,
}
