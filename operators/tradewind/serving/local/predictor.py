"""The server of a version that is served by a class of its author's, in the environment of images/predictor."""

from __future__ import annotations

from pathlib import Path

from tradewind.contract import PREDICTOR
from tradewind.serving.local.files import write_json

IMAGE = "predictor"
NAME = "The predictor"  # in messages, with whose it is


def is_one(model: Path) -> bool:
    """Whether a model's folder says so."""
    return (model / PREDICTOR).is_file()


def command(python: Path, *, folder: Path, port: int, target: str, version: str, model: Path, fault: str | None) -> list[str]:
    """What starts the server; its settings are written to ``folder``."""
    settings = {
        "host": "127.0.0.1", "port": port, "name": target, "version": version, "model": str(model), "fault": fault,
    }  # fmt: skip
    write_json(folder / "settings.json", settings)
    return [str(python), "-m", "tradewind_steps.predictor.server", str(folder / "settings.json")]
