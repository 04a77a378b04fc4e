"""``tradewind demo --canary-fault``: a bad version on its way to release, and proof that it is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tradewind.cli import embedded
from tradewind.cli.airflow_api import AirflowApi
from tradewind.cli.services import Services
from tradewind.cli.traffic import Traffic
from tradewind.cli.watch import failure, watch
from tradewind.errors import RolloutAborted
from tradewind.rollout.hands import driver, roll_back
from tradewind.rollout.record import Record
from tradewind.serving.local.client import LocalServing
from tradewind.testing.faults import next_version_is_bad


def drill(
    api: AirflowApi, services: Services, home: Path, dag: str, params: dict[str, Any], fault: str, console: Console
) -> dict[str, Any]:
    """Train another version, let it be bad on live requests, and see it rolled back.

    Returns:
        ``{"fault", "version", "champion", "reason", "canary_requests", "canary_errors", "champion_requests",
        "champion_errors", "answers", "seconds_to_detect", "seconds_to_zero"}``; the latter two from the canary's first
        request to the decision, and from there to its end.

    Raises:
        RolloutAborted: it was not rolled back, or the champion did not serve on.
    """
    traffic = Traffic.to_what_serves(home, dag)
    if traffic is None:
        raise RolloutAborted(f"Nothing serves as {dag}: there is no champion to compare a bad version with")
    console.print(f"A drill: the next version is a bad one ({fault}), under {traffic.rate} requests a second", highlight=False)
    with next_version_is_bad(home, dag, fault), traffic:
        ended = watch(api, services, dag, params, console, live_figures=lambda: progress(home, dag))
    record = read_record(home, dag)
    if record is None or record.by.split(" / ")[1] != ended.run_id:
        raise RolloutAborted(f"The drill's version was not rolled out. {failure(api, ended) if ended.state == 'failed' else ''}")
    figures = _figures(record, fault, traffic)
    if record.phase == "rolled_back" and not figures["champion_errors"] and traffic.ask() == record.stable:
        return figures
    if record.phase == "done":
        _restore(home, dag, fault)
    raise RolloutAborted(
        f"The drill failed: the bad version ({fault}) was expected to be rolled back, it ended as {record.phase}, after "
        f"{figures['canary_requests']} requests of which {figures['canary_errors']} failed; of the champion's "
        f"{figures['champion_requests']} {figures['champion_errors']} failed. Version {record.stable} serves again. A machine "
        "that is busy with other work can hide a latency: try again when it is quiet"
    )


def _restore(home: Path, dag: str, fault: str) -> None:
    """A drill never leaves its bad version behind."""
    with driver(dag, settings=embedded.settings(home), holder="the drill", say=lambda _: None) as hands:
        roll_back(hands, dag, by="the drill", why=f"it was a drill's version, bad by {fault}, and was not caught")


def read_record(home: Path, dag: str) -> Record | None:
    """The last rollout's record on the local serving."""
    found = LocalServing(folder=home / "serving").record(dag)
    return Record.from_dict(found) if found else None


def progress(home: Path, dag: str) -> dict[str, str]:
    """What the rollout under way can say of itself, by the task's id."""
    record = read_record(home, dag)
    if record is None or record.ended:
        return {}
    text = record.phase.replace("_", " ")
    if record.samples and record.phase in ("canary", "held"):
        sample = record.samples[-1]
        text += (
            f": {sample['weight']}% of the requests, {sample['canary'][0]} answered, {sample['canary'][1]} failed, "
            f"evidence {sample['evidence']:.3g} of {1 / record.spec.alpha:g}"
        )
    return {record.by.rsplit(" / ", 1)[-1]: text}


def show(figures: dict[str, Any], console: Console) -> None:
    """The drill on a terminal."""
    table = Table.grid(padding=(0, 2))
    lines = {
        "Drill": f"version {figures['version']} was bad ({figures['fault']}) and was rolled back",
        "Reason": figures["reason"],
        "Detected": f"{figures['seconds_to_detect']:.1f} s and {figures['canary_requests']} requests after its first; "
        f"{figures['seconds_to_zero']:.1f} s later it was gone",
        "Champion": f"version {figures['champion']} answered {figures['champion_requests']} requests meanwhile, "
        f"{figures['champion_errors']} failed",
    }
    for name, text in lines.items():
        table.add_row(f"[bold]{name}[/]", text)
    console.print(table, highlight=False)


def _figures(record: Record, fault: str, traffic: Traffic) -> dict[str, Any]:
    times = {event["phase"]: float(event["at"]) for event in reversed(record.events)}  # the first of each
    new, old = record.of(record.version), record.of(record.stable)
    decided = times.get("roll_back", record.updated_at)
    return {
        "fault": fault,
        "version": record.version,
        "champion": record.stable,
        "reason": record.reason,
        "canary_requests": new.requests,
        "canary_errors": new.errors,
        "champion_requests": old.requests,
        "champion_errors": old.errors,
        "answers": dict(traffic.answers),
        "seconds_to_detect": round(decided - times.get("canary", decided), 1),
        "seconds_to_zero": round(times.get("rolled_back", record.updated_at) - decided, 1),
    }
