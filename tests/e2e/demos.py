"""The command line ``tradewind demo``, started by tests; `conftest` has the fixtures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
PATIENCE = 400  # seconds for a run of the whole chain on a busy machine
Start = Callable[..., "subprocess.Popen[str]"]


def said(tmp_path: Path, number: int = 0) -> str:
    """What a demo has printed, on one line: the console's width breaks it anywhere."""
    return " ".join((tmp_path / f"demo-{number}.log").read_text().split())
