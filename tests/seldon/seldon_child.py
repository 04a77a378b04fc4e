"""Another process that carries a rollout on, to be killed: with an alias that outlives it, in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kubernetes import client, config
from seldon_place import Place
from served import Alias

from tradewind.contract import ArtifactRef
from tradewind.kube import Kube
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record
from tradewind.serving.base import Serving
from tradewind.store import Store


class FileAlias(Alias):
    """The champion's alias in a file, the models' references with it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        told = json.loads(file.read_text())
        self.models = {version: ArtifactRef.from_dict(model) for version, model in told["models"].items()}

    @property
    def champion(self) -> str | None:  # type: ignore[override]
        found: str | None = json.loads(self.file.read_text())["champion"]
        return found

    def promote(self, name: str, version: str) -> None:
        told = json.loads(self.file.read_text())
        other = self.file.with_suffix(".new")
        other.write_text(json.dumps({**told, "champion": version}))
        other.replace(self.file)

    def replay(self, serving: Serving, record: Record) -> dict[str, Any]:
        """The example's rows, asked of both for long enough to be killed meanwhile."""
        request = json.loads(self.file.read_text())["example"]
        for _ in range(20):
            for version in (record.version, record.stable):
                serving.infer(record.target, str(version), request)
        return {"verdict": "PASSED", "reasons": [], "rows": request["inputs"][0]["shape"][0]}


def driver(place: Place, alias: FileAlias, target: str) -> Driver:
    registry: Any = alias
    store, serving = Store(next(iter(alias.models.values())).uri), place.serving()
    return Driver(
        serving=serving, registry=registry, store=store, target=target, holder="test", lock_timeout_s=60,
        replay=lambda record: alias.replay(serving, record),
    )  # fmt: skip


def main(file: Path, target: str) -> None:
    config.load_kube_config()
    place = Place(kube=Kube.of(client.Configuration.get_default_copy()), s3=None, log=file)  # type: ignore[arg-type]
    driver(place, FileAlias(file), target).finish(poll_s=0.3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
