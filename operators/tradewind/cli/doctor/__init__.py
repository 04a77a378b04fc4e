"""``tradewind doctor``: whether this deployment works, asked of its parts themselves, as Airflow's scheduler sees them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tradewind.cli import embedded
from tradewind.cli.doctor import result, shared
from tradewind.cli.doctor.result import Check, Result, skipped
from tradewind.cli.kube import CONNECTION, quiet_airflow
from tradewind.errors import SpecError
from tradewind.settings import SECTION, Settings

console = Console(soft_wrap=True, highlight=False)
_COLOURS = {"pass": "green", "fail": "bold red", "skipped": "yellow"}


def doctor(
    home: Annotated[
        Path | None, typer.Option(help="An embedded environment's folder; by default what Airflow's configuration names.")
    ] = None,
    conn_id: Annotated[
        str, typer.Option("--kubernetes-conn-id", help="Airflow's connection to the cluster that steps run in.")
    ] = CONNECTION,
    pods: Annotated[
        bool, typer.Option("--pods", help="Also start a small pod of each image, which uses the store and MLflow from inside.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines: a list of name, state, detail and fix.")] = False,
) -> None:
    """Check the parts of this deployment; says what to do about each that fails. Exit code 0: none failed.

    Run it where Airflow's scheduler runs, with its environment: what that one reaches and may do is what counts. All that it
    writes it removes again. A line is skipped where the part is not used, or may not be looked at.
    """
    quiet_airflow()
    found: list[Result] = []
    for line in _results(home, conn_id, pods):
        found.append(line)
        if not json_:
            _show(line)
    counts = Counter(line.state for line in found)
    if json_:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in found], indent=2))
    else:
        console.print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} skipped")
    if counts["fail"]:
        raise typer.Exit(1)


def _results(home: Path | None, conn_id: str, pods: bool) -> Iterator[Result]:
    first = Check(name="settings", look=lambda: _settings_lines(home), limit_s=60, needed=True)
    if (yield from _all([first])):
        yield from _all(_checks(_settings(home), conn_id, pods))


def _all(checks: list[Check]) -> Generator[Result, None, bool]:
    """The checks' lines, up to one that fails and that the others need; False then."""
    for number, check in enumerate(checks):
        well = True
        for line in result.run(check):
            well = well and line.state != "fail"
            yield line
        if check.needed and not well:
            left = ", ".join(after.name for after in checks[number + 1 :]) or "everything else"
            yield skipped(left, f"cannot be looked at: {check.name} failed")
            return False
    return True


def _settings_lines(home: Path | None) -> Iterator[Result]:
    if home:
        yield result.passed("settings", f"those of the embedded environment in {_settings(home).home}")
        return
    from airflow.configuration import conf

    yield from shared.wrong_settings(lambda option: conf.get(SECTION, option, fallback=None))


def _settings(home: Path | None) -> Settings:
    if not home:
        return Settings.load()
    home = home.absolute()
    return dataclasses.replace(embedded.settings(home), airflow_url=embedded.Addresses.read(home).airflow)


def _checks(settings: Settings, conn_id: str, pods: bool) -> list[Check]:
    """What to look at, in the order in which one thing needs another."""
    from tradewind.cli.doctor import machine

    if settings.runtime == "local":
        if pods:
            raise SpecError(f"--pods: expected [{SECTION}] runtime = kubernetes, got {settings.runtime!r}: here no step is a pod")
        own = machine.checks(settings)
        return [*own[:4], *shared.checks(settings), *own[4:]]
    from tradewind.cli.doctor import cluster

    here = {check.name: check for check in machine.checks(settings)}
    of_cluster = cluster.checks(settings, conn_id, with_pods=pods)
    return [here["Python"], *shared.checks(settings), here["serving"], *of_cluster]


def _show(line: Result) -> None:
    console.print(f"[{_COLOURS[line.state]}]{line.state:7}[/]", end=" ")
    console.print(f"{line.name}: {line.detail}", markup=False)
    if line.fix:
        console.print(f"        -> {line.fix}", markup=False)
