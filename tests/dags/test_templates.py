"""A copy of a template under another name keeps its test, which runs where only the package is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tradewind.cli import templates
from tradewind.cli.init import init
from tradewind.resources import data_path
from tradewind.runtimes.environments import Environments

TESTED = ["air_time", "air_time_monthly", "air_time_sweep", "flight_delay", "flight_delay_watch", "flight_warning", "tabular"]


def test_each_template_says_what_it_does() -> None:
    assert set(templates.templates()) == {"flight_delay_net", *TESTED}
    for name, line in templates.templates().items():
        folder = data_path("dags") / name
        assert line.endswith(".")
        dag = (folder / "dag.py").read_text()
        assert len(dag.splitlines()) <= 90
        assert 'tags=["tradewind"]' in dag, f"{name}: the page in Airflow's UI lists the Dags with this tag"
        files = {path.name for path in folder.iterdir()}
        assert files >= {"README.md", "dag.py", "features.py", "expectations.json"}
        assert ("train.py" in files) == (name != "flight_delay_watch"), f"{name}: the watch has another Dag train"
        assert not re.search(rf"\b{name}\b", (folder / "README.md").read_text()), f"{name}: a copy has another name"


@pytest.mark.long
def test_a_copy_runs_its_test(tmp_path: Path, environments: Environments) -> None:
    """Two at once: a step waits much of its time."""
    with ThreadPoolExecutor(2) as two:
        ended = dict(zip(TESTED, two.map(lambda name: copy_tested(name, tmp_path, environments), TESTED), strict=True))
    for name, done in ended.items():
        print(done.stdout)
        assert done.returncode == 0, f"the test of a copy of {name}\n{done.stdout[-3000:]}"


def test_a_fitted_copy_speaks_of_its_table_and_runs_its_test(tmp_path: Path, environments: Environments) -> None:
    films = tmp_path / "films of mine.csv"
    films.write_bytes((data_path("dags") / "tabular" / templates.SAMPLE).read_bytes())
    init("minutes", data=films, target="Runtime", dags=tmp_path / "dags", home=environments.folder.parent)
    folder = tmp_path / "dags" / "minutes"
    about = (folder / "README.md").read_text()
    assert about.startswith("# minutes\n\nThe column `Runtime` of `films of mine.csv`")
    assert "1,200 rows" in about and "The rows are split by 'Released'" in about
    assert "| `imdbID` | left out: it names one row each |" in about and "| `Genre` | a text |" in about
    assert templates.SAMPLE not in about and "Wikidata" not in about
    said = "import runpy, sys; print(runpy.run_path(sys.argv[1])['gate'].dag.description)"
    parsed = subprocess.run([sys.executable, "-c", said, folder / "dag.py"], capture_output=True, text=True, check=True)
    assert parsed.stdout.splitlines()[-1] == "Runtime, learned from films of mine.csv"
    done = run_its_test(folder, tmp_path, environments)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 passed" in done.stdout


@pytest.mark.torch
def test_a_copy_of_the_network_runs_its_test(tmp_path: Path, environments: Environments) -> None:
    done = copy_tested("flight_delay_net", tmp_path, environments)
    assert done.returncode == 0, done.stdout[-3000:]


def copy_tested(name: str, scratch: Path, environments: Environments) -> subprocess.CompletedProcess[str]:
    folder = scratch / "dags" / f"my_{name}"
    templates.copy(data_path("dags") / name, folder, documents={})
    return run_its_test(folder, scratch, environments)


def run_its_test(folder: Path, scratch: Path, environments: Environments) -> subprocess.CompletedProcess[str]:
    home = {"AIRFLOW__TRADEWIND__HOME": str(environments.folder.parent), "AIRFLOW_HOME": str(scratch / "airflow")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)], cwd=scratch, env={**os.environ, **home},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
