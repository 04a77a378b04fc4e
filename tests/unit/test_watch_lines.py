"""What `tradewind demo` says of a run where there is no terminal: plain lines, each once."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tradewind.cli.airflow_api import TaskState
from tradewind.cli.watch import _shown, busy


def task(name: str, state: str, seconds: float | None = None) -> TaskState:
    return TaskState(task_id=name, state=state, seconds=seconds, try_number=1)


def test_each_change_is_a_line() -> None:
    out = io.StringIO()
    validated: dict[str, Any] = {"metrics": {"rows_checked": 1000, "rows_quarantined": 7}}
    with busy(Console(file=out), "Starting [all]"), _shown(Console(file=out, width=40), "late") as show:
        for state in ("scheduled", "queued", "running", "running"):
            show([task("validate", state), task("rollout", "none")], {}, {})
        done = task("validate", "success", 12.34)
        for state in ("running", "deferred", "running"):
            show([done, task("rollout", state)], {"validate": validated}, {"rollout": "canary: 10% of the requests, 5 answered"})
        show([done, task("rollout", "failed", 9.0)], {"validate": validated}, {})
    assert out.getvalue().splitlines() == [
        "Starting [all]",
        "validate: running",
        "validate: success, 12.3 s, 1,000 rows checked, 7 quarantined",
        "rollout: running, canary",
        "rollout: failed, 9.0 s",
    ]


def test_what_is_reused_is_said_so() -> None:
    out = io.StringIO()
    with _shown(Console(file=out), "late") as show:
        show([task("train", "success", 0.1)], {"train": {"reused": True}}, {})
    assert out.getvalue() == "train: reused, 0.1 s\n"


def test_a_terminal_gets_a_table() -> None:
    out = io.StringIO()
    with _shown(Console(file=out, force_terminal=True, width=80), "late") as show:
        show([task("train", "running")], {}, {})
    assert "key figure" in out.getvalue()
