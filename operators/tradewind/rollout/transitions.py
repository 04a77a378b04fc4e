"""How a rollout's record moves on: from phase to phase, by what is seen and by what persons want. Pure, as `plan` is."""

from __future__ import annotations

import dataclasses

from tradewind.rollout.observed import Observed
from tradewind.rollout.record import Order, Phase, Record

# In which phases an order changes anything. What has begun to be taken back is finished: a second word for it does no harm.
TAKEN_IN: dict[Order, tuple[Phase, ...]] = {
    "promote": ("replay", "mirror", "canary", "held", "switch", "release"),
    "roll_back": ("load", "smoke", "replay", "mirror", "canary", "held", "switch", "release", "roll_back"),
    "hold": ("mirror", "canary", "held", "switch"),
    "resume": ("held",),
}


def looked(observed: Observed, record: Record, weight: int) -> Record:
    """With what came since the last look, and since when the new version does not answer."""
    return _watched(observed, record.looked(observed.statistics, observed.now, weight))


def _watched(observed: Observed, record: Record) -> Record:
    served = observed.deployment.versions.get(record.version)
    stable = observed.deployment.versions.get(record.stable or "")
    if (served and served.ready) or (stable and not stable.ready):  # where neither answers, it is the serving that is not up
        return dataclasses.replace(record, unready_since=None)
    return record if record.unready_since is not None else dataclasses.replace(record, unready_since=observed.now)


def after_replay(observed: Observed, record: Record) -> Record:
    """Counting begins here: what the proxy counted before is none of this rollout's."""
    if record.spec.looks:
        record = counting(observed, record)
    if record.spec.mirror and record.stable is not None:
        return record.to("mirror", observed.now, f"it gets copies of {record.spec.mirror.percent}% of the requests")
    return canary_or_switch(observed, record)


def canary_or_switch(observed: Observed, record: Record) -> Record:
    record = record.marked()
    if not record.spec.steps or record.stable is None:
        return record.to("switch", observed.now, "it may have all requests")
    return record.to("canary", observed.now, f"it gets {record.spec.steps[0].weight}% of the requests", step=0)


def counting(observed: Observed, record: Record) -> Record:
    """From here on, or from the first counts that can be had."""
    served = observed.deployment.versions.get(record.version)
    record = dataclasses.replace(record, uncounted=True) if observed.blind else record.counting(observed.statistics)
    return dataclasses.replace(record, restarts=served.restarts if served else 0)


def next_step(observed: Observed, record: Record, what: str) -> Record:
    record = record.marked()
    if record.step + 1 == len(record.spec.steps):
        return record.to("switch", observed.now, what)
    return record.to("canary", observed.now, what, step=record.step + 1)


def inconclusive(observed: Observed, record: Record, what: str) -> Record:
    match record.spec.on_inconclusive:
        case "roll_back":
            return roll_back(observed, record, what)
        case "replay" if record.replay and record.replay["verdict"] == "PASSED" and not _fails_more(record):
            return record.marked().to("switch", observed.now, f"{what}; the replay has passed, and the spec lets that decide")
    return _hold(observed, record, what)


def _fails_more(record: Record) -> bool:
    """Too few requests to conclude anything, but what they say is against it: no rule lets that pass."""
    new, old = record.of(record.version), record.of(record.stable)
    return new.errors * max(old.requests, 1) > old.errors * new.requests


def unseen(observed: Observed, record: Record, why: str | None, *, begun: bool) -> tuple[Record, bool]:
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
    return (roll_back if back else _hold)(observed, record, what), True


def promoted(record: Record) -> bool:
    """By a person, whose word counts more than what the machine cannot see."""
    return bool(record.orders) and record.orders[-1]["do"] == "promote"


def _hold(observed: Observed, record: Record, why: str) -> Record:
    return record.to("held", observed.now, why, reason=why, paused=record.phase if record.phase != "held" else record.paused)


def roll_back(observed: Observed, record: Record, why: str) -> Record:
    return record.to("roll_back", observed.now, why, reason=why, noted=False)


def ordered(observed: Observed, record: Record) -> Record:
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
            return roll_back(observed, record, why)
        case "hold", "mirror" | "canary" | "switch":
            return _hold(observed, record, why)
        case "promote", "mirror" | "canary" | "held" | "switch" | "replay":
            record = record.marked() if record.traffic else counting(observed, record)
            return record.to("switch", observed.now, why, why=why, reason="")
        case "resume", "held":
            record = dataclasses.replace(record if record.paused == "switch" else record.marked(), reason="", blind_since=None)
            if record.paused == "replay":  # nothing more would come of it
                return after_replay(observed, record.said(observed.now, why))
            return record.to(record.paused or "canary", observed.now, why)
    return record.said(observed.now, f"{why} (not possible in phase {record.phase})")


def champion_changed(observed: Observed, record: Record) -> str | None:
    if not observed.champion_known or observed.champion in (record.champion, record.version):
        return None
    return by_hand(observed, record)


def by_hand(observed: Observed, record: Record) -> str:
    before = f"{record.version} just now" if record.aliased else f"{record.champion or 'none'} when the rollout began"
    return f"the champion is version {observed.champion or 'none'}, but it was {before}: it was changed by hand"
