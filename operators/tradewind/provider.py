"""What Airflow is told about this package. It reads this in every process at start: nothing is imported but the settings."""

from __future__ import annotations

from typing import Any

from tradewind.settings import OPTIONS, SECTION


def get_provider_info() -> dict[str, Any]:
    """Provider metadata by Airflow's schema; found through the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-tradewind",
        "name": "Tradewind",
        "description": "End-to-end machine learning: validate, Spark features, train, gate, MLflow, rollout.",
        "extra-links": [
            "tradewind.operators.links.ReportLink",
            "tradewind.operators.links.RunLink",
            "tradewind.operators.links.VersionLink",
        ],
        "notifications": ["tradewind.notifications.WebhookNotifier"],
        "config": {
            SECTION: {
                "description": "Where Tradewind's steps run, where its artifacts and data lie, and which MLflow it uses.",
                "options": {
                    name: {
                        "description": f"{option.description}\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": option.example,
                        "default": option.default,
                        "sensitive": option.sensitive,
                    }
                    for name, option in OPTIONS.items()
                },
            }
        },
    }
