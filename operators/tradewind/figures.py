"""A step's result in a few words: for the terminal, and for the pages in Airflow's UI."""

from __future__ import annotations

from typing import Any

from tradewind.rules import parse_rules

_SCORES = ("auc", "accuracy", "r2", "rmse")


def key_figure(metrics: dict[str, Any]) -> str:
    """What one line can say of a task's result, whichever task it is; empty where nothing is known to be worth saying."""
    if "rows_quarantined" in metrics:
        share = f" ({metrics['quarantined_share']:.2%})" if "quarantined_share" in metrics else ""
        return f"{metrics['rows_checked']:,} rows checked, {metrics['rows_quarantined']:,} quarantined{share}"
    if "drifted" in metrics:
        furthest = next((f": {column['column']} psi {column['psi']:.2f}" for column in metrics["columns"] if "psi" in column), "")
        return f"{metrics['verdict']}{furthest}"
    if "columns" in metrics:
        return f"{metrics['rows']:,} rows, {metrics['columns']} columns"
    if "challenger" in metrics:
        name = gate_metric(metrics)
        champion = f", champion {metrics['champion'][name]:.4f}" if metrics.get("champion") else ""
        return f"{metrics['verdict']}: {name} {metrics['challenger'][name]:.4f}{champion}"
    if "mlflow_run_id" in metrics:
        score = next((f", {name} {metrics[name]:.4f}" for name in _SCORES if isinstance(metrics.get(name), float)), "")
        return f"{metrics['rows_train']:,} rows on {metrics['device']}{score}"
    if "endpoint_url" in metrics:
        return f"version {metrics['version']} serves" + ("" if metrics["changed"] else ", as before")
    if "disagreement" in metrics:
        return f"replay {metrics['verdict']}"
    if "phase" in metrics:
        return f"version {metrics['version']}: {metrics['phase'].replace('_', ' ')}"
    if "version" in metrics:
        return f"version {metrics['version']}, {metrics['alias']}"
    return ""


def gate_metric(gate: dict[str, Any]) -> str:
    """The metric that a gate's first rule is about."""
    return parse_rules([gate["rules"][0]["rule"]])[0].metric
