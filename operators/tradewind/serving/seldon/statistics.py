"""What the gateway counted, from the Prometheus text of its Envoys: the only place that sees all of a version's requests.

A model's server does not see a request that found no server, nor one that was given up. A mesh's ``istio_requests_total`` is
counted once a request, so not for the copies of a mirror. Envoy's own statistics of each cluster, of which every predictor
has one, have all three. Istio's proxies leave them out unless asked: see README.md.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import httpx

from tradewind.errors import RuntimeUnavailable
from tradewind.serving.base import VersionStatistics
from tradewind.serving.seldon.desired import HTTP
from tradewind.serving.seldon.metrics import Counts

_LINE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CLUSTER = f"outbound|{HTTP}|"
SCRAPE_S = 3.0


class Gateway:
    """`Metrics` from the gateway itself.

    Args:
        url: of its statistics; a host name with several addresses means all of them.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self, namespace: str, deployment: str, predictors: Mapping[str, str]) -> dict[str, VersionStatistics]:
        services = {f"{deployment}-{predictor}": version for version, predictor in predictors.items()}
        return parse(scraped(self._url), namespace=namespace, services=services)

    def look(self) -> str:
        replicas = len(scraped(self._url))
        return f"{self._url}: {replicas} Envoy{'s' if replicas > 1 else ''}"


def scraped(url: str) -> list[str]:
    """The text of each replica of the gateway: of every address that the URL's host has.

    Raises:
        RuntimeUnavailable: one of them does not answer: counts without it would be wrong.
    """
    parts = urlsplit(url)
    port = parts.port or 80
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
        with httpx.Client(trust_env=False, timeout=SCRAPE_S) as http:
            answers = [http.get(f"http://{f'[{at}]' if ':' in at else at}:{port}{parts.path}") for at in sorted(found)]
        return [answer.raise_for_status().text for answer in answers]
    except (OSError, httpx.HTTPError) as error:
        raise RuntimeUnavailable(f"The gateway's statistics at {url} cannot be read: {error}") from error


def parse(texts: Sequence[str], *, namespace: str, services: dict[str, str]) -> dict[str, VersionStatistics]:
    """The statistics of each version, from the texts of all the gateway's replicas.

    Args:
        services: the name of a predictor's Service to its version.
    """
    counts = {version: Counts() for version in services.values()}
    for text in texts:
        for name, service, labels, value in _of_clusters(text, namespace):
            if service in services:
                _add(counts[services[service]], name, labels, value)
    return {version: found.statistics() for version, found in counts.items()}


def _of_clusters(text: str, namespace: str) -> Iterator[tuple[str, str, dict[str, str], int]]:
    """``upstream_rq...``, the Service, labels and value of each line that is of a Service's HTTP port."""
    for line in text.splitlines():
        if _CLUSTER not in line or not (found := _LINE.match(line)):
            continue
        metric, labels = found[1], dict(_LABEL.findall(found[2]))
        cluster = labels.get("envoy_cluster_name") or labels.get("cluster_name") or ""
        service, _, rest = cluster.rpartition("|")[2].partition(".")
        at = metric.find("upstream_rq")
        # An Envoy that was not told how Istio names clusters takes what follows the first dot for a part of the metric's name.
        place = rest or metric[:at].removeprefix("envoy_cluster_").replace("_", ".")
        # Requests are counted again by whether they came from inside: ``internal_upstream_rq_...``.
        again = metric[:at].endswith(("internal_", "external_"))
        if at >= 0 and not again and place.startswith(f"{namespace.replace('-', '.') if not rest else namespace}.svc"):
            yield metric[at:], service, labels, int(float(found[3]))


def _add(counts: Counts, name: str, labels: dict[str, str], value: int) -> None:
    code_class = labels.get("envoy_response_code_class") or labels.get("response_code_class") or ""
    match name:
        case "upstream_rq_completed":
            counts.requests += value
        # With Istio's names nothing of the code is left in the metric's.
        case "upstream_rq_xx" | "upstream_rq" if code_class[:1] == "5":
            counts.errors += value
        case "upstream_rq_active":
            counts.active += value
        case "upstream_rq_time_bucket":
            bound = float(labels["le"])
            counts.below[bound] = counts.below.get(bound, 0) + value
