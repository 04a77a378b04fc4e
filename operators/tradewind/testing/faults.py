"""A drill: the next version that is loaded is a bad one, on live requests only, so that nothing before the canary sees it.

On the local serving; see `tradewind_steps.serve.faults` for what each kind does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tradewind.errors import SpecError
from tradewind.serving.local.files import FAULTS, write_json
from tradewind.serving.local.process import started_at

KINDS = ("errors", "latency", "drift", "crash")


@contextmanager
def next_version_is_bad(home: Path, target: str, kind: str) -> Iterator[None]:
    """For the time of the block, each version of ``target`` that is loaded anew has a fault.

    Args:
        home: the embedded environment's folder.

    Raises:
        SpecError: there is no fault of that kind.
    """
    if kind not in KINDS:
        raise SpecError(f"There is no fault {kind!r}; there are: {', '.join(KINDS)}")
    file = home / "serving" / FAULTS
    # With the process that drills: what a killed one leaves must not make a real version bad.
    write_json(file, {"pid": os.getpid(), "started": started_at(os.getpid()), "faults": {target: kind}})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
