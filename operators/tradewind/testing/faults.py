"""A drill: the next version that is loaded is a bad one, on live requests only, so that nothing before the canary sees it.

On the local serving; see `tradewind_steps.serve.faults` for what each kind does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tradewind.errors import SpecError
from tradewind.serving.local.files import FAULTS, write_json

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
    write_json(file, {target: kind})
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
