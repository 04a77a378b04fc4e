"""Rules and dashboard in the chart: what it makes of them, and what Prometheus's own tool says to them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_server import DASHBOARD, RULES, program
from rendering import Rendered

Render = Callable[..., Rendered]
ON = 'monitoring: {enabled: true, ruleLabels: {release: prometheus}, dashboardLabels: {mine: "yes"}}'


def test_nothing_of_it_is_there_by_default(render: Render) -> None:
    assert render().of("PrometheusRule") == []
    assert "dashboard" not in render().text


def test_the_objects_hold_the_files_as_they_are(render: Render) -> None:
    rendered = render(ON)
    rules = rendered.one("PrometheusRule", "tradewind-rollout")
    assert rules["spec"] == yaml.safe_load(RULES.read_text())
    dashboard = rendered.one("ConfigMap", "tradewind-dashboard")
    assert json.loads(dashboard["data"]["tradewind-rollout.json"]) == json.loads(DASHBOARD.read_text())
    assert (rules["metadata"]["labels"]["release"], dashboard["metadata"]["labels"]["mine"]) == ("prometheus", "yes")
    assert rules["metadata"]["namespace"] == dashboard["metadata"]["namespace"] == "airflow"


def test_each_alert_says_what_and_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    assert set(alerts) == {"TradewindVersionErrors", "TradewindVersionSlow", "TradewindRolloutHangs", "TradewindTargetFails"}
    for name, alert in alerts.items():
        assert "$labels.target" in alert["annotations"]["summary"] and "for" in alert, name
        assert "rollback MODEL" in alert["annotations"]["description"], name


@pytest.mark.cluster
def test_series_in_alerts_out(tmp_path: Path) -> None:
    """`rules_test.yaml`: each alert fires where it should, and keeps silent where it should."""
    for file in (RULES, Path(__file__).with_name("rules_test.yaml")):
        shutil.copy(file, tmp_path)
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run([program("promtool"), *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
