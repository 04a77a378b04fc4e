"""What the tests of faults made go wrong, and what was lost by it: counted, and shown at the end as one table.

A fault is injected for real. What comes of it is counted before it is asserted, so that the table tells also of a test
that fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

_HEAD = (
    "fault",
    "injected",
    "held",
    "runs lost",
    "lines lost",
    "lines twice",
    "pods left",
    "wrong promotions",
    "stranded canaries",
)


@dataclass
class Fault:
    """One kind of fault: how often it was injected, how often all that should follow did, and what was lost. None: there was
    nothing of the kind to lose."""

    name: str
    injected: int = 0
    held: int = 0
    runs_lost: int | None = None
    lines_lost: int | None = None
    lines_twice: int | None = None
    pods_left: int | None = None
    wrong_promotions: int | None = None
    stranded_canaries: int | None = None

    def run(self, state: str, *, wanted: str = "success") -> None:
        """A run that was to end so."""
        self.runs_lost = (self.runs_lost or 0) + (state != wanted)

    def lines(self, said: Counter[str], expected: Iterable[str]) -> None:
        """What stands in the task's log of what its step said."""
        self.lines_lost = (self.lines_lost or 0) + len(set(expected) - set(said))
        self.lines_twice = (self.lines_twice or 0) + sum(said.values()) - len(said)

    def pods(self, pods: Iterable[Any]) -> None:
        """Pods of a task that is over."""
        self.pods_left = (self.pods_left or 0) + len(list(pods))

    def rollout(self, *, wrong: bool, stranded: bool) -> None:
        """A rollout that is over: whether another is champion, or serves, than was to be; whether it left a version beside it."""
        self.wrong_promotions = (self.wrong_promotions or 0) + wrong
        self.stranded_canaries = (self.stranded_canaries or 0) + stranded

    def row(self) -> tuple[str, ...]:
        name, *counts = asdict(self).values()
        return (name, *("" if count is None else str(count) for count in counts))


@dataclass
class Faults:
    """All kinds, in the order in which they came."""

    kinds: dict[str, Fault] = field(default_factory=dict)

    @contextmanager
    def injected(self, name: str) -> Iterator[Fault]:
        """What happens from here on is of this fault; it held where the block ends without an error."""
        fault = self.kinds.setdefault(name, Fault(name))
        fault.injected += 1
        yield fault
        fault.held += 1

    def told(self) -> list[dict[str, Any]]:
        """For another process's `add`."""
        return [asdict(fault) for fault in self.kinds.values()]

    def add(self, told: Iterable[Mapping[str, Any]]) -> None:
        """What another process has counted."""
        for counts in told:
            fault = self.kinds.setdefault(counts["name"], Fault(counts["name"]))
            for name, count in counts.items():
                if name != "name" and count is not None:
                    setattr(fault, name, (getattr(fault, name) or 0) + count)

    def table(self) -> Iterator[str]:
        """Nothing where there was none."""
        if not self.kinds:
            return
        rows = [_HEAD, *(fault.row() for fault in self.kinds.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        for row in rows:
            yield "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )


FAULTS = Faults()
