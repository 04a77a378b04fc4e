"""What Prometheus has scraped, from its HTTP API: for a deployment whose proxies Airflow does not reach, or does not want to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tradewind.errors import RuntimeUnavailable, told
from tradewind.serving.base import VersionStatistics
from tradewind.serving.seldon.presets import Preset, query, read

_QUERY_S = 5.0


class Prometheus:
    """`Metrics` by queries.

    Args:
        url: the server's, without ``/api/v1``.
        preset: one of `tradewind.serving.seldon.presets`.
    """

    def __init__(self, *, url: str, preset: Preset) -> None:
        self._url = url.rstrip("/")
        self._preset = preset

    def read(self, namespace: str, deployment: str, predictors: Mapping[str, str]) -> dict[str, VersionStatistics]:
        names = list(predictors.values())
        result = self._ask(query(self._preset, namespace=namespace, deployment=deployment, predictors=names))
        try:
            counts = read(self._preset, result, predictors=names)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise RuntimeUnavailable(f"Prometheus at {self._url} does not say what was asked: {error}") from error
        return {version: found.statistics() for version, found in zip(predictors, counts, strict=True)}

    def look(self) -> str:
        metric = self._preset.metric
        if not (found := self._ask(f"count({metric})")):
            raise RuntimeUnavailable(
                f"Prometheus at {self._url} has no {metric}: it scrapes nobody who counts so, or no request came yet"
            )
        return f"{self._url}: {found[0]['value'][1]} series of {metric}"

    def _ask(self, promql: str) -> list[dict[str, Any]]:
        """The vector that is the answer."""
        try:
            with httpx.Client(trust_env=False, timeout=_QUERY_S) as http:
                response = http.post(f"{self._url}/api/v1/query", data={"query": promql})
            answer = response.json()
            if answer["status"] != "success":
                raise ValueError(answer.get("error") or answer["status"])
            found: list[dict[str, Any]] = answer["data"]["result"]
        except httpx.HTTPError as error:
            raise RuntimeUnavailable(f"Prometheus at {self._url} cannot be asked: {told(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            said = f"status {response.status_code}, {error}" if response.is_error else str(error)
            raise RuntimeUnavailable(f"Prometheus at {self._url} does not answer a query: {said}") from error
        return found
