"""Training with PyTorch, for real, on the CPU: what the template leaves is evaluated and served where there is no PyTorch; a
killed training goes on; several processes learn one model.

Left out of ``make test``: the environment is 6.4 GB. ``make test-torch`` runs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from learning import FLIGHTS, Learning, call, make_tables
from live import linked_home

from tradewind.contract import StepManifest, StepSpec
from tradewind.errors import StepFailed
from tradewind.packaging import bundle
from tradewind.resources import data_path
from tradewind.runtimes.base import result
from tradewind.runtimes.environments import Environments
from tradewind.runtimes.local import LocalRuntime
from tradewind.store import Store

pytestmark = pytest.mark.torch
KEY = "d" * 64
FAILS = """
import os
def train(dataset, params):
    if os.environ["RANK"] == "1":
        {}
    import time
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Learning:
    return Learning(make_tables(tmp_path_factory.mktemp("torch"), environments), environments)


class Template:
    """The template's training on a small table of flights, in the embedded runtime."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.runtime = LocalRuntime(linked_home(learning.folder / "home", learning.environments))
        self.code = bundle(data_path("dags/flight_delay_net"), learning.store)

    def spec(self, run: str, **params: Any) -> StepSpec:
        store = self.learning.store
        return StepSpec(
            step="train", dag_id="net", run_id=run, task_id="train", map_index=-1, try_number=1,
            params={**FLIGHTS, "experiment": "net", "params": {"epochs": 6, "width": 32, "batch": 64, **params}},
            inputs={"dataset": self.learning.table("flights")}, code=self.code, entry_point="train:train", image="torch",
            outputs_uri=store.new_try("net", run, "train", -1, 1), store_uri=store.root, checkpoint=KEY,
            tracking_uri=self.learning.tracking_uri, resources={"cpu": 2, "device": "cpu"},
        )  # fmt: skip

    def run(self, spec: StepSpec, *, kill_at: str | None = None) -> tuple[StepManifest, list[str]]:
        said: list[str] = []

        def say(line: str) -> None:
            print(line)
            said.append(line)
            if kill_at and line.startswith(kill_at):
                threading.Thread(target=self.runtime.kill).start()

        self.runtime.run(spec, spec_uri=self.learning.store.put_spec(spec), say=say)
        return result(self.learning.store, spec), said


@pytest.fixture(scope="module")
def template(learning: Learning) -> Template:
    return Template(learning)


@pytest.fixture(scope="module")
def trained(template: Template) -> tuple[StepManifest, list[str]]:
    return template.run(template.spec("unbroken"))


def smoke_of(manifest: StepManifest) -> str:
    return (Path(manifest.outputs["model"].uri.removeprefix("file://")) / "smoke.json").read_text()


def test_it_learns_and_says_on_what(trained: tuple[StepManifest, list[str]]) -> None:
    manifest, said = trained
    assert 0.75 < manifest.metrics["auc"] < 0.95
    assert manifest.metrics["device"] == "cpu"
    assert "Training on the CPU" in said
    assert any(re.fullmatch(r"Learning on the CPU, \d+ threads, process 1 of 1", line) for line in said)
    folder = Path(manifest.outputs["model"].uri.removeprefix("file://"))
    needed = (folder / "requirements.txt").read_text()
    assert "onnxruntime==" in needed
    assert "torch" not in needed


def test_what_has_no_pytorch_evaluates_and_serves_it(
    trained: tuple[StepManifest, list[str]], learning: Learning, environments: Environments
) -> None:
    model = trained[0].outputs["model"]
    for image in ("train", "serve"):
        assert not list(environments.path(image).glob("lib/*/site-packages/torch"))
    (found,) = call(environments.python("serve"), "serve_probe.py", model.uri.removeprefix("file://"))
    assert found["rows"] == 16
    assert found["nulls"]
    assert found["difference"] <= 1e-6
    learning.evaluate("net", model, "flights", rules=["auc >= 0.75"], slices=["carrier"])
    evaluated = learning.run()["net"]["metrics"]
    assert evaluated["verdict"] == "PASSED", evaluated["reasons"]
    assert evaluated["challenger"]["auc"] == pytest.approx(trained[0].metrics["auc"], abs=1e-6)


def test_a_killed_one_goes_on_to_the_same_model(template: Template, trained: tuple[StepManifest, list[str]]) -> None:
    with pytest.raises(StepFailed, match="SIGKILL"):
        template.run(template.spec("broken"), kill_at="Epoch 4")
    manifest, said = template.run(template.spec("broken"))
    (resumed,) = (line for line in said if line.startswith("Resumed from epoch"))
    assert resumed.split()[-1] in ("3", "4", "5")
    assert smoke_of(manifest) == smoke_of(trained[0]), "requests and answers, to the last digit"
    assert manifest.metrics["auc"] == trained[0].metrics["auc"]
    assert template.learning.store.checkpoints(KEY) == []


def probe(environments: Environments, store: Store, folder: Path, processes: int) -> tuple[dict[str, Any], str]:
    """What `torch_probe.py` found, and all it printed."""
    script = Path(__file__).with_name("torch_probe.py")
    command = [environments.python("torch"), script, store.root, str(folder), "train:train", str(processes)]
    with subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=400)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started too
    print(said)
    assert process.returncode == 0
    return json.loads(said.splitlines()[-1]), said


def test_two_processes_learn_one_model(environments: Environments, store: Store) -> None:
    folder = data_path("dags/flight_delay_net")
    alone, _ = probe(environments, Store(f"{store.root}/alone"), folder, 1)
    together, said = probe(environments, store, folder, 2)
    assert "process 1 of 2" in said
    assert "process 2 of 2" in said
    assert together["loss"] == pytest.approx(alone["loss"], abs=0.01), "each took half of each batch"
    assert together["loss"] != alone["loss"]
    assert together["answers"] == pytest.approx(alone["answers"], abs=0.05)
    again, said = probe(environments, store, folder, 2)
    assert said.count("Resumed from epoch 4") == 1, "the first process kept it, all took it"
    assert again["answers"] == pytest.approx(together["answers"], abs=1e-6)


@pytest.mark.parametrize(
    ("does", "kind", "message"),
    [("raise KeyError('no such thing')", "KeyError", "no such thing"), ("os.kill(os.getpid(), 9)", "StepFailed", "SIGKILL")],
)
def test_one_that_fails_ends_all(
    environments: Environments, store: Store, tmp_path: Path, does: str, kind: str, message: str
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text(FAILS.format(does))
    found, _ = probe(environments, store, folder, 2)
    assert found["type"] == kind
    assert message in found["message"]
    if kind == "KeyError":
        assert "In process 1" in found["notes"]
        assert "train.py" in found["notes"]
