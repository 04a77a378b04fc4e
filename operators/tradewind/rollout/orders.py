"""A person's word on a rollout: it waits beside the record, so that nobody who gives it waits for whoever holds the lock.

The next tick takes one up: a rollback before all others, then the oldest. What it makes of it is on the record before the order
is taken away: a tick that is killed between the two finds an order for a second time, and that changes nothing.
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
    found = serving.record(target)
    if found is None:
        return None
    record = Record.from_dict(found)
    waiting = [order for order in serving.orders(target).values() if order["attempt"] == record.id]
    first = min(waiting, key=lambda order: (order["do"] != "roll_back", order["at"]), default=record.order)
    return dataclasses.replace(record, order=first)


def leave(serving: Serving, record: Record, do: Order, *, by: str, why: str, now: float) -> Record:
    """The record with this order, or one that goes before it."""
    order = {"attempt": record.id, "do": do, "by": by, "why": why, "at": now}
    serving.put_order(record.target, digest([record.id, do])[:16], order)
    return read(serving, record.target) or record


def answered(serving: Serving, record: Record, do: Order) -> None:
    """Take away the order that was taken up, and what was left too late for a rollout before this one."""
    for key, order in serving.orders(record.target).items():
        if order["attempt"] != record.id or order["do"] == do:
            serving.put_order(record.target, key, None)
