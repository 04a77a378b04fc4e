"""What Kubernetes forbids and a step can do without: said once, with the permission that lacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

READ_LOG, MARK_POD = "get pods/log", "patch pods"
_MEANS = {
    READ_LOG: "the step's output is not shown here",
    MARK_POD: "how far its log has been said cannot be left on the pod: who goes on with it says lines again",
}


class Refusals:
    """Of one pod.

    Args:
        speaker: the operator or trigger that asked: its ``log`` takes what there is to say.

    Attributes:
        said: permissions that have been named; who goes on after another process need not repeat them.
    """

    def __init__(self, speaker: Any) -> None:
        self.said: set[str] = set()
        self._speaker = speaker

    def known(self, said: Iterable[str]) -> None:
        """What an earlier process has said."""
        self.said.update(said)

    def heard(self, error: Exception, permission: str, namespace: str) -> None:
        """What came instead of an answer.

        Args:
            permission: `READ_LOG` or `MARK_POD`.
        """
        if getattr(error, "status", None) != 403:
            self._speaker.log.debug("%s: %s", permission, error)  # it passes
        elif permission not in self.said:
            self.said.add(permission)
            self._speaker.log.warning(
                "Kubernetes forbids `%s` in namespace %s: %s. The step runs all the same. The chart's RBAC gives the permission; "
                "`tradewind doctor` lists it",
                permission,
                namespace,
                _MEANS[permission],
            )
