"""A pod's log, each line once, however it is cut."""

from __future__ import annotations

import random
import time

from tradewind.runtimes.kubernetes.lines import Position, after

LOG = [
    "2026-11-26T05:00:00.000000001Z one",
    "2026-11-26T05:00:00.100000000Z two",
    "2026-11-26T05:00:00.100000000Z three, written in the same instant",
    "2026-11-26T05:00:01Z four, at a whole second",
    "the rest of four, which was cut",
    "2026-11-26T07:00:02.5+02:00 five, said in another zone",
    "2026-11-26T05:00:03.000000000Z ",
]
TEXTS = [
    "one", "two", "three, written in the same instant", "four, at a whole second", "the rest of four, which was cut",
    "five, said in another zone", "",
]  # fmt: skip


def test_all_at_once() -> None:
    lines, position = after(Position(), LOG)
    assert lines == TEXTS
    assert after(position, LOG) == ([], position)


def test_however_it_is_cut_each_line_comes_once() -> None:
    chance = random.Random(1)
    for _ in range(200):
        position, got = Position(), []
        for end in sorted(chance.sample(range(len(LOG) + 1), 3)) + [len(LOG)]:
            lines, position = after(Position.parse(str(position)), LOG[:end])
            got += lines
        assert got == TEXTS


def test_what_was_read_may_be_missing_from_the_next_answer() -> None:
    _, position = after(Position(), LOG[:4])
    assert after(position, LOG[3:])[0] == TEXTS[4:], "Kubernetes gives whole instants: the last one read is in the answer"
    assert after(position, LOG[5:])[0] == TEXTS[5:]


def test_a_position_that_nobody_wrote_is_the_start() -> None:
    for text in (None, "", "x", "12", "12:", ":3"):
        assert Position.parse(text) == Position()
    assert Position().since_seconds() is None


def test_more_than_enough_is_asked_for() -> None:
    wanted = Position(int((time.time() - 10) * 1e9), 1).since_seconds()
    assert wanted is not None and 30 < wanted < 60
