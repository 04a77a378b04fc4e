"""What users' own tests and drills need: `run_steps`, `served`, and `tradewind.testing.faults`."""

from __future__ import annotations

from tradewind.testing.served import served
from tradewind.testing.steps import run_steps

__all__ = ["run_steps", "served"]
