"""The built wheel in a bare environment with the oldest Airflow that is supported: found, started, its Dags load."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

REPOSITORY = Path(__file__).parents[2]
OLDEST_AIRFLOW = "3.3.0"

FIND = """
import json
from airflow import plugins_manager
from airflow.providers_manager import ProvidersManager
provider = ProvidersManager().providers["airflow-provider-tradewind"]
plugins = [plugin["name"] for plugin in plugins_manager.get_plugin_info()]
print(json.dumps({"provider": provider.version, "plugins": plugins, "errors": plugins_manager.get_import_errors()}))
"""

LOAD = """
import json
from airflow.dag_processing.dagbag import DagBag
from tradewind.resources import data_path
bag = DagBag(dag_folder=str(data_path("dags")))
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "folder": str(data_path("dags"))}))
"""


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", folder, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a program of an environment that has the wheel, the oldest Airflow and else the locked versions; its output."""
    folder = tmp_path_factory.mktemp("bare")
    environment = folder / "environment"
    wanted, resolved = folder / "wanted.txt", folder / "resolved.txt"
    wanted.write_text(f"{wheel}\napache-airflow=={OLDEST_AIRFLOW}\n")
    locked = re.findall(r"^[a-z0-9.-]+==[^\s;]+", (REPOSITORY / "requirements-dev.lock").read_text(), re.MULTILINE)
    resolved.write_text("\n".join(locked))  # what is here already is kept where Airflow allows it
    find_uv = uv.find_uv_bin()
    run(find_uv, "pip", "compile", "--quiet", "--python", sys.executable, wanted, "--output-file", resolved)
    run(find_uv, "venv", "--quiet", "--python", sys.executable, environment)
    run(find_uv, "pip", "sync", "--quiet", resolved, VIRTUAL_ENV=str(environment))

    def program(name: str, *arguments: str) -> str:
        variables = {"AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": ""}
        return run(environment / "bin" / name, *arguments, **variables).stdout

    return program


def test_the_oldest_airflow_tested_is_the_one_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (declared,) = (line for line in project["dependencies"] if re.match(r"apache-airflow\b(?!-)", line))
    minor = OLDEST_AIRFLOW.removesuffix(".0")
    assert declared in (f"apache-airflow>={minor}", f"apache-airflow>={OLDEST_AIRFLOW}")


def test_the_wheel_has_the_packages_the_locks_and_the_templates_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "airflow_provider_tradewind",
        "tradewind",
        "tradewind_plugin",
        "tradewind_steps",
    }
    locks = {path.parent.name for path in REPOSITORY.glob("images/*/requirements.lock")}
    assert {f"tradewind/_data/images/{image}/requirements.lock" for image in locks} <= set(names)
    static = REPOSITORY / "plugins" / "tradewind_plugin" / "static"
    pages = {path.name for path in static.iterdir() if path.suffix in (".js", ".svg")}
    assert {"main.js", "icon.svg"} <= pages
    assert {f"tradewind_plugin/static/{name}" for name in pages} <= set(names)
    assert not [name for name in names if name.endswith(".pyc") or ("/test_" in name and "/_data/dags/" not in name)]
    assert {f"tradewind/_data/dags/tabular/{name}" for name in ("table.json", "sample.csv", "test_pipeline.py")} <= set(names)
    licence = next(name for name in names if name.endswith("licenses/LICENSE"))
    assert "Apache License" in zipfile.ZipFile(wheel).read(licence).decode()


def test_airflow_finds_provider_and_plugin(bare: Callable[..., str]) -> None:
    found = json.loads(bare("python", "-c", FIND).splitlines()[-1])
    assert found == {"provider": "0.1.0", "plugins": ["tradewind"], "errors": {}}


def test_the_plugins_application_can_be_made(bare: Callable[..., str]) -> None:
    code = "from tradewind_plugin import TradewindPlugin; print(TradewindPlugin().fastapi_apps[0]['url_prefix'])"
    assert bare("python", "-c", code).splitlines()[-1] == "/tradewind"


def test_the_templates_load_without_error(bare: Callable[..., str]) -> None:
    loaded = json.loads(bare("python", "-c", LOAD).splitlines()[-1])
    assert "/tradewind/_data/dags" in loaded["folder"]
    assert loaded["errors"] == {}
    assert "flight_delay" in loaded["dags"]


def test_the_command_starts(bare: Callable[..., str]) -> None:
    assert "demo" in bare("tradewind", "--help")
