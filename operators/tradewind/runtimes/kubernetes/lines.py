"""A container's log, each line once: where one reader stopped is where the next goes on, also in another process.

Kubernetes gives lines with the time at which each was written and can only be asked for those of the last so many seconds.
A position is the time of the last line that was read and how many lines have that very time.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

# On the pod: how far its log stands in the task's, for whoever takes over.
POSITION_ANNOTATION = "tradewind.io/log-position"
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
_SKEW_S = 30  # by which the clocks of the node and of this machine may differ


@dataclass(frozen=True)
class Position:
    """Up to where a log has been read.

    Attributes:
        at: nanoseconds since the epoch, of the last line.
        count: lines of that instant that have been read.
    """

    at: int = 0
    count: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Position:
        at, _, count = (text or "").partition(":")
        return cls(int(at), int(count)) if at.isdigit() and count.isdigit() else cls()

    def __str__(self) -> str:
        return f"{self.at}:{self.count}"

    def since_seconds(self) -> int | None:
        """What to ask Kubernetes for so that nothing is missing; None: all."""
        return max(1, math.ceil(time.time() - self.at / 1e9) + _SKEW_S) if self.at else None


def after(position: Position, raw: Iterable[str]) -> tuple[list[str], Position]:
    """The lines after a position, without their times, and the position after them.

    A line without a time is the rest of the one before it: it counts as one more of that instant.
    """
    lines: list[str] = []
    at, count = 0, 0
    for text in raw:
        stamp = _STAMP.match(text)
        if stamp:
            instant = _nanoseconds(stamp)
            at, count = (instant, count + 1) if instant == at else (instant, 1)
        else:
            count += 1
        if (at, count) > (position.at, position.count):
            lines.append(text[stamp.end() :] if stamp else text)
    return lines, Position(at, count) if (at, count) > (position.at, position.count) else position


def _nanoseconds(stamp: re.Match[str]) -> int:
    seconds, fraction, zone = stamp.groups()
    whole = datetime.fromisoformat(seconds + ("+00:00" if zone == "Z" else zone))
    return int(whole.timestamp()) * 10**9 + int((fraction or "0").ljust(9, "0"))
