"""Envoy's configuration as data: pure functions from what should be to the JSON that Envoy reads.

The listener is fixed. Routes (RDS) and clusters (CDS) are files that Envoy takes up when another is renamed over them, so
weights change without a restart and without losing a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TYPE = "type.googleapis.com/envoy"
ROUTES, CLUSTERS = "rds.json", "cds.json"
# MLServer closes a connection that was idle for 5 s: Envoy must be first, or it sends a request into a closing one.
_UPSTREAM_IDLE = "3s"
_QUANTILES = (50, 90, 95, 99)
_REQUEST_LIMIT = "60s"


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A version's server: the port that it listens on (0: none yet), its share of the target's requests in percent, and the
    share of which it gets copies."""

    target: str
    version: str
    port: int
    weight: int
    mirror: int = 0

    @property
    def cluster(self) -> str:
        return cluster_name(self.target, self.version)


def cluster_name(target: str, version: str) -> str:
    return f"{target}@{version}"


def bootstrap(*, port: int, admin_socket: Path, dynamic: Path) -> dict[str, Any]:
    """The fixed part.

    Args:
        port: of the endpoint, on loopback.
        admin_socket: a Unix socket that only its owner can open: whoever reaches the admin interface can stop Envoy.
        dynamic: the folder that is watched for routes and clusters.
    """
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "endpoint",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "rds": {"route_config_name": "targets", "config_source": _source(dynamic, ROUTES)},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "endpoint",
        "address": _address(port),
        "enable_reuse_port": False,  # two Envoys on one port would share it silently
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
    return {
        "node": {"id": "tradewind", "cluster": "tradewind"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "stats_flush_interval": "1s",
        "dynamic_resources": {"cds_config": _source(dynamic, CLUSTERS)},
        "static_resources": {"listeners": [listener]},
    }


def routes(upstreams: list[Upstream], *, number: str) -> dict[str, Any]:
    """The routes: each target's path to its versions by weight, the servers' health, and nothing else.

    Only paths below ``/v2/models`` get through: MLServer would also load and unload models for whoever asks.
    """
    found: list[dict[str, Any]] = []
    for target in sorted({u.target for u in upstreams}):
        weighted = [u for u in upstreams if u.target == target and u.weight]
        if not weighted:
            continue
        route: dict[str, Any] = {
            "weighted_clusters": {"clusters": [{"name": u.cluster, "weight": u.weight} for u in weighted]},
            "timeout": _REQUEST_LIMIT,
            # A prediction changes nothing, so it may be sent again when no answer had begun: MLServer closes a connection on
            # which a request failed, and the next one may be on its way already.
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 2},
        }
        if mirrored := [_mirror(u) for u in upstreams if u.target == target and u.mirror]:
            route["request_mirror_policies"] = mirrored
        found += [{"match": {"path_separated_prefix": f"/v2/models/{target}"}, "route": route}]
    found += [{"match": {"path": f"/v2/health/{probe}"}, "direct_response": {"status": 200}} for probe in ("live", "ready")]
    found.append({"match": {"prefix": "/"}, "direct_response": _answer(404, "Nothing is served here")})
    configuration = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "targets",
        "virtual_hosts": [{"name": "targets", "domains": ["*"], "routes": found}],
    }
    return {"version_info": number, "resources": [configuration]}


def _mirror(upstream: Upstream) -> dict[str, Any]:
    fraction = {"default_value": {"numerator": upstream.mirror, "denominator": "HUNDRED"}}
    return {"cluster": upstream.cluster, "runtime_fraction": fraction}


def clusters(upstreams: list[Upstream], *, number: str) -> dict[str, Any]:
    """One cluster a version, the ones without requests too: they must be there before a route names them."""
    protocol = {
        "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": _UPSTREAM_IDLE},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {
        "version_info": number,
        "resources": [
            {
                "@type": f"{_TYPE}.config.cluster.v3.Cluster",
                "name": u.cluster,
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
                "load_assignment": {
                    "cluster_name": u.cluster,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(u.port)}}]}],
                },
            }
            for u in upstreams
            if u.port
        ],
    }


def statistics_filter(target: str) -> str:
    """The pattern of the statistics that `read_statistics` needs."""
    return rf"^cluster\.{re.escape(target)}@.*\.upstream_rq_(completed|5xx|active|time)$"


def read_statistics(answer: dict[str, Any], cluster: str) -> dict[str, Any]:
    """The fields of `VersionStatistics` of a cluster, from Envoy's ``/stats?format=json&histogram_buckets=detailed``."""
    prefix = f"cluster.{cluster}.upstream_rq_"
    values: dict[str, int] = {}
    quantiles: dict[str, float] = {}
    latency: dict[str, int] = {}
    for entry in answer["stats"]:
        if "histograms" in entry:
            histograms = entry["histograms"]
            for histogram in histograms["details"]:
                if histogram["name"] == f"{prefix}time":
                    latency = {f"{bucket['lower_bound']:g}": bucket["count"] for bucket in histogram["totals"]}
                    named = zip(histograms["supported_percentiles"], histogram["percentiles"], strict=True)
                    quantiles = {
                        f"{q:g}": ms["cumulative"] for q, ms in named if q in _QUANTILES and ms["cumulative"] is not None
                    }
        elif entry["name"].startswith(prefix):
            values[entry["name"].removeprefix(prefix)] = entry["value"]
    return {
        "requests": values.get("completed", 0),
        "errors": values.get("5xx", 0),
        "active": values.get("active", 0),
        "latency_ms": quantiles,
        "latency": latency,
    }


def _source(folder: Path, name: str) -> dict[str, Any]:
    watched = {"path": str(folder / name), "watched_directory": {"path": str(folder)}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _answer(status: int, text: str) -> dict[str, Any]:
    return {"status": status, "body": {"inline_string": f'{{"error": "{text}"}}'}}
