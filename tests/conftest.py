"""Shared by all tests: where the environments are, and how to run one step for real."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS
from object_store import S3, customer, s3_server
from prometheus_server import prometheus_server
from turns import turn
from xdist.scheduler import LoadScopeScheduling

from tradewind.cli.embedded import IMAGES
from tradewind.contract import SPEC_VARIABLE, ArtifactRef, StepManifest, StepSpec
from tradewind.runtimes.environments import Environments
from tradewind.store import Store

REPOSITORY = Path(__file__).parents[1]
HOME = Path(os.environ.get("TRADEWIND_HOME", REPOSITORY / ".tradewind"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a part that `.ci/cluster` brings is chosen by its place or by the part that it asks for, not skipped.

    What wants a running Airflow with pods begins first: it takes longest, and the rest runs beside it.
    """
    for item in items:
        here = item.path.relative_to(Path(__file__).parent).parts[0] if Path(__file__).parent in item.path.parents else ""
        asked = set(getattr(item, "fixturenames", ()))
        parts = asked & {"helm", "s3", "prometheus"} if "any_store" not in asked else set()
        if here == "cluster" or parts:
            item.add_marker(pytest.mark.cluster)
        if here == "ui":
            item.add_marker(pytest.mark.ui)
        if here == "seldon":
            item.add_marker(pytest.mark.seldon)
    items.sort(key=lambda item: {"platform", "cluster"} <= set(getattr(item, "fixturenames", ())), reverse=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test with all that is set up for it and ended after it has its turn on the cluster."""
    if item.get_closest_marker("cluster") is None:
        return (yield)
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


class Together(LoadScopeScheduling):
    """How several processes (``-n 2``) share the tests: those of one file stay together, and those of a folder whose files ask
    one set of services that take long to start."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = str(Path(file).parent)
        return folder if Path(folder).name in {"dags", "e2e", "through_airflow"} else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # the order of the folders: what takes longest begins first
    return Together(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells the one that shows the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = FAULTS.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    FAULTS.add(getattr(node, "workeroutput", {}).get("faults", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The faults that were injected, and what was lost by them."""
    if lines := list(FAULTS.table()):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def environments() -> Environments:
    """All environments of the steps, made before the first test that needs one: it takes a minute on a new machine."""
    environments = Environments(HOME / "envs")
    for image in IMAGES:
        environments.python(image)
    return environments


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, which this process and those it starts find by their environment."""
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server, customer(server.environment):
        yield server


@pytest.fixture(scope="session")
def prometheus() -> Callable[..., AbstractContextManager[str]]:
    """Starts a real Prometheus; see `prometheus_server`."""
    return prometheus_server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind that users have."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    server: S3 = request.getfixturevalue("s3")
    return Store(server.new_place())


@pytest.fixture
def on_disk(request: pytest.FixtureRequest, any_store: Store) -> Callable[[str], Path]:
    """Where on this machine's disk the bytes of `any_store` lie."""
    if any_store.root.startswith("file://"):
        return lambda uri: Path(uri.removeprefix("file://"))
    server: S3 = request.getfixturevalue("s3")
    return server.file


@pytest.fixture
def run_step(environments: Environments, store: Store) -> Callable[..., StepManifest]:
    """Run a step as the local runtime does: in a process of its image's environment. Returns its manifest.

    ``code`` is a folder with the user's code. The output is printed, so that pytest shows it where a test fails.
    """
    count = 0

    def run(
        step: str,
        *,
        image: str,
        params: dict[str, Any],
        inputs: dict[str, ArtifactRef],
        code: Path | None = None,
        **fields: Any,
    ) -> StepManifest:
        nonlocal count
        count += 1
        from tradewind.packaging import bundle

        spec = StepSpec(
            step=step, dag_id="test", run_id="run", task_id=step, map_index=-1, try_number=count, params=params, inputs=inputs,
            code=bundle(code, store) if code else None, entry_point=fields.pop("entry_point", None), image=image,
            outputs_uri=store.run_uri("test", "run", step, -1, count), store_uri=store.root, **fields,
        )  # fmt: skip
        environment = {**os.environ, SPEC_VARIABLE: store.put_spec(spec)}
        done = subprocess.run(
            [environments.python(image), "-m", "tradewind_steps"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        assert done.returncode in (0, 1), done.stdout
        return store.get_manifest(f"{spec.outputs_uri}/manifest.json")

    return run
