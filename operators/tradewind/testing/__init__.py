"""What users' own tests and drills need: `run_steps`, and `tradewind.testing.faults`."""

from __future__ import annotations

from tradewind.testing.steps import run_steps

__all__ = ["run_steps"]
