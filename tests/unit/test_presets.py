"""What Prometheus is asked for a version's counts, and what is made of its answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.serving import metrics_for
from tradewind.serving.local.process import free_port
from tradewind.serving.seldon.presets import PRESETS, Preset, query, read
from tradewind.serving.seldon.prometheus import Prometheus
from tradewind.serving.seldon.statistics import Gateway
from tradewind.settings import STATISTICS, Settings

ENVOY = PRESETS["envoy"]


def settings(**options: str) -> Settings:
    return Settings.read({"serving": "seldon", "serving_statistics": "http://prometheus:9090/", **options}.get)


def series(what: str, value: str, **labels: str) -> dict[str, Any]:
    return {"metric": {"is": what, **labels}, "value": [1795704537.1, value]}


def test_each_setting_has_a_source_and_the_gateway_is_the_default() -> None:
    assert set(PRESETS) == set(STATISTICS) - {"gateway"}
    assert isinstance(metrics_for(settings()), Gateway)
    for name in PRESETS:
        assert isinstance(metrics_for(settings(serving_statistics_by=name)), Prometheus)
    with pytest.raises(SpecError, match=r"serving_statistics_by.*expected one of: gateway, envoy.*'datadog'"):
        settings(serving_statistics_by="datadog")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_one_query_asks_for_all_versions_and_all_counts(preset: Preset) -> None:
    asked = query(preset, namespace="models", deployment="m", predictors=["v1", "v2"])
    parts = ["requests", "errors", *(["active"] if preset.active else []), "below"]
    assert re.findall(r'"is", "(\w+ \d)"', asked) == [f"{part} {number}" for number in (0, 1) for part in parts]
    assert "$" not in asked and asked.count("{") == asked.count("}") == 2 * len(parts)


def test_a_name_stays_inside_its_quotes_and_matches_only_itself() -> None:
    evil = 'm"} or vector(1) #\\\n.*'
    asked = query(PRESETS["executor"], namespace=evil, deployment=evil, predictors=[evil, "$service"])
    found = re.findall(r'(?:namespace|deployment_name)=~"((?:\\.|[^"\\])*)"', asked)
    assert len(found) == 12
    for text in found:
        pattern = text.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
        assert re.fullmatch(pattern, evil) and not re.fullmatch(pattern, evil.replace(".*", "xyz"))
    outside = re.sub(r'"(?:\\.|[^"\\\n])*"', "", asked)
    assert not re.search(r"vector|#|\"|\$", outside)


def test_a_version_without_series_counts_nothing() -> None:
    answer = [
        series("requests 1", "45"), series("errors 1", "8"), series("active 1", "2"), series("below 1", "10", le="5"),
        series("below 1", "20", le="10"), series("below 1", "20", le="+Inf"),
    ]  # fmt: skip
    none, found = (counts.statistics() for counts in read(ENVOY, answer, predictors=["v1", "v2"]))
    assert (none.requests, none.errors, none.latency_ms, none.latency) == (0, 0, {}, {})
    assert (found.requests, found.errors, found.active, found.latency) == (45, 8, 2, {"0": 10, "5": 10})
    assert (found.latency_ms["50"], found.latency_ms["95"]) == (5.0, 9.5)


def test_seconds_become_milliseconds() -> None:
    answer = [series("below 0", "1", le="0.005"), series("below 0", "4", le="0.075"), series("below 0", "4", le="+Inf")]
    (found,) = read(PRESETS["executor"], answer, predictors=["v1"])
    assert found.statistics().latency == {"0": 1, "5": 3}


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_what_is_no_count_is_not_taken_for_one(value: str) -> None:
    with pytest.raises(ValueError, match="requests of v2: expected a count"):
        read(ENVOY, [series("requests 1", value)], predictors=["v1", "v2"])


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    prometheus = Prometheus(url=url, preset=ENVOY)
    with pytest.raises(RuntimeUnavailable, match=f"Prometheus at {url} cannot be asked: "):
        prometheus.read("models", "m", {"1": "v1"})
    with pytest.raises(RuntimeUnavailable, match=f"Prometheus at {url} cannot be asked: "):
        prometheus.look()
