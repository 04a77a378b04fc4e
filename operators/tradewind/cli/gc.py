"""``tradewind gc``: free what nothing refers to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.cli import embedded
from tradewind.collect import collect
from tradewind.registry import Registry
from tradewind.settings import Settings
from tradewind.store import Store


def gc(
    keep_runs: Annotated[int, typer.Option(min=1, help="Runs of each Dag to keep, the newest.")] = 20,
    grace_hours: Annotated[float, typer.Option(min=0, help="Nothing younger is touched: a run may be about to use it.")] = 24,
    home: Annotated[
        Path | None, typer.Option(help="An embedded environment's folder; by default what Airflow's configuration names.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Free what neither a kept run nor a registered model version refers to."""
    settings = embedded.settings(home.absolute()) if home else Settings.load()
    with Registry.of(settings) as registry:
        held = registry.held_uris()
    freed = collect(Store(settings.store_uri), held=held, keep_runs=keep_runs, grace_s=grace_hours * 3600, dry_run=dry_run)
    typer.echo(f"{'Would free' if dry_run else 'Freed'} {freed.size / 1e6:,.1f} MB in {len(freed.uris)} places")
    for uri in freed.uris:
        typer.echo(f"  {uri}")
