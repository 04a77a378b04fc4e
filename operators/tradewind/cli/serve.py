"""``tradewind serve``: the supervisor that owns the local model servers, in the foreground."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer


def serve(
    home: Annotated[Path, typer.Option(help="The folder that holds all that Tradewind keeps: uses `serving` and `envs` in it.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The endpoint's port on 127.0.0.1; 0: the one of last time, or any free one.")
    ] = 0,
) -> None:
    """Serve models on this machine until Ctrl-C: one MLServer a version, behind one Envoy."""
    from tradewind.runtimes.environments import Environments
    from tradewind.serving.local.control import run

    def say(line: str) -> None:
        sys.stdout.write(f"{datetime.now():%H:%M:%S} {line}\n")
        sys.stdout.flush()

    environments = Environments(home.absolute() / "envs")

    def pythons(image: str) -> Path:
        return environments.python(image, say)

    run(folder=home.absolute() / "serving", pythons=pythons, port=port, say=say)
