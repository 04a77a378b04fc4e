"""What the chart makes of values, as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts/tradewind"


class Rendered:
    """The objects that a release would have."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[dict[str, Any]] = [item for item in yaml.safe_load_all(text) if item]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = (item for item in self.of(kind) if item["metadata"]["name"] == name)
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """Specs of all pods, by the name of what makes them."""
        specs = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in self.of("Deployment")}
        jobs = {item["metadata"]["name"]: item["spec"]["jobTemplate"]["spec"]["template"]["spec"] for item in self.of("CronJob")}
        return specs | jobs
