"""Sweeps for tests: one store and one MLflow for several of them, each a process of the train environment."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learning import FLIGHTS, Learning

from tradewind.cache import fingerprint
from tradewind.contract import LIFELINE_VARIABLE, SPEC_VARIABLE, StepManifest, StepSpec, digest
from tradewind.packaging import bundle
from tradewind.sweep.study import Search

SPACE = {"depth": [1, 2, 3, 4], "rate": {"low": 0.01, "high": 1.0, "log": True}}


@dataclass
class Sweeps:
    """Runs sweeps over the flights of `Learning`, all in its store."""

    learning: Learning
    _count: int = 0
    _bodies: dict[str, Path] = field(default_factory=dict)

    def run(self, body: str, **asked: Any) -> StepManifest:
        """A sweep to its end; see `spec`."""
        return self.finish(self.start(self.spec(body, **asked)))

    def start(self, spec: StepSpec) -> tuple[StepSpec, subprocess.Popen[str]]:
        environment = {**os.environ, SPEC_VARIABLE: self.learning.store.put_spec(spec), LIFELINE_VARIABLE: "1"}
        return spec, subprocess.Popen(
            [self.learning.python, "-m", "tradewind_steps"], env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def finish(self, started: tuple[StepSpec, subprocess.Popen[str]]) -> StepManifest:
        spec, process = started
        assert process.stdout
        said = process.stdout.read()  # not `communicate`, which closes what the step lives by
        process.wait()
        print(said)
        assert process.returncode in (0, 1), said
        return self.learning.store.get_manifest(f"{spec.outputs_uri}/manifest.json")

    def spec(self, body: str, *, train: dict[str, Any] | None = None, try_number: int = 1, **asked: Any) -> StepSpec:
        """A sweep's spec.

        Args:
            body: the text of a module with ``train(dataset, params)``.
            train: the trainings' arguments.
            asked: the search's, and the sweep's.
        """
        self._count += 1
        outer = {"metric": "auc", "rules": [], "max_failed": 0.25, "identity": identity(body), "parallel": 2}
        outer |= {name: asked.pop(name) for name in list(asked) if name in outer}
        search = {"space": SPACE, "trials": 6, "sampler": "random", "seed": 0, "batch": 4, "pruner": None, "warm_up": 0, **asked}
        run_id = str(asked.pop("run_id", self._count))
        search.pop("run_id", None)
        store = self.learning.store
        return StepSpec(
            step="sweep", dag_id="test", run_id=run_id, task_id="sweep", map_index=-1, try_number=try_number,
            params={"train": self.train_params(**(train or {})), "search": Search.of(**search).to_dict(), **outer},
            inputs={"dataset": self.learning.table("flights")}, code=bundle(self._folder(body), store), entry_point="train:train",
            image="train", outputs_uri=store.new_try("test", run_id, "sweep", -1, try_number), store_uri=store.root,
            tracking_uri=self.learning.tracking_uri, resources={"cpu": 2, "device": "cpu"}, fingerprint="f" * 64,
        )  # fmt: skip

    def train_params(self, **changed: Any) -> dict[str, Any]:
        base = {"params": {"kept": 1}, "exclude": ["carrier", "engine"], "task": None, "experiment": "sweep"}
        return {**FLIGHTS, **base, **changed}

    def training(self, sweep: StepSpec, point: dict[str, Any]) -> StepSpec:
        """The spec of a training with a trial's hyperparameters, as `TrainModelOperator` writes it."""
        params = self.train_params(params={"kept": 1, **point})
        key = fingerprint(step="train", params=params, inputs=sweep.inputs, as_of=None, **sweep.params["identity"])
        store = self.learning.store
        self._count += 1
        uri = store.new_try("test", str(self._count), "train", -1, 1)
        return dataclasses.replace(sweep, step="train", params=params, fingerprint=key, outputs_uri=uri)

    def study(self, manifest: StepManifest) -> list[dict[str, Any]]:
        """The trials of a sweep that has ended."""
        trials: list[dict[str, Any]] = json.loads(self.learning.store.read(manifest.outputs["study"].uri))["trials"]
        return trials

    def _folder(self, body: str) -> Path:
        if body not in self._bodies:
            folder = self._bodies[body] = self.learning.folder / "sweeps" / str(len(self._bodies))
            folder.mkdir(parents=True)
            (folder / "train.py").write_text(body)
        return self._bodies[body]


def identity(body: str) -> dict[str, str]:
    """What the operator says of the trainings that is in no argument."""
    return {"code": digest(body), "environment": "e", "device": "cpu"}
