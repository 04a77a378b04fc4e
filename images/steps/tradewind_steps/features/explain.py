"""What went wrong in the user's features, as one sentence with the user's file and line.

Spark's own messages carry a query plan and a hundred lines of JVM; what helps is the first sentence, and where in
``features.py`` it came from.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.base import QueryContext

from tradewind.errors import StepFailed, TradewindError
from tradewind_steps.step import may_pass

log = logging.getLogger("tradewind")

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_CALL_SITE = re.compile(r"^(?P<file>.+):(?P<line>\d+)$", re.MULTILINE)
_DISK_FULL = "No space left on device"
_NO_MEMORY = "java.lang.OutOfMemoryError"
_LOST = re.compile(r"ExecutorLostFailure \(executor \S+ exited .*?\) Reason: (?P<reason>[^\n]*)")


@contextmanager
def explained(code: Path) -> Iterator[None]:
    """Turn what user code and Spark raise into a StepFailed that a person can act on.

    Args:
        code: the folder of the user's code: frames in it are the user's.
    """
    try:
        yield
    except TradewindError:
        raise
    except (PySparkException, Py4JError) as error:
        raise _from_spark(error, code) from None
    except Exception as error:
        where = _frame(error, code)
        raise StepFailed(f"{where}{type(error).__name__}: {error}", retryable=may_pass(error)) from error


def _from_spark(error: Exception, code: Path) -> StepFailed:
    text = str(error)
    log.error("%s", _short(text))
    if _DISK_FULL in text:
        return StepFailed(f"Spark: {_DISK_FULL}: free some, or let TMPDIR or the store lie elsewhere")
    if _NO_MEMORY in text or type(error).__name__ == "Py4JNetworkError":
        return StepFailed("Spark ran out of memory or was killed: take a resource profile with more memory_mb")
    if lost := _LOST.search(text):
        return StepFailed(
            f"Spark lost executors again and again, the last one because: {lost['reason']}; the log above says what they said. "
            "Where memory was short, a resource profile with more executor_memory_mb helps"
        )
    python = _python_error(text, code)
    if python:
        return StepFailed(python, retryable=False)
    return StepFailed(f"{_frame(error, code) or _call_site(error, text, code)}{_sentence(text)}", retryable=False)


def _frame(error: BaseException, code: Path) -> str:
    """``features.py:31 in build: `` of the innermost frame in the user's code; empty where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(code):
            return f"{Path(frame.filename).relative_to(code)}:{frame.lineno} in {frame.name}: "
    return ""


def _call_site(error: Exception, text: str, code: Path) -> str:
    """Where the expression was made that failed later, when Spark ran it: Spark keeps it in the query context."""
    sites = [_CALL_SITE.search(context.callSite()) for context in _contexts(error)] or list(_CALL_SITE.finditer(text))
    for site in sites:
        if site and Path(site["file"]).is_relative_to(code):
            return f"{Path(site['file']).relative_to(code)}:{site['line']}: "
    return ""


def _contexts(error: Exception) -> list[QueryContext]:
    try:
        return list(error.getQueryContext()) if isinstance(error, PySparkException) else []
    except Exception:  # a context without a call site raises; the message alone must do then
        return []


def _python_error(text: str, code: Path) -> str | None:
    """From a worker's traceback: the user's innermost frame and what was raised."""
    frames = [frame for frame in _FRAME.finditer(text) if Path(frame["file"]).is_relative_to(code)]
    if not frames:
        return None
    last = frames[-1]
    after = text[last.end() :].splitlines()
    raised = next((line for line in after if re.match(r"[A-Za-z_][\w.]*(:|$)", line)), "an exception")
    return f"{Path(last['file']).relative_to(code)}:{last['line']} in {last['function']}: {raised.strip()}"


def _sentence(text: str) -> str:
    """The first sentence of Spark's message: no error class in brackets, SQLSTATE, query plan or stack."""
    text = re.sub(r"^\s*(?:[\w.$]+(?:Exception|Error): )?(?:\[[A-Z0-9_.]+\] )?", "", text.strip())
    text = re.split(r"\s*SQLSTATE: |\n|;'", text, maxsplit=1)[0]
    return text.strip().rstrip(";")


def _short(text: str) -> str:
    """The message without the JVM's frames."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s+(at |\.\.\. \d+ more)", line))[:4000]
