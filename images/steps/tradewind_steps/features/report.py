"""The profile as a page that needs no network: one line a column, the best predictor first, so that a leak stands on top."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_LONGEST = 40


def html(profile: dict[str, Any], warnings: list[str]) -> str:
    """The whole page; every value is escaped."""
    environment = Environment(loader=PackageLoader("tradewind_steps.features", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters["shown"] = _shown
    columns = sorted(profile["columns"].items(), key=lambda item: item[1].get("predicts") or 0, reverse=True)
    style = resources.files("tradewind_steps").joinpath("report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(profile=profile, columns=columns, warnings=warnings, style=style)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
