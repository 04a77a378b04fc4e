"""What the nursery and its trials share."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tradewind.errors import TradewindError
from tradewind_steps.step import Step, may_pass


class Voice:
    """Says in lines of JSON what happens. A line is shorter than what a pipe takes at once: lines of several never mix."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of_stdout(cls) -> Self:
        """Standard output as it was; what is printed from here on goes where errors go, to the log."""
        sys.stdout.flush()
        voice = cls(os.dup(1))
        os.dup2(2, 1)
        return voice

    def say(self, event: str, **facts: Any) -> None:
        os.write(self._descriptor, json.dumps({"event": event, **facts}).encode() + b"\n")


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all trials begin with: the training's step, its data, the user's function.

    Attributes:
        folder: where trials leave what came of them.
    """

    step: Step
    data: Any
    function: Callable[..., Any]
    folder: Path
    device: str
    voice: Voice


def described(error: Exception) -> dict[str, Any]:
    """An error as data, as a manifest has it."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "stack": traceback.format_exc(),
        "retryable": error.retryable if isinstance(error, TradewindError) else may_pass(error),
    }
