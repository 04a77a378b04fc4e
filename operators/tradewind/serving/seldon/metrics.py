"""Where a verdict gets its numbers: the seam, and what every source makes of the counts that it has read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tradewind.serving.base import VersionStatistics

_QUANTILES = (50, 90, 95, 99)


class Metrics(Protocol):
    """Counts requests by predictor.

    Raises (both methods):
        RuntimeUnavailable: it does not answer, or not with counts; transient.
    """

    def read(self, namespace: str, deployment: str, predictors: Mapping[str, str]) -> dict[str, VersionStatistics]:
        """The statistics of each version; one of which nothing is known has counts of 0.

        Args:
            deployment: the SeldonDeployment's name.
            predictors: by version, its predictor's name.
        """
        ...

    def look(self) -> str:
        """What is there, in a few words, for `tradewind doctor`."""
        ...


@dataclass
class Counts:
    """One version's, as they are read.

    Attributes:
        below: how many requests took at most so many milliseconds, up to infinity.
    """

    requests: int = 0
    errors: int = 0
    active: int = 0
    below: dict[float, int] = field(default_factory=dict)

    def statistics(self) -> VersionStatistics:
        lower, before, latency = 0.0, 0, {}
        for bound, below in sorted(self.below.items()):
            if below > before:
                latency[f"{lower:g}"] = below - before
            lower, before = bound, below
        quantiles = {f"{q}": self._quantile(q / 100) for q in _QUANTILES} if before else {}
        return VersionStatistics(
            requests=self.requests, errors=self.errors, active=self.active, latency_ms=quantiles, latency=latency
        )

    def _quantile(self, share: float) -> float:
        """Within a bucket, requests are taken to be spread evenly."""
        bounds = sorted(self.below)
        wanted = share * self.below[bounds[-1]]
        lower, before = 0.0, 0
        for bound in bounds:
            if self.below[bound] >= wanted:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (wanted - before) / max(1, self.below[bound] - before)
            lower, before = bound, self.below[bound]
        return lower
