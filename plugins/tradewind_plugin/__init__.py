"""Tradewind's pages in Airflow's UI.

Airflow imports this module in every one of its processes, so it names things and imports nothing heavy; only the API
server reads `TradewindPlugin.fastapi_apps`, and only then is the web application built. The plugin is found through
its entry point; in the plugins folder as well it would be found twice, which Airflow reports as an import error.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "tradewind"
_PAGES = f"{PREFIX}/static/main.js"


def _page(name: str, destination: str, url_route: str) -> dict[str, Any]:
    """Airflow runs ``globalThis[name]`` of the bundle, so a name must be no browser's own (``Report`` is one)."""
    return {"name": name, "bundle_url": _PAGES, "destination": destination, "url_route": url_route}


class TradewindPlugin(AirflowPlugin):
    """Pipelines, runs, results and releases, shown in Airflow behind Airflow's own login."""

    name = "tradewind"

    react_apps = [  # noqa: RUF012
        {**_page("Tradewind", "nav", "tradewind"), "nav_top_level": True, "icon": f"{PREFIX}/static/icon.svg"},
        _page("Chain", "dag_run", "tradewind-chain"),
        _page("Result", "task_instance", "tradewind-result"),
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from tradewind_plugin.app import create_app

        return [{"app": create_app(), "url_prefix": f"/{PREFIX}", "name": "Tradewind"}]
