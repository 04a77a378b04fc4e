"""A line of what `tradewind doctor` says, and how a check is run so that it always ends with one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tradewind.cli.kube import Forbidden

LIMIT = 5.0  # seconds that one request may take
State = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line.

    Attributes:
        detail: what was found.
        fix: what to do about it, in plain words; empty where there is nothing to do.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Looks at one part.

    Attributes:
        name: of the line, should the check itself fail.
        look: what it finds.
        limit_s: seconds after which it counts as failed. Some libraries wait for minutes, and tell nobody how to stop them.
        hint: the fix, should the check itself fail.
        needed: by all checks after it.
    """

    name: str
    look: Callable[[], Iterable[Result]]
    limit_s: float = 3 * LIMIT
    hint: str = ""
    needed: bool = False


def passed(name: str, detail: str) -> Result:
    return Result(name=name, state="pass", detail=detail)


def failed(name: str, detail: str, fix: str) -> Result:
    return Result(name=name, state="fail", detail=detail, fix=fix)


def skipped(name: str, detail: str, fix: str = "") -> Result:
    return Result(name=name, state="skipped", detail=detail, fix=fix)


def run(check: Check) -> Iterator[Result]:
    """What the check finds. One that raises has failed, one that is not allowed to look is skipped."""
    found: queue.SimpleQueue[Result | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            for result in check.look():
                found.put(result)
        except Forbidden as error:
            found.put(skipped(check.name, f"this account may not look: {error}", check.hint))
        except Exception as error:  # whatever is broken is a line, and the next check runs
            found.put(failed(check.name, _text(error), check.hint))
        found.put(None)

    threading.Thread(target=look, daemon=True).start()
    until = time.monotonic() + check.limit_s
    while True:
        try:
            result = found.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            yield failed(check.name, f"no answer within {check.limit_s:.0f} s", check.hint)
            return
        if result is None:
            return
        yield result


def _text(error: Exception) -> str:
    text = str(error).strip()
    return text if type(error).__module__.startswith("tradewind") and text else f"{type(error).__name__}: {text}".rstrip(": ")
