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
from tradewind.rollout.record import Order, Phase, Record
from tradewind.rollout.verdict import broken, drifted, guards, slow, worse_than_before

# In which phases an order changes anything. What has begun to be taken back is finished: a second word for it does no harm.
TAKEN_IN: dict[Order, tuple[Phase, ...]] = {
    "promote": ("replay", "mirror", "canary", "held", "switch", "release"),
    "roll_back": ("load", "smoke", "replay", "mirror", "canary", "held", "switch", "release", "roll_back"),
    "hold": ("mirror", "canary", "held", "switch"),
    "resume": ("held",),
}

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
        return _ordered(observed, record), None
    if record.phase not in ("roll_back", "release") and (changed := _champion_changed(observed, record)):
        return _roll_back(observed, record, changed), None
    return _PHASES[record.phase](observed, record)


def _load(observed: Observed, record: Record) -> Decision:
    if not record.traffic:
        record = _counting(observed, record)  # without a canary, what the old version does until the switch is the measure
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
    return _after_replay(observed, record), None


def _replay(observed: Observed, record: Record) -> Decision:
    if record.replay is None:
        return record, Action(do="replay", version=record.version)
    reasons = "; ".join(record.replay["reasons"])
    if record.replay["verdict"] == "FAILED":
        return _roll_back(observed, record, f"the replay failed: {reasons}"), None
    if record.replay["verdict"] == "INCONCLUSIVE":
        return _inconclusive(observed, record, f"the replay is inconclusive: {reasons}"), None
    return _after_replay(observed, record), None


def _mirror(observed: Observed, record: Record) -> Decision:
    assert record.spec.mirror
    step, served = record.spec.mirror, observed.deployment.versions.get(record.version)
    record = _looked(observed, record, 0)
    if trouble := guards(observed, record):
        return _roll_back(observed, record, trouble), None
    begun = not served or served.mirror == step.percent
    record, waits = _unseen(observed, record, observed.blind, begun=begun)
    if waits:
        return record, None
    if served and not begun:
        return record, Action(do="mirror", version=record.version, percent=step.percent)
    verdict = _judged(observed, record, step.bake_s, f"of which it got copies ({step.percent}%)")
    return (verdict if isinstance(verdict, Record) else _canary_or_switch(observed, record.said(observed.now, verdict))), None


def _canary(observed: Observed, record: Record) -> Decision:
    assert record.stable
    step = record.spec.steps[record.step]
    weights, stable = (
        {record.stable: 100 - step.weight, record.version: step.weight},
        observed.deployment.versions.get(record.stable),
    )
    record = _looked(observed, record, step.weight)
    if trouble := guards(observed, record):
        return _roll_back(observed, record, trouble), None
    begun = observed.deployment.weights == weights
    away = None if begun or not stable or stable.ready else f"version {record.stable} does not answer"  # that is not its fault
    record, waits = _unseen(observed, record, observed.blind or away, begun=begun)
    if waits:
        return record, None
    if not begun:
        return record, Action(do="shift", version=record.version, weights=weights)
    verdict = _judged(observed, record, step.bake_s, f"at {step.weight}%")
    return (verdict if isinstance(verdict, Record) else _next_step(observed, record, verdict)), None


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
        return _inconclusive(observed, record, few)
    if trouble := slow(record) or drifted(record):
        return _roll_back(observed, record, trouble)
    return f"{answered} requests {what}: no worse than version {record.stable}"


def _held(observed: Observed, record: Record) -> Decision:
    record = _looked(observed, record, observed.deployment.weights.get(record.version, 0))
    if trouble := guards(observed, record) or (record.paused == "switch" and worse_than_before(record)):
        return _roll_back(observed, record, trouble), None
    if observed.now - record.since > record.spec.hold_s:
        return _roll_back(observed, record, f"held for {record.spec.hold_s:g} s and nobody decided: {record.reason}"), None
    return record, None


def _switch(observed: Observed, record: Record) -> Decision:
    """All requests, with the old version ready to go back to."""
    record, begun = _looked(observed, record, 100), observed.deployment.weights == {record.version: 100}
    trouble = broken(observed, record) if not begun else record.stable and (guards(observed, record) or worse_than_before(record))
    if trouble:
        return _roll_back(observed, record, trouble), None
    record, waits = _unseen(observed, record, None if _promoted(record) else observed.blind, begun=begun)
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
            return _roll_back(observed, record, "the registry does not take the champion's alias"), None
        if observed.champion_known and (record.aliased or observed.champion != record.champion):
            return _roll_back(observed, record, _by_hand(observed, record)), None
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


def _looked(observed: Observed, record: Record, weight: int) -> Record:
    """With what came since the last look, and since when the new version does not answer."""
    return _watched(observed, record.looked(observed.statistics, observed.now, weight))


def _watched(observed: Observed, record: Record) -> Record:
    served = observed.deployment.versions.get(record.version)
    stable = observed.deployment.versions.get(record.stable or "")
    if (served and served.ready) or (stable and not stable.ready):  # where neither answers, it is the serving that is not up
        return dataclasses.replace(record, unready_since=None)
    return record if record.unready_since is not None else dataclasses.replace(record, unready_since=observed.now)


def _after_replay(observed: Observed, record: Record) -> Record:
    """Counting begins here: what the proxy counted before is none of this rollout's."""
    if record.spec.looks:
        record = _counting(observed, record)
    if record.spec.mirror and record.stable is not None:
        return record.to("mirror", observed.now, f"it gets copies of {record.spec.mirror.percent}% of the requests")
    return _canary_or_switch(observed, record)


def _canary_or_switch(observed: Observed, record: Record) -> Record:
    record = record.marked()
    if not record.spec.steps or record.stable is None:
        return record.to("switch", observed.now, "it may have all requests")
    return record.to("canary", observed.now, f"it gets {record.spec.steps[0].weight}% of the requests", step=0)


def _counting(observed: Observed, record: Record) -> Record:
    served = observed.deployment.versions.get(record.version)
    counting = dataclasses.replace(record, uncounted=True) if observed.blind else record.counting(observed.statistics)
    return dataclasses.replace(counting, restarts=served.restarts if served else 0)


def _next_step(observed: Observed, record: Record, what: str) -> Record:
    record = record.marked()
    if record.step + 1 == len(record.spec.steps):
        return record.to("switch", observed.now, what)
    return record.to("canary", observed.now, what, step=record.step + 1)


def _inconclusive(observed: Observed, record: Record, what: str) -> Record:
    match record.spec.on_inconclusive:
        case "roll_back":
            return _roll_back(observed, record, what)
        case "replay" if record.replay and record.replay["verdict"] == "PASSED" and not _fails_more(record):
            return record.marked().to("switch", observed.now, f"{what}; the replay has passed, and the spec lets that decide")
    return _hold(observed, record, what)


def _fails_more(record: Record) -> bool:
    """Too few requests to conclude anything, but what they say is against it: no rule lets that pass."""
    new, old = record.of(record.version), record.of(record.stable)
    return new.errors * max(old.requests, 1) > old.errors * new.requests


def _unseen(observed: Observed, record: Record, why: str | None, *, begun: bool) -> tuple[Record, bool]:
    """Nothing rises while the two cannot be compared, and then a person decides: a replay has not seen it either. Whether it
    waits; a step that had not begun begins after that."""
    if why is None:
        return dataclasses.replace(record, blind_since=None), False
    blind = observed.now if record.blind_since is None else record.blind_since
    record = dataclasses.replace(record, blind_since=blind, since=record.since if begun else observed.now)
    if observed.now - blind < record.spec.patience_s:
        return record, True
    back = observed.blind and record.spec.on_inconclusive == "roll_back"
    what = f"for {observed.now - blind:.0f} s nothing could be compared: {why}"
    return (_roll_back if back else _hold)(observed, record, what), True


def _promoted(record: Record) -> bool:
    """By a person, whose word counts more than what the machine cannot see."""
    return bool(record.orders) and record.orders[-1]["do"] == "promote"


def _hold(observed: Observed, record: Record, why: str) -> Record:
    return record.to("held", observed.now, why, reason=why, paused=record.phase if record.phase != "held" else record.paused)


def _roll_back(observed: Observed, record: Record, why: str) -> Record:
    return record.to("roll_back", observed.now, why, reason=why, noted=False)


def _ordered(observed: Observed, record: Record) -> Record:
    """A person's word goes before the machine's, but what has begun to be released or taken back is finished."""
    order = {name: (record.order or {})[name] for name in ("at", "do", "by", "why")}
    record = dataclasses.replace(record, order=None)
    if order in record.orders:
        return record  # taken up before, by a tick that was killed before it could take the order away
    record = dataclasses.replace(record, orders=[*record.orders, order])
    why = f"{order['do'].replace('_', ' ')} by {order['by']}: {order['why']}"
    match order["do"], record.phase:
        case _, "release" | "roll_back":
            return record.said(observed.now, f"{why} (too late: it is decided)")
        case "roll_back", _:
            return _roll_back(observed, record, why)
        case "hold", "mirror" | "canary" | "switch":
            return _hold(observed, record, why)
        case "promote", "mirror" | "canary" | "held" | "switch" | "replay":
            record = record.marked() if record.traffic else _counting(observed, record)
            return record.to("switch", observed.now, why, why=why, reason="")
        case "resume", "held":
            record = dataclasses.replace(record if record.paused == "switch" else record.marked(), reason="", blind_since=None)
            if record.paused == "replay":  # nothing more would come of it
                return _after_replay(observed, record.said(observed.now, why))
            return record.to(record.paused or "canary", observed.now, why)
    return record.said(observed.now, f"{why} (not possible in phase {record.phase})")


def _champion_changed(observed: Observed, record: Record) -> str | None:
    if not observed.champion_known or observed.champion in (record.champion, record.version):
        return None
    return _by_hand(observed, record)


def _by_hand(observed: Observed, record: Record) -> str:
    before = f"{record.version} just now" if record.aliased else f"{record.champion or 'none'} when the rollout began"
    return f"the champion is version {observed.champion or 'none'}, but it was {before}: it was changed by hand"
