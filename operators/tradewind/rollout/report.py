"""A rollout as one page: what happened when, and what the versions did with the requests."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from tradewind.contract import ArtifactRef, StepManifest
from tradewind.rollout.analysis import quantile
from tradewind.rollout.record import Record
from tradewind.store import Store

_SHOWN_SAMPLES = 60


def leave_report(store: Store, folder: str, record: Record) -> None:
    """Put the page, and the replay's, into a try's folder, where Airflow's pages find a task instance's reports."""
    outputs = {"report": store.put_content("rollout.html", page(record).encode(), "report")}
    if record.replay and "report" in record.replay:
        outputs["replay"] = ArtifactRef.from_dict(record.replay["report"])
    manifest = StepManifest(
        status="success" if record.phase == "done" else "failed",
        fingerprint=None,
        outputs=outputs,
        metrics={"phase": record.phase, "version": record.version, "reason": record.reason},
        started_at=_iso(record.started_at),
        ended_at=_iso(record.updated_at),
    )
    store.put_manifest(folder, manifest)


def page(record: Record) -> str:
    """The HTML; whatever comes from data is escaped."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("tradewind.rollout").joinpath("report.html.j2").read_text())
    return template.render(
        record=record,
        outcome={"done": "RELEASED", "rolled_back": "ROLLED BACK"}.get(record.phase, record.phase.upper()),
        events=[{**event, "at": _clock(event["at"])} for event in record.events],
        versions=[_version(record, version) for version in (record.version, record.stable) if version],
        samples=[_sample(sample, record) for sample in record.samples[-_SHOWN_SAMPLES:]],
        limit=1 / record.spec.alpha,
    )


def _version(record: Record, version: str) -> dict[str, Any]:
    traffic = record.of(version)
    return {
        "name": version,
        "role": "wants to serve" if version == record.version else "served before",
        "requests": traffic.requests,
        "errors": traffic.errors,
        "share": f"{traffic.errors / traffic.requests:.2%}" if traffic.requests else "–",  # noqa: RUF001
        **{name: quantile(traffic.latency, q) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))},
    }


def _sample(sample: dict[str, Any], record: Record) -> dict[str, Any]:
    """With the width of a bar: how far the evidence has come, on a logarithmic scale from 1 to the limit."""
    evidence = max(1.0, float(sample["evidence"]))
    width = min(1.0, math.log(evidence) / math.log(1 / record.spec.alpha))
    return {**sample, "at": _clock(sample["at"]), "width": round(100 * width)}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
