"""``tradewind releases`` in a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.cli.releases import _lines

RUN = "scheduled__2026-02-01T00:00:00.000000+00:00 / rollout"
RECORD: dict[str, Any] = {
    "at": 1.0, "outcome": "released", "version": "12", "serves": "12", "before": "11", "by": RUN, "why": "", "reason": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, ["1970-01-01 00:00:01 UTC  released version 12, in place of 11", f"    by {RUN}"]),
        ({"before": None}, ["1970-01-01 00:00:01 UTC  released version 12, the first", f"    by {RUN}"]),
        (
            {"outcome": "rolled back", "serves": "11", "by": "anna", "reason": "too slow", "why": "canary"},
            ["1970-01-01 00:00:01 UTC  rolled back version 12, 11 serves", "    by anna: too slow"],
        ),
        (
            {
                "why": "promote by anna: seen enough",
                "orders": [{"do": "hold", "by": "bo", "why": "a look"}, {"do": "promote", "by": "anna", "why": "seen enough"}],
            },
            [
                "1970-01-01 00:00:01 UTC  released version 12, in place of 11",
                f"    by {RUN}: promote by anna:",
                "    seen enough",
                "    hold by bo: a look",
            ],
        ),
        (
            {"approved_by": "anna", "approved_why": "as good as before", "why": "approved by anna: as good as before"},
            [
                "1970-01-01 00:00:01 UTC  released version 12, in place of 11",
                f"    by {RUN}: approved by anna:",
                "    as good as before",
            ],
        ),
        (
            {
                "approved_by": "anna",
                "approved_why": "as good as before",
                "why": "promote by bo: seen enough",
                "orders": [{"do": "promote", "by": "bo", "why": "seen enough"}],
            },
            [
                "1970-01-01 00:00:01 UTC  released version 12, in place of 11",
                f"    by {RUN}: promote by bo:",
                "    seen enough",
                "    approved by anna: as good as before",
            ],
        ),
        (
            {"outcome": "rolled back", "serves": None, "by": "anna"},
            ["1970-01-01 00:00:01 UTC  rolled back version 12, nothing serves", "    by anna"],
        ),
    ],
)
def test_a_record_says_what_happened_and_why(more: dict[str, Any], said: list[str]) -> None:
    assert _lines({**RECORD, **more}) == said


def test_a_long_reason_wraps_and_nothing_is_lost() -> None:
    why = "the canary was slower than the champion: " + "p99 412 ms, " * 30
    lines = _lines({**RECORD, "why": why})
    assert max(len(line) for line in lines) <= 80
    assert " ".join(line.strip() for line in lines[1:]) == f"by {RUN}: {why}".strip()
