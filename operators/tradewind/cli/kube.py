"""What the commands that talk to Kubernetes share: the API, and a quiet Airflow around it."""

from __future__ import annotations

import os

from tradewind.kube import CONNECTION, Forbidden, Kube

__all__ = ["CONNECTION", "Forbidden", "Kube", "quiet_airflow"]


def quiet_airflow() -> None:
    """Before Airflow is imported: on the standard output, where its own log would go, is ours, perhaps as JSON."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
