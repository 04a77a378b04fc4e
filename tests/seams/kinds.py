"""The servings that the seam's suites run over. A new one is a class here: what its promises are tested with, besides itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from served import Supervisor
from served import refer as refer_to_file

from tradewind.contract import ArtifactRef
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing
from tradewind.serving.local.files import State
from tradewind.serving.seldon.desired import deployment_name
from tradewind.serving.seldon.statistics import Gateway


class Kind(Protocol):
    """One serving, up."""

    serving: Serving

    def refer(self, folder: Path) -> ArtifactRef:
        """A model as the serving finds it."""
        ...

    def blind(self, gone: bool) -> None:
        """Takes the counts of requests away, and gives them back."""
        ...

    def write_record(self, target: str, text: str | None) -> None:
        """Spoils by hand what is kept of a target's rollout; None: takes it away."""
        ...


class Local:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        supervisor: Supervisor = request.getfixturevalue("supervisor")
        self.folder = supervisor.folder
        self.serving: Serving = LocalServing(folder=self.folder)
        self.refer = refer_to_file

    def blind(self, gone: bool) -> None:
        """The proxy's administration does not answer."""
        socket = Path(State.read(self.folder).runtime) / "admin.sock"
        away = socket.with_name("away")
        if gone:
            socket.rename(away)
            time.sleep(6)  # until connections that are kept alive have ended
        elif away.exists():
            away.rename(socket)

    def write_record(self, target: str, text: str | None) -> None:
        file = self.folder / "records" / f"{target}.json"
        if text is None:
            file.unlink()
        else:
            file.write_text(text)


class Seldon:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.place = request.getfixturevalue("seldon")
        self.serving: Any = self.place.serving()
        self.refer = self.place.refer
        self._counts = self.serving._statistics

    def blind(self, gone: bool) -> None:
        """Nobody listens where the gateway's statistics should be."""
        self.serving._statistics = Gateway("http://127.0.0.1:9/stats/prometheus") if gone else self._counts

    def write_record(self, target: str, text: str | None) -> None:
        path = self.place.path("configmaps", f"tradewind-rollout-{deployment_name(target)}")
        self.place.kube.ask("PATCH", path, {"data": {"record.json": text}})


KINDS: dict[str, Callable[[pytest.FixtureRequest], Kind]] = {"local": Local, "seldon": Seldon}
MARKS = {"seldon": pytest.mark.seldon}  # of what needs more than this machine
