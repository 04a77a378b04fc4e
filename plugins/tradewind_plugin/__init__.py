"""Tradewind's pages in Airflow's UI.

Airflow imports this module in every one of its processes, so it names things and imports nothing heavy; only the API
server reads `TradewindPlugin.fastapi_apps`, and only then is the web application built. The plugin is found through
its entry point; in the plugins folder as well it would be found twice, which Airflow reports as an import error.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "tradewind"
_RUN = f"{PREFIX}/dags/{{DAG_ID}}/runs/{{RUN_ID}}"


class TradewindPlugin(AirflowPlugin):
    """Reports of steps, shown in Airflow behind Airflow's own login."""

    name = "tradewind"

    external_views = [  # noqa: RUF012
        {
            "name": "Report",
            "href": f"{_RUN}/tasks/{{TASK_ID}}/{{MAP_INDEX}}/report",
            "destination": "task_instance",
            "url_route": "tradewind-report",
        },
        {
            "name": "Reports",
            "href": f"{_RUN}/reports",
            "destination": "dag_run",
            "url_route": "tradewind-reports",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        from tradewind_plugin.app import create_app

        return [{"app": create_app(), "url_prefix": f"/{PREFIX}", "name": "Tradewind"}]
