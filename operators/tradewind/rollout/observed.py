"""What a tick sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tradewind.serving.base import Deployment, VersionStatistics


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is.

    Attributes:
        now: seconds since the epoch.
        statistics: by version; only where the phase needs them.
        blind: why they cannot be had; None where they can, or are not needed.
        champion: the version that has the alias; None: nobody.
        champion_known: False where the registry does not answer.
    """

    now: float
    deployment: Deployment
    champion: str | None
    champion_known: bool = True
    statistics: Mapping[str, VersionStatistics] = field(default_factory=dict)
    blind: str | None = None
