"""A driver with what the settings name, and what a person may ask of it: for the worker, the triggerer and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tradewind.errors import Locked, RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.registry import CHAMPION, Registry, model_of
from tradewind.rollout.driver import Driver, RolloutOver
from tradewind.rollout.record import Order, Record, attempt_id
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving import serving_for
from tradewind.settings import Settings
from tradewind.store import Store

_TAKEN_UP_S = 10.0  # within which whoever carries a rollout on takes up an order
_LOOK_S = 0.2
_ANSWER_S = 10.0  # that one request to the registry may take: a tick that waits for it looks at nothing else
_AGAIN_S = 600.0
_TAKEN_BACK_S = 30.0  # for which what does not answer is asked again


@contextmanager
def driver(
    target: str, *, holder: str, say: Callable[[str], None], settings: Settings | None = None, **arguments: Any
) -> Iterator[Driver]:
    """A `Driver` of one target, with the serving, registry and store of ``settings``; by default those of Airflow."""
    settings = settings or Settings.load()
    with Registry.of(settings, timeout_s=_ANSWER_S) as registry:
        yield Driver(
            serving=serving_for(settings), registry=registry, store=Store(settings.store_uri), target=target, holder=holder,
            say=say, **arguments,
        )  # fmt: skip


def take_back(hands: Driver, *, why: str, attempt: str | None) -> Record:
    """Airflow's word on a rollout whose task has ended, and what came of it: carried out here, for nobody else would.

    Raises:
        RolloutOver: that rollout has ended.
        RuntimeUnavailable: a part did not answer for half a minute; the order stays where it was left.
    """
    deadline, ordered = time.monotonic() + _TAKEN_BACK_S, False
    while True:
        try:
            if not ordered:
                hands.order("roll_back", by="Airflow", why=why, attempt=attempt)
                ordered = True
            return hands.finish(attempt=attempt)
        except RuntimeUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)


def decide(hands: Driver, do: Order, *, by: str, why: str, attempt: str | None = None) -> Record:
    """A person's word on the rollout under way, and what came of it. Where nobody carries the rollout on, it is done here.

    Whoever carries it on may be at something long, a replay or a model's start, and holds the lock for that time. After the
    driver's patience with a lock the record comes back with the order that waits.

    Args:
        attempt: the id of the rollout that they mean; None: whichever is under way.

    Raises:
        RolloutOver: that rollout is not under way, or has ended before the order was taken up; or was released before it could be
            taken back.
        SpecError: it cannot be done in its phase, or no reason is given.
    """
    record = _decided(hands, do, by=by, why=why, attempt=attempt)
    if do == "roll_back" and record.phase == "done":
        raise RolloutOver(
            f"Version {record.version} of {hands.target} was released before that was taken up: roll the release back"
        )
    return record


def _decided(hands: Driver, do: Order, *, by: str, why: str, attempt: str | None) -> Record:
    _reasoned(why)
    meant, deadline = hands.order(do, by=by, why=why, attempt=attempt).id, time.monotonic() + _TAKEN_UP_S
    while True:
        time.sleep(_LOOK_S)
        record, waits = _seen(hands, meant, do)
        if not waits and (record.ended or do in ("hold", "resume")):
            return record
        if time.monotonic() > deadline:
            break
    if do == "promote" and not waits and record.phase == "switch":
        return record  # somebody carries it on; the old version is kept ready for as long as the spec says
    try:
        return hands.finish(attempt=meant) if do in ("promote", "roll_back") else hands.tick(attempt=meant).record
    except Locked:
        return _seen(hands, meant, do)[0]


def _seen(hands: Driver, attempt: str, do: Order) -> tuple[Record, bool]:
    """The rollout that was meant, and whether the order still waits; RolloutOver where it will for ever."""
    waits, record = hands.waits(attempt, do), hands.record()  # in this order: what was taken up is on the record
    if record is None or record.id != attempt or (record.ended and waits):
        raise RolloutOver(f"That rollout has ended: `tradewind releases {hands.target}` says what came of it")
    return record, waits


def roll_back(hands: Driver, target: str, *, to: str | None = None, by: str, why: str) -> Record:
    """What served before serves again and is the champion: at once, after its smoke requests.

    A rollout that is under way is taken back instead, or as soon as it has ended.

    Args:
        to: a version; by default the one that served before the champion.

    Raises:
        SpecError: there is nothing to go back to, or no reason is given.
        RolloutAborted: the old version cannot serve; what serves, serves on.
        RuntimeUnavailable: the rollout under way was not taken back yet; the order stays.
    """
    _reasoned(why)
    record = hands.record()
    if record and not record.ended:
        if to is not None and to != record.stable:
            raise SpecError(
                f"A rollout of {target} version {record.version} is under way: it can only go back to {record.stable}"
            )
        meant = record.id
        try:
            record = _decided(hands, "roll_back", by=by, why=why, attempt=meant)
        except RolloutOver:  # it has ended before the order was taken up
            record = hands.record()
            if record is None or record.id != meant:
                raise
        if not record.ended:
            released = record.phase == "release"
            raise RuntimeUnavailable(
                f"The rollout of {target} version {record.version} is in phase {record.phase}: "
                + (
                    "ask again when it is released"
                    if released
                    else "it will be taken back as soon as what is under way has ended"
                )
            )
        if record.phase == "rolled_back":
            return record
        # It was decided before the order was taken up: then that release is what is taken back.
    elif record and to in (None, record.stable) and _just_done(hands, record, by, why):
        return record
    champion = hands.registry.by_alias(target, CHAMPION)
    if champion is None:
        raise SpecError(f"{target} has no champion: there is nothing to roll back")
    version = to or _before(hands, target, champion.version)
    if version == champion.version:
        raise SpecError(f"{target} version {version} is the champion: name another with --to")
    model = model_of(hands.registry.version(target, version))
    spec = RolloutSpec(signature="any")  # its clients may have come with the version that is taken back

    def make(now: float) -> Record:
        found = hands.registry.by_alias(target, CHAMPION)
        if found is None or found.version != champion.version:  # another rollout was under way meanwhile
            raise SpecError(
                f"The champion of {target} is version {found.version if found else 'none'} by now, it was {champion.version} "
                "when this was asked: look again"
            )
        return Record(
            id=attempt_id(target, version, model, spec, by, now), target=target, version=version, model=model,
            stable=champion.version, champion=champion.version, spec=spec, by=by, why=why,
            lineage={"rolled_back": champion.version}, since=now, started_at=now, updated_at=now,
        )  # fmt: skip

    hands.begin(make, attempt="new")
    record = hands.finish()
    if record.phase == "rolled_back":
        raise RolloutAborted(f"Version {version} of {target} cannot serve: {record.reason}")
    return record


def _just_done(hands: Driver, record: Record, by: str, why: str) -> bool:
    """Whether the last rollout was taken back by this very order: who asks again was told before that it would be."""
    same = record.phase == "rolled_back" and record.reason == f"roll back by {by}: {why}"
    return same and hands.now() - record.updated_at < _AGAIN_S


def _before(hands: Driver, target: str, champion: str) -> str:
    left = ""
    for release in hands.registry.releases(target):
        if release["outcome"] != "released":
            continue
        if release.get("rolled_back"):  # what was left then was left for a reason
            left = left or str(release["rolled_back"])
        elif release["version"] == champion and release["before"]:
            return str(release["before"])
    raise SpecError(
        f"No release record says what served as {target} before version {champion}: name a version with --to"
        + (f"; --to {left} serves again what was rolled back last" if left else "")
    )


def _reasoned(why: str) -> None:
    if not why.strip():
        raise SpecError("A reason is needed: it stays in the release record")
