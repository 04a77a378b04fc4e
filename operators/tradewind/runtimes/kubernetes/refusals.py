"""What Kubernetes forbids and a step can do without: said once, with the permission that lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

READ_LOG, MARK_POD = "get pods/log", "patch pods"
_MEANS = {
    READ_LOG: "the step's output is not shown here",
    MARK_POD: "how far its log has been said cannot be left on the pod: who goes on with it says lines again",
}


class Refusals:
    """Of one pod.

    Args:
        warn: takes what there is to say.
        debug: takes what is no refusal, as a message with one ``%s`` and the error: it passes.

    Attributes:
        said: permissions that have been named; who goes on after another process need not repeat them.
    """

    def __init__(self, warn: Callable[[str], None], debug: Callable[[str, Exception], None]) -> None:
        self.said: set[str] = set()
        self._warn = warn
        self._debug = debug

    def known(self, said: Iterable[str]) -> None:
        """What an earlier process has said."""
        self.said.update(said)

    def heard(self, error: Exception, permission: str, namespace: str) -> None:
        """What came instead of an answer.

        Args:
            permission: `READ_LOG` or `MARK_POD`.
        """
        if getattr(error, "status", None) != 403:
            self._debug(f"{permission}: %s", error)
        elif permission not in self.said:
            self.said.add(permission)
            self._warn(
                f"Kubernetes forbids `{permission}` in namespace {namespace}: {_MEANS[permission]}. The step runs all the same. "
                f"The chart's RBAC gives the permission; `tradewind doctor` lists it"
            )
