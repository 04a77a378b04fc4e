"""What the tests of train and evaluate share: tables, an MLflow database, and many steps in one process."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tradewind.contract import ArtifactRef, StepSpec
from tradewind.packaging import bundle
from tradewind.runtimes.environments import Environments
from tradewind.store import Store, as_uri

HERE = Path(__file__).parent
TEMPLATE = HERE.parents[1] / "dags" / "flight_delay"
FLIGHTS = {"label": "late", "time_column": "time_hour", "holdout": 0.25}


def call(python: Path, script: str, *arguments: str, **environment: str) -> Any:
    """The last line that a script prints, as JSON. All it prints is printed, for pytest to show."""
    done = subprocess.run(
        [python, HERE / script, *arguments],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class Learning:
    """Collects steps, then runs them all in one process of the train environment.

    Attributes:
        folder: holds the tables and the MLflow database; the steps' store is in it.
    """

    folder: Path
    environments: Environments
    _specs: dict[str, StepSpec] = field(default_factory=dict)

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def python(self) -> Path:
        return self.environments.python("train")

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    def table(self, name: str) -> ArtifactRef:
        """A table's reference; the hash is of its name."""
        return ArtifactRef(uri=as_uri(str(self.folder / name)), sha256=f"{name:0<64}", size=1, kind="dataset")

    def train(self, name: str, body: str | Path, table: str, params: dict[str, Any], **fields: Any) -> None:
        """Plan a training; ``body`` is the text of a module with ``train(dataset, params)``, or a pipeline's folder."""
        module = "train"
        if isinstance(body, str):
            module = f"user_{name}"
            code = self.folder / "code" / name
            code.mkdir(parents=True)
            (code / f"{module}.py").write_text(body)
            body = code
        fields = {"resources": {"cpu": 2}, "tracking_uri": self.tracking_uri, **fields}
        self._add(
            name,
            "train",
            {"params": {}, "experiment": name, **params},
            {"dataset": self.table(table)},
            body,
            f"{module}:train",
            fields,
        )

    def evaluate(
        self,
        name: str,
        model: str | ArtifactRef,
        table: str,
        champion: str | ArtifactRef | None = None,
        *,
        reference: str | None = None,
        **params: Any,
    ) -> None:
        """Plan an evaluation of a model, or of a planned training's; ``reference`` is the table of the champion's training."""
        inputs = {"model": self.model(model) if isinstance(model, str) else model, "dataset": self.table(table)}
        if champion:
            inputs["champion"] = self.model(champion) if isinstance(champion, str) else champion
        if reference:
            inputs["reference"] = self.table(reference)
        self._add(
            name,
            "evaluate",
            {"rules": [], "min_rows": 100, "reference_as_of": None, **params},
            inputs,
            None,
            None,
            {"resources": {"cpu": 2}},
        )

    def drift(self, name: str, table: str, reference: str | None = None, **params: Any) -> None:
        """Plan a drift check of a table against another."""
        inputs = {"dataset": self.table(table), **({"reference": self.table(reference)} if reference else {})}
        asked = {"rules": ["psi <= 0.25"], "exclude": [], "min_rows": 200, "name": "late", "champion_version": "3", **params}
        self._add(name, "drift", asked, inputs, None, None, {"as_of": asked.pop("as_of", None)})

    def model(self, name: str) -> ArtifactRef:
        """The model that a planned training will leave."""
        return ArtifactRef(uri=f"{self._outputs(name)}/model", sha256=f"{name:0<64}", size=1, kind="model")

    def run(self, *, gpus: int = 0) -> dict[str, dict[str, Any]]:
        """What came of each step, by name; see learning_probe.py. No machine has a GPU here.

        Args:
            gpus: that CUDA's driver is said to see all the same.
        """
        specs = self.folder / "specs.json"
        specs.write_text(json.dumps([spec.to_json() for spec in self._specs.values()]))
        return dict(
            zip(self._specs, call(self.python, "learning_probe.py", str(specs), str(gpus), CUDA_VISIBLE_DEVICES=""), strict=True)
        )

    def _outputs(self, name: str) -> str:
        return self.store.run_uri("test", "run", name, -1, 1)

    def _add(
        self,
        name: str,
        step: str,
        params: dict[str, Any],
        inputs: dict[str, ArtifactRef],
        code: Path | None,
        entry_point: str | None,
        fields: dict[str, Any],
    ) -> None:
        assert name not in self._specs
        self._specs[name] = StepSpec(
            step=step, dag_id="test", run_id=f"run {name}", task_id=name, map_index=-1, params=params, inputs=inputs,
            code=bundle(code, self.store) if code else None, entry_point=entry_point, image="train",
            outputs_uri=self._outputs(name), store_uri=self.store.root, **{"try_number": 1, **fields},
        )  # fmt: skip


def make_tables(folder: Path, environments: Environments) -> Path:
    call(environments.python("train"), "learning_tables.py", str(folder))
    return folder
