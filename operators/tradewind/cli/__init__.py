"""The command ``tradewind``."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from tradewind.cli.demo import demo
from tradewind.cli.doctor import doctor
from tradewind.cli.gc import gc
from tradewind.cli.init import init
from tradewind.cli.reap import reap
from tradewind.cli.releases import hold, promote, releases, resume, rollback
from tradewind.cli.serve import serve
from tradewind.errors import TradewindError

app = typer.Typer(help="End-to-end machine learning on Airflow.", no_args_is_help=True, pretty_exceptions_show_locals=False)
app.command()(init)
app.command()(demo)
app.command()(serve)
app.command()(gc)
app.command()(doctor)
app.command()(reap)
for command in (releases, promote, hold, resume, rollback):
    app.command()(command)


def main() -> None:
    """The command; an error of ours is a sentence and exit code 1, not a stack."""
    try:
        app()
    except TradewindError as error:
        console = Console(stderr=True)
        console.print(f"[bold red]{type(error).__name__}[/]", end=": ")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
