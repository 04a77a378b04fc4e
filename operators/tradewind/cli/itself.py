"""What a person types to call this command again."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def command() -> str:
    """As it was typed, which works from the same folder: ``tradewind``, ``.venv/bin/tradewind``, ``python -m tradewind``."""
    typed = sys.argv[0]
    if Path(typed).name != "tradewind":
        return f"{shlex.quote(sys.executable)} -m tradewind"
    return "tradewind" if typed == shutil.which("tradewind") else shlex.quote(typed)
