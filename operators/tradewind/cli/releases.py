"""``tradewind releases``, and a person's word on a rollout: ``promote``, ``hold``, ``resume``, ``rollback``."""

from __future__ import annotations

import getpass
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tradewind.cli import embedded
from tradewind.registry import Registry
from tradewind.rollout.driver import Driver
from tradewind.rollout.hands import decide, driver, roll_back
from tradewind.rollout.record import Order, Record
from tradewind.settings import Settings

Name = Annotated[str, typer.Argument(help="The registered model.")]
Reason = Annotated[str, typer.Option(help="Why: it stays in the release record.")]
Home = Annotated[
    Path | None, typer.Option(help="An embedded environment's folder; by default what Airflow's configuration names.")
]

_WIDTH = 80

console = Console(soft_wrap=True)


def releases(name: Name, home: Home = None) -> None:
    """Which version of a model served when, and why."""
    with Registry.of(_settings(home)) as registry:
        found = registry.releases(name)
    if not found:
        console.print(f"Nothing was ever released as {name}", highlight=False)
        return
    for release in found:
        for line in _lines(release):
            console.print(line, highlight=False, markup=False)


def _lines(release: dict[str, Any]) -> list[str]:
    """A record for a terminal of 80 columns: what happened, below it who and why; long reasons wrap."""
    when = f"{datetime.fromtimestamp(release['at'], UTC):%Y-%m-%d %H:%M:%S} UTC"
    version, serves, before = release["version"], release["serves"], release["before"]
    if release["outcome"] == "released":
        what = f"released version {version}, " + (f"in place of {before}" if before else "the first")
    else:
        what = f"{release['outcome']} version {version}, " + (f"{serves} serves" if serves else "nothing serves")
    why = release["reason"] or release["why"]
    who = f"by {release['by']}" + (f": {why}" if why else "")
    words = [f"approved by {release['approved_by']}: {release['approved_why']}"] if release.get("approved_by") else []
    words += [f"{o['do'].replace('_', ' ')} by {o['by']}: {o['why']}" for o in release.get("orders", [])]
    below = [who, *(word for word in words if word not in why)]
    indent = " " * 4
    wrapped = [line for text in below for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)]
    return [f"{when}  {what}", *wrapped]


def promote(name: Name, reason: Reason, home: Home = None) -> None:
    """Give all requests to the version that is rolled out, now."""
    _decide(name, "promote", reason, home)


def hold(name: Name, reason: Reason, home: Home = None) -> None:
    """Keep the canary where it is, until somebody decides."""
    _decide(name, "hold", reason, home)


def resume(name: Name, reason: Reason, home: Home = None) -> None:
    """Let a held rollout go on."""
    _decide(name, "resume", reason, home)


def rollback(
    name: Name,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="The version; by default the one that served before.")] = None,
    home: Home = None,
) -> None:
    """Take a rollout back, or, where none is under way, let the version before serve again."""
    with _hands(name, home) as hands:
        _show(roll_back(hands, name, to=to, by=getpass.getuser(), why=reason))


def _decide(name: str, do: Order, reason: str, home: Path | None) -> None:
    with _hands(name, home) as hands:
        _show(decide(hands, do, by=getpass.getuser(), why=reason))


@contextmanager
def _hands(name: str, home: Path | None) -> Iterator[Driver]:
    with driver(name, settings=_settings(home), holder=f"{getpass.getuser()}, by hand", say=_say) as hands:
        yield hands


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False)


def _show(record: Record) -> None:
    serves = record.stable if record.phase in ("rolled_back", "roll_back") else record.version
    if record.phase == "rolled_back":
        _say(f"The rollout of {record.target} version {record.version} was taken back")
    if record.ended:
        champion = " and is the champion" if record.phase == "done" or record.champion == serves else ""
        _say(f"{record.target} version {serves} serves{champion}" if serves else f"Nothing serves as {record.target}")
    else:
        _say(f"The rollout of {record.target} version {record.version} is in phase {record.phase}")
    if record.order:
        _say("Your order waits: it is taken up as soon as what is under way there has ended")


def _settings(home: Path | None) -> Settings:
    return embedded.settings(home.absolute()) if home else Settings.load()
