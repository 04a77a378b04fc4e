"""What Prometheus is asked for a version's counts, by who has counted: plain data, and two pure functions around it.

One query asks for everything, so that its numbers are of one moment: no error is seen before its request. A scrape that failed is
bridged: counts that were gone for a moment would be taken for those of a proxy that began anew, and be counted twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from tradewind.serving.seldon.desired import GRAPH, HTTP
from tradewind.serving.seldon.metrics import Counts

_PARTS = ("requests", "errors", "active", "below")
_BRIDGED = "5m"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The series of one version; README.md says what each preset sees and what it does not.

    Attributes:
        where: labels of a version's series. ``$namespace``, ``$deployment`` and ``$predictor`` are names, ``$service`` is
            ``deployment-predictor``; all of them are put in as regular expressions that match only themselves.
        requests, errors, below: counters, with ``$where`` in their braces; ``below`` is a histogram's buckets.
        active: a gauge; None where nobody counts it.
        unit_ms: milliseconds in a unit of the buckets' bounds.
    """

    where: str
    requests: str
    errors: str
    below: str
    active: str | None = None
    unit_ms: float = 1

    @property
    def metric(self) -> str:
        """The name of the requests' counter."""
        return self.requests.partition("{")[0]


PRESETS: Mapping[str, Preset] = {
    "envoy": Preset(
        where=f'cluster_name=~"outbound[|]{HTTP}[|][^|]*[|]$service[.]$namespace[.]svc.*"',
        requests="envoy_cluster_upstream_rq_completed{$where}",
        errors='envoy_cluster_upstream_rq{$where, response_code_class="5xx"}',
        active="envoy_cluster_upstream_rq_active{$where}",
        below="envoy_cluster_upstream_rq_time_bucket{$where}",
    ),
    "istio": Preset(
        where='reporter="source", destination_service_namespace=~"$namespace", destination_service_name=~"$service"',
        requests="istio_requests_total{$where}",
        errors='istio_requests_total{$where, response_code=~"5.."}',
        below="istio_request_duration_milliseconds_bucket{$where}",
    ),
    "executor": Preset(
        where='namespace=~"$namespace", deployment_name=~"$deployment", predictor_name=~"$predictor", service="predictions"',
        requests="seldon_api_executor_server_requests_seconds_count{$where}",
        errors='seldon_api_executor_server_requests_seconds_count{$where, code=~"5.."}',
        below="seldon_api_executor_server_requests_seconds_bucket{$where}",
        unit_ms=1000,
    ),
    # By the pod: of a request that names no version, MLServer's own label says version="None".
    "mlserver": Preset(
        where=f'namespace=~"$namespace", pod=~"$service-0-{GRAPH}-[a-z0-9]+-[a-z0-9]+", method="POST"',
        requests='rest_server_requests_total{$where, path=~".*/infer"}',
        errors='rest_server_requests_total{$where, path=~".*/infer", status_code=~"5.."}',
        active="rest_server_requests_in_progress{$where}",
        below='rest_server_request_duration_seconds_bucket{$where, path=~".*/infer"}',
        unit_ms=1000,
    ),
}


def query(preset: Preset, *, namespace: str, deployment: str, predictors: Sequence[str]) -> str:
    """PromQL whose answer `read` understands."""
    asked = []
    for number, predictor in enumerate(predictors):
        names = {"namespace": namespace, "deployment": deployment, "predictor": predictor, "service": f"{deployment}-{predictor}"}
        where = Template(preset.where).substitute({name: _literal(value) for name, value in names.items()})
        for part in _PARTS:
            if series := getattr(preset, part):
                series = Template(series).substitute(where=where)
                asked.append(
                    f'label_replace(sum by (le) (last_over_time({series}[{_BRIDGED}])), "is", "{part} {number}", "", "")'
                )
    return "\nor ".join(asked)


def read(preset: Preset, result: Iterable[Mapping[str, Any]], *, predictors: Sequence[str]) -> list[Counts]:
    """The counts of each predictor from a vector of Prometheus's; 0 for what is not in it.

    Raises:
        ValueError, KeyError: it is not the answer to `query`.
    """
    counts = [Counts() for _ in predictors]
    for series in result:
        part, _, number = series["metric"]["is"].partition(" ")
        value = float(series["value"][1])
        if not math.isfinite(value):
            raise ValueError(f"{part} of {predictors[int(number)]}: expected a count, got {value}")
        if part == "below":
            counts[int(number)].below[float(series["metric"]["le"]) * preset.unit_ms] = round(value)
        else:
            setattr(counts[int(number)], part, round(value))
    return counts


def _literal(name: str) -> str:
    """A regular expression of ``name`` alone, as it stands between the quotes of a PromQL string."""
    return re.escape(name).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
