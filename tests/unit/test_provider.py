"""What Airflow is told: valid by its own schema, found by its own managers, and the same as what the settings read."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

from tradewind.provider import get_provider_info
from tradewind.settings import OPTIONS, Settings

DISCOVER = """
import importlib.metadata, json, logging
caught = []
class Catch(logging.Handler):
    def emit(self, record):
        caught.append(record.getMessage())
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
from airflow import plugins_manager
logging.getLogger().addHandler(Catch(logging.WARNING))  # its import takes away what was there before
logging.getLogger("airflow.providers_manager").warning("tradewind is heard")
manager = ProvidersManager()
provider = manager.providers["airflow-provider-tradewind"]
links = manager.extra_links_class_names
plugins = [p for p in plugins_manager.get_plugin_info() if p["name"] == "tradewind"]
print("RESULT" + json.dumps({
    "version": provider.version,
    "links": [link for link in links if link.startswith("tradewind.")],
    "plugins": plugins,
    "plugin_errors": plugins_manager.get_import_errors(),
    "home": conf.get("tradewind", "home"),
    "sensitive": conf.is_sensitive_option("tradewind", "tracking_password"),
    "warnings": [line for line in caught if "tradewind" in line.lower()],
}, default=str))
"""


@pytest.fixture(scope="module")
def discovered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh Airflow process finds."""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run([sys.executable, "-c", DISCOVER], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.rsplit("RESULT", 1)[1]))


def test_the_metadata_is_valid_by_airflows_schema() -> None:
    import jsonschema

    schema = json.loads(distribution("apache-airflow-core").locate_file("airflow/provider_info.schema.json").read_text())
    assert set(get_provider_info()) - {"package-name"} <= set(schema["properties"])
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_finds_provider_links_and_options(discovered: dict[str, object]) -> None:
    assert discovered["version"] == "0.1.0"
    assert discovered["links"] == get_provider_info()["extra-links"]
    assert discovered["home"] == str(Path("~/.tradewind").expanduser()) or discovered["home"] == "~/.tradewind"
    assert discovered["sensitive"] is True
    assert discovered["warnings"] == ["tradewind is heard"]


def test_airflow_finds_the_plugin_once_and_without_error(discovered: dict[str, object]) -> None:
    plugins = discovered["plugins"]
    assert isinstance(plugins, list) and len(plugins) == 1
    assert {view["destination"] for view in plugins[0]["react_apps"]} == {"nav", "task_instance", "dag_run"}
    assert discovered["plugin_errors"] == {}


def test_notifiers_are_named_as_they_are() -> None:
    for name in get_provider_info()["notifications"]:
        module, _, notifier = name.rpartition(".")
        assert hasattr(importlib.import_module(module), notifier)


def test_entry_points_name_what_exists() -> None:
    (provider,) = (e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("tradewind"))
    assert provider.load() is get_provider_info


def test_every_option_is_read_and_documented() -> None:
    options = get_provider_info()["config"]["tradewind"]["options"]
    asked: list[str] = []

    def get(option: str) -> None:
        asked.append(option)

    Settings.read(get)
    assert set(asked) == set(options) == set(OPTIONS)
    assert all(option["description"].strip() for option in options.values())


def test_the_documented_defaults_are_valid_and_are_the_defaults() -> None:
    options = get_provider_info()["config"]["tradewind"]["options"]
    assert Settings.read(lambda option: options[option]["default"]) == Settings.read(lambda _: None)


def test_the_documented_examples_are_valid() -> None:
    options = get_provider_info()["config"]["tradewind"]["options"]
    settings = Settings.read(lambda option: options[option]["example"])
    assert "gpu-a100" in settings.profiles
    assert settings.store_uri == "s3://models/tradewind"


def test_importing_the_plugin_is_light(tmp_path: Path) -> None:
    """It is imported by every process of Airflow: what it adds to Airflow's own imports is measured, not guessed."""
    code = (
        "import sys; import airflow.plugins_manager; before = set(sys.modules); import tradewind_plugin; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; print(sorted(new)); "
        "print(sorted({'fastapi', 'pandas', 'mlflow', 'kubernetes', 'great_expectations'} & set(sys.modules)))"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    added, heavy = done.stdout.strip().splitlines()[-2:]
    assert added == "['tradewind_plugin']"
    assert heavy == "[]"
