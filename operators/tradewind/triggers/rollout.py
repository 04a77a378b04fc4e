"""Ticks a rollout while it waits for traffic or for a person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

_PATIENCE_S = 600.0  # for a serving that does not answer


class RolloutTrigger(BaseTrigger):
    """Ends when the rollout has: with ``{"phase"}``, None where another has begun since, or with ``{"error"}`` where it could
    not be looked at for ten minutes.

    A triggerer that is killed takes nothing with it: the rollout's state is its record. A person's "mark failed" rolls it
    back.

    Args:
        target: the registered model's name.
        holder: who rolls out, for whoever waits meanwhile.
        poll_interval: seconds between two looks.
        attempt: the rollout's id; None: whichever is the last one of the target.
    """

    def __init__(self, *, target: str, holder: str, poll_interval: float, attempt: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.target = target
        self.holder = holder
        self.poll_interval = poll_interval
        self.attempt = attempt

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("target", "holder", "poll_interval", "attempt")
        fields = {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from tradewind.rollout.driver import RolloutOver

        failing_since: float | None = None
        while True:
            try:
                ticked = await asyncio.to_thread(self._tick)
            except RolloutOver:
                yield TriggerEvent({"phase": None})  # type: ignore[no-untyped-call]
                return
            except Exception as error:  # whatever it is: a canary must not be left alone because of it
                self.log.warning("%s: %s", type(error).__name__, error)
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > _PATIENCE_S:
                    yield TriggerEvent({"error": str(error)})  # type: ignore[no-untyped-call]
                    return
                await asyncio.sleep(self.poll_interval)
                continue
            failing_since = None
            if ticked.record.ended:
                yield TriggerEvent({"phase": ticked.record.phase})  # type: ignore[no-untyped-call]
                return
            if not ticked.moved:
                await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        await asyncio.to_thread(self._roll_back)

    def _tick(self) -> Any:
        from tradewind.rollout.hands import driver

        with driver(self.target, holder=self.holder, say=lambda line: self.log.info("%s", line)) as hands:
            return hands.tick(attempt=self.attempt)

    def _roll_back(self) -> None:
        from tradewind.rollout.hands import driver, take_back

        with driver(self.target, holder=self.holder, say=lambda line: self.log.info("%s", line)) as hands:
            take_back(hands, why="the task was ended", attempt=self.attempt)
