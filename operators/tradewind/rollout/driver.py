"""Carries a rollout out, tick by tick: look, decide (`plan`), save the record, do at most one thing.

Every tick holds the target's lock, and nothing is kept between ticks but the record. So the worker, the triggerer and the
command line can take turns, and whichever of them is killed, the next tick goes on from where the world is.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.errors import RuntimeUnavailable, SpecError, TradewindError
from tradewind.registry import CHAMPION, Registry, model_of
from tradewind.rollout import orders
from tradewind.rollout.observed import Observed
from tradewind.rollout.plan import Action, plan
from tradewind.rollout.record import WAITING, Order, Record
from tradewind.rollout.signature import same_signature
from tradewind.rollout.smoke import TOLERANCE, compatible, smoke
from tradewind.rollout.transitions import TAKEN_IN
from tradewind.serving.base import Serving, VersionStatistics
from tradewind.store import Store

POLL_S = 1.0
_LOCK_S = 300.0
_FINISH_S = 600.0
_STALE_S = 300.0  # without a tick for so long, nobody is at it any more
_WORDS, _WORD = 8, 200  # of persons that a release record has, and their characters: MLflow takes 8,000 in all
_COUNTED = ("load", "replay", "smoke", "mirror", "canary", "held", "switch")  # phases in which the proxy's counts matter

Replay = Callable[[Record], dict[str, Any]]
"""Sends the same rows to the new version and the one that serves; returns ``{"verdict", "reasons", ...}``."""


class RolloutOver(SpecError):
    """The rollout that was meant is not under way any more: it has ended, and perhaps another one has begun."""


@dataclass(frozen=True, kw_only=True)
class Ticked:
    """What a tick left: the record, and whether it moved anything; if not, the next one may wait."""

    record: Record
    moved: bool


class Driver:
    """The hands of one target's rollout.

    Args:
        serving, registry, target: what it works on; also for whoever needs to look.
        replay: carries out a replay; without it a rollout that is to replay stays where it is until one who can ticks.
        holder: who ticks, for whoever waits meanwhile.
        say: told what happens, a line at a time.
        smoke_tolerance: the largest relative difference of a served from a trained prediction.
    """

    def __init__(
        self,
        *,
        serving: Serving,
        registry: Registry,
        store: Store,
        target: str,
        holder: str,
        replay: Replay | None = None,
        say: Callable[[str], None] = lambda _: None,
        smoke_tolerance: float = TOLERANCE,
        clock: Callable[[], float] = time.time,
        lock_timeout_s: float = _LOCK_S,
    ) -> None:
        self.serving = serving
        self.registry = registry
        self._store = store
        self.target = target
        self._holder = holder
        self._replay = replay
        self._say = say
        self._smoke_tolerance = smoke_tolerance
        self._clock = clock
        self._lock_timeout_s = lock_timeout_s

    def record(self) -> Record | None:
        """The target's last one, with the order that waits."""
        return orders.read(self.serving, self.target)

    def begin(self, make: Callable[[float], Record | None], *, attempt: str) -> Record | None:
        """The record of an attempt: the one that is under way, or a new one by ``make``, called under the lock.

        Another attempt's rollout that is under way is waited for; one that nobody ticks any more is rolled back first.

        Args:
            make: gets the time; None: there is nothing to roll out.

        Raises:
            RuntimeUnavailable: another rollout takes too long; says whose.
        """
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            with self._locked():
                found = self.record()
                if found and found.id == attempt:
                    return found
                if not found or found.ended:
                    made = make(self._clock())
                    if made:
                        self._save(made)
                    return made
                other = f"the rollout of {self.target} version {found.version} by {found.by}, in phase {found.phase}"
                if self._clock() - found.updated_at > _STALE_S and found.order is None:
                    self._say(f"Nobody carries on {other}: it is rolled back first")
                    self._leave(found, "roll_back", by=self._holder, why="nobody carried it on")
            if self._clock() - found.updated_at > _STALE_S:
                self.finish()
            elif time.monotonic() > deadline:
                raise RuntimeUnavailable(f"Waited {self._lock_timeout_s:g} s for {other}")
            time.sleep(min(POLL_S, self._lock_timeout_s / 10))

    def order(self, do: Order, *, by: str, why: str, attempt: str | None = None) -> Record:
        """Leave a person's order for the next tick; whoever ticks now is not waited for. The record of the rollout that is meant.

        Args:
            attempt: the id of the rollout that is meant; None: whichever is under way.

        Raises:
            RolloutOver: it is not under way.
            SpecError: that cannot be done in its phase.
        """
        found, what = self.record(), do.replace("_", " ")
        if not found or found.ended or attempt not in (None, found.id):
            which = f"No rollout of {self.target}" if attempt is None else f"That rollout of {self.target}"
            raise RolloutOver(f"{which} is {'' if attempt is None else 'not '}under way: there is nothing to {what}")
        if found.phase not in TAKEN_IN[do]:
            raise SpecError(
                f"The rollout of {self.target} version {found.version} is in phase {found.phase}: {what} is possible in "
                f"{', '.join(TAKEN_IN[do])}"
            )
        self._leave(found, do, by=by, why=why)
        return found

    def waits(self, attempt: str, do: Order) -> bool:
        """Whether such an order on that rollout was not taken up yet."""
        return orders.waits(self.serving, self.target, attempt, do)

    def now(self) -> float:
        """Seconds since the epoch, as in records."""
        return self._clock()

    def tick(self, *, attempt: str | None = None) -> Ticked:
        """One look, and at most one thing done.

        Args:
            attempt: the id of the rollout that is meant; None: whichever is the last.

        Raises:
            RolloutOver: another has begun since.
            SpecError: nothing was ever rolled out.
            RuntimeUnavailable, StoreError: the serving does not answer or keeps no record; the next tick goes on.
        """
        with self._locked():
            before = self.record()
            if before is None:
                raise SpecError(f"Nothing was ever rolled out as {self.target}")
            if attempt not in (None, before.id):
                raise RolloutOver(f"Another rollout of {self.target} has begun since: of version {before.version} by {before.by}")
            record, action = plan(self._observe(before), before)
            if record != before:
                self._save(record)
            self._tell(before, record)
            if before.order and not record.order:
                orders.answered(self.serving, record, before.order["do"])
            if action is None:
                return Ticked(record=record, moved=record.phase != before.phase or record.step != before.step)
            after, done = self._act(record, action)
            if after != record:
                self._save(after)
            self._tell(record, after)
            return Ticked(record=after, moved=done or after.phase != record.phase)

    def finish(self, *, attempt: str | None = None, poll_s: float = POLL_S, limit_s: float = _FINISH_S) -> Record:
        """Tick until the rollout has ended.

        Raises:
            RolloutOver: see `tick`.
            RuntimeUnavailable: it has not within ``limit_s`` seconds.
        """
        deadline = time.monotonic() + limit_s
        while True:
            ticked = self.tick(attempt=attempt)
            if ticked.record.ended:
                return ticked.record
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"The rollout of {self.target} is still in phase {ticked.record.phase}")
            if not ticked.moved:
                time.sleep(poll_s)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _locked(self) -> Any:
        return self.serving.lock(self.target, holder=self._holder, timeout_s=self._lock_timeout_s)

    def _observe(self, record: Record) -> Observed:
        deployment = self.serving.observe(self.target)
        # What takes it back wants no figures, and until the requests are back no registry: neither may keep it waiting.
        taken_back = record.phase == "roll_back" or (record.order is not None and record.order["do"] == "roll_back")
        back = {record.stable: 100} if record.stable else {}
        champion, known = (None, False) if taken_back and deployment.weights != back else self._champion()
        counted = record.phase in _COUNTED and record.stable and not taken_back
        statistics, blind = self._statistics(record) if counted else ({}, None)
        return Observed(
            now=self._clock(), deployment=deployment, champion=champion, champion_known=known, statistics=statistics, blind=blind
        )

    def _champion(self) -> tuple[str | None, bool]:
        """The champion's version, and whether the registry knows."""
        try:
            found = self.registry.by_alias(self.target, CHAMPION)
        except TradewindError as error:  # a proxy's error page, too
            self._say(str(error))
            return None, False
        return found.version if found else None, True

    def _statistics(self, record: Record) -> tuple[Mapping[str, VersionStatistics], str | None]:
        """The proxy's counts, or why there are none: a version that gets requests is watched without them too."""
        try:
            return self.serving.statistics(self.target), None
        except RuntimeUnavailable as error:
            if record.phase not in WAITING:  # counting begins there: nothing goes on without
                raise
            if record.blind_since is None:
                self._say(str(error))
            return {}, str(error)

    def _act(self, record: Record, action: Action) -> tuple[Record, bool]:
        """Do it; the record with what came of it, and whether it is done."""
        if action.do == "replay" and not self._replay:
            return record, False
        self._say(f"{self.target}: {action}")
        try:
            match action.do:
                case "load":
                    model = record.model
                    if action.version != record.version:
                        model = model_of(self.registry.version(self.target, action.version))
                    self.serving.load(self.target, action.version, model)
                case "unload":
                    self.serving.unload(self.target, action.version)
                case "smoke":
                    record = dataclasses.replace(record, smoke={"difference": self._smoke(record)})
                case "replay":
                    assert self._replay
                    record = dataclasses.replace(record, replay=self._replay(record))
                case "mirror":
                    self.serving.mirror(self.target, action.version, action.percent)
                case "shift":
                    self.serving.shift(self.target, action.weights, even_unready=action.even_unready)
                case "alias":
                    self.registry.promote(self.target, action.version)
                    record = dataclasses.replace(record, trouble_since=None, aliased=action.version == record.version)
                case "withdraw":
                    self.registry.withdraw(self.target)
                case "note":
                    self._note(record)
                    record = dataclasses.replace(record, noted=True)
        except TradewindError as error:
            if not error.retryable:
                return self._refused(record, action, error), False
            if action.do not in ("alias", "withdraw"):
                raise
            self._say(str(error))
            return dataclasses.replace(record, trouble_since=record.trouble_since or self._clock()), False
        return record, True

    def _refused(self, record: Record, action: Action, error: TradewindError) -> Record:
        """On the way there: back. On the way back: it is said, and looked at again."""
        if record.phase == "roll_back" and action.do == "alias":
            # The old champion is gone from the registry: nobody can make it that again.
            return dataclasses.replace(record.said(self._clock(), str(error)), champion=None)
        if action.do == "withdraw":  # it stays where it is
            return dataclasses.replace(record.said(self._clock(), str(error)), champion=record.version)
        if record.phase == "roll_back" and action.do == "load":  # what served before is gone for good
            return dataclasses.replace(record.said(self._clock(), str(error)), stable=None)
        if action.do == "note":  # what serves is right: it does not wait for a word in a book
            return dataclasses.replace(record.said(self._clock(), f"no release record is kept: {error}"), noted=True)
        if record.phase in ("roll_back", "release") and action.do != "alias":
            self._say(str(error))
            return record
        return record.to("roll_back", self._clock(), str(error), reason=str(error), noted=False)

    def _smoke(self, record: Record) -> float | None:
        stable = None
        if record.stable and record.champion == record.stable and record.spec.signature == "compatible":
            stable = model_of(self.registry.version(self.target, record.stable))
            same_signature(self._store, self.target, record.version, record.model, stable)
        difference = smoke(self.serving, self._store, self.target, record.version, record.model, tolerance=self._smoke_tolerance)
        if stable:
            compatible(self.serving, self._store, self.target, record.version, stable)
        return difference

    def _note(self, record: Record) -> None:
        released = record.phase == "release"
        self.registry.note_release(
            self.target,
            record.id,
            {
                "at": self._clock(),
                "outcome": "released" if released else "rolled back",
                "version": record.version,
                "serves": record.version if released else record.stable,
                "before": record.stable,
                "by": record.by,
                "why": record.why,
                "reason": record.reason,
                "orders": [{**order, "why": order["why"][:_WORD]} for order in record.orders[-_WORDS:]],
                **record.lineage,
            },
        )

    def _leave(self, record: Record, do: Order, *, by: str, why: str) -> None:
        orders.leave(self.serving, record, do, by=by, why=why, now=self._clock())

    def _save(self, record: Record) -> None:
        self.serving.keep_record(self.target, record.to_dict())

    def _tell(self, before: Record, after: Record) -> None:
        for event in after.events[len(before.events) :]:
            self._say(f"{self.target} version {after.version}: {event['phase']}: {event['what']}")
