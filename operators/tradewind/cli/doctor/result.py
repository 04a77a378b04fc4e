"""A line of what `tradewind doctor` says, and how a check is run so that it always ends with one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Literal

from tradewind.cli.kube import Forbidden

LIMIT = 5.0  # seconds that one request may take
_REMOVING_S = 3.0  # seconds that a check gets to remove what it has made
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
        limit_s: seconds after which it counts as failed, imports and all. Each request has its own `LIMIT`, but some libraries
            know of none.
        hint: the fix, should the check itself fail.
        needed: by all checks after it.
        stop: set when nobody waits any more, as after Ctrl-C: what the check has started it should remove now.
    """

    name: str
    look: Callable[[], Iterable[Result]]
    limit_s: float = 6 * LIMIT
    hint: str = ""
    needed: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


def passed(name: str, detail: str) -> Result:
    return Result(name=name, state="pass", detail=detail)


def failed(name: str, detail: str, fix: str) -> Result:
    return Result(name=name, state="fail", detail=detail, fix=fix)


def skipped(name: str, detail: str, fix: str = "") -> Result:
    return Result(name=name, state="skipped", detail=detail, fix=fix)


def run(check: Check) -> Generator[Result, None, None]:
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

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    until = time.monotonic() + check.limit_s
    try:
        while result := found.get(timeout=max(0.0, until - time.monotonic())):
            yield result
    except queue.Empty:
        yield failed(check.name, f"no answer within {check.limit_s:g} s", check.hint)
    finally:
        check.stop.set()
        thread.join(_REMOVING_S)


def _text(error: Exception) -> str:
    text = str(error).strip()
    return text if type(error).__module__.startswith("tradewind") and text else f"{type(error).__name__}: {text}".rstrip(": ")
