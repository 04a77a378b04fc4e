"""A person's word on a rollout: it waits beside the record, so that nobody who gives it waits for whoever holds the lock.

The next tick takes one up: a rollback before all others, then the oldest. What it makes of it is on the record before the order
is taken away: a tick that is killed between the two finds the order for a second time, and sees on the record that it was taken.
"""

from __future__ import annotations

import dataclasses

from tradewind.contract import digest
from tradewind.rollout.record import Order, Record
from tradewind.serving.base import Serving


def read(serving: Serving, target: str) -> Record | None:
    """The target's record, with the order that the next tick takes up.

    Raises:
        SpecError, StoreError: what is kept cannot be read.
    """
    left, found = serving.orders(target), serving.record(target)  # a tick in between leaves an order too many, never one too few
    if found is None:
        return None
    record = Record.from_dict(found)
    waiting = [order for order in left.values() if order["attempt"] == record.id]
    first = min(waiting, key=lambda order: (order["do"] != "roll_back", order["at"]), default=record.order)
    return dataclasses.replace(record, order=first)


def leave(serving: Serving, record: Record, do: Order, *, by: str, why: str, now: float) -> None:
    """For the next tick of that rollout, in place of an equal order that waits."""
    order = {"attempt": record.id, "do": do, "by": by, "why": why, "at": now}
    serving.put_order(record.target, digest([record.id, do])[:16], order)


def waits(serving: Serving, target: str, attempt: str, do: Order) -> bool:
    """Whether such an order on that rollout was not taken up yet."""
    return any(order["attempt"] == attempt and order["do"] == do for order in serving.orders(target).values())


def answered(serving: Serving, record: Record, do: Order) -> None:
    """Take away the order that was taken up, and what was left too late for a rollout before this one."""
    for key, order in serving.orders(record.target).items():
        if order["attempt"] != record.id or order["do"] == do:
            serving.put_order(record.target, key, None)
