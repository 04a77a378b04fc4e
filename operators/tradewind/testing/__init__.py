"""What users' own tests and drills need: `run_steps`, `served`, `answers`, and `tradewind.testing.faults`."""

from __future__ import annotations

from tradewind.testing.people import Question, answers
from tradewind.testing.served import served
from tradewind.testing.steps import run_steps

__all__ = ["Question", "answers", "run_steps", "served"]
