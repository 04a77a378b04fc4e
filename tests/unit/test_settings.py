"""Settings: what is read, what is derived, and what is said about a wrong value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tradewind.errors import SpecError
from tradewind.profiles import PROFILES, Profile
from tradewind.serving import serving_for
from tradewind.settings import Settings


def read(**options: str) -> Settings:
    return Settings.read(options.get)


def test_defaults_lie_in_home() -> None:
    settings = read()
    assert settings.home == Path.home() / ".tradewind"
    assert settings.store_uri == str(settings.home / "store")
    assert settings.data_root == str(settings.home / "data")
    assert settings.tracking_uri == "http://127.0.0.1:5000"
    assert (settings.runtime, settings.serving) == ("local", "local")
    assert settings.tracking_username is None and settings.tracking_password is None


def test_one_named_home_moves_what_is_derived_from_it(tmp_path: Path) -> None:
    settings = read(home=str(tmp_path), data_root="s3://lake/raw/")
    assert settings.store_uri == str(tmp_path / "store")
    assert settings.data_root == "s3://lake/raw/"


def test_an_empty_value_is_not_set() -> None:
    assert read(store_uri="  ", tracking_username="") == read()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("flights.csv", "/data/flights.csv"),
        ("2013/flights.csv", "/data/2013/flights.csv"),
        ("/elsewhere/flights.csv", "/elsewhere/flights.csv"),
        ("s3://lake/flights.parquet", "s3://lake/flights.parquet"),
        ("file:///elsewhere/a b.csv", "file:///elsewhere/a b.csv"),
    ],
)
def test_relative_data_lies_below_data_root(uri: str, expected: str) -> None:
    assert read(data_root="/data/").data_uri(uri) == expected


def test_an_empty_data_uri_is_refused() -> None:
    with pytest.raises(SpecError, match="data URI is empty"):
        read().data_uri(" ")


def test_own_profiles_come_on_top_of_the_built_in_ones() -> None:
    own = {"huge": {"cpu": 0.5, "memory_mb": 1024, "device": "gpu"}, "cpu-small": {"cpu": 2, "memory_mb": 4096}}
    settings = read(profiles=json.dumps(own))
    assert settings.profile("huge") == Profile(cpu=0.5, memory_mb=1024, gpus=1)
    assert settings.profile("cpu-small").to_dict() == {"cpu": 2, "memory_mb": 4096, "device": "cpu", "gpus": 0}
    assert settings.profile("gpu-1") == PROFILES["gpu-1"]


def test_an_unknown_profile_names_those_that_exist() -> None:
    with pytest.raises(SpecError, match=r"'gpu-9'; there are: cpu-large, cpu-small, gpu-1, spark-large, spark-small"):
        read().profile("gpu-9")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("home", "folder", "expected an absolute path, got 'folder'"),
        ("store_uri", "./store", "expected a URI or an absolute path, got './store'"),
        ("data_root", "data", "expected a URI or an absolute path, got 'data'"),
        ("tracking_uri", "sqlite:///mlflow.db", "starts with http:// or https://, got 'sqlite:///mlflow.db'"),
        ("tracking_uri", "https://me:secret@mlflow", "tracking_username and tracking_password, got 'one with a user'"),
        ("runtime", "cloud", "expected one of: local, kubernetes, got 'cloud'"),
        ("serving", "cloud", "expected one of: local, seldon, got 'cloud'"),
        ("profiles", "{", "expected JSON"),
        ("profiles", "[]", "expected a JSON object"),
        ("profiles", '{"a": {"cpu": 1}}', "expected cpu, memory_mb"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "gpu": 1}}', "profile 'a': a profile has no 'gpu'; may it be 'gpus'?"),
        (
            "profiles",
            '{"a": {"cpu": 1, "memory_mb": 1, "xyz": 1}}',
            "a profile has no 'xyz'; it has cpu, cpu_limit, executor_cpu",
        ),
        ("profiles", '{"a": {"cpu": Infinity, "memory_mb": 1}}', "above 0, got inf"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 2097152, "memory_cap_mb": 9}}', "memory_mb (2097152) or more, got 9"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "device": "gpu", "gpus": 0}}', "expected what gpus (0) says"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "gpus": -1}}', "whole number, 0 or more, got -1"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 9, "memory_cap_mb": 8}}', "memory_mb (9) or more, got 8"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 9, "memory_limit_mb": 8}}', "memory_mb (9) or more, got 8"),
        (
            "profiles",
            '{"a": {"cpu": 1, "memory_mb": 1, "cpu_limit": 0.5}}',
            "cpu_limit of 'a': expected cpu (1) or more, got 0.5",
        ),
        (
            "profiles",
            '{"a": {"cpu": 1, "memory_mb": 7, "memory_limit_mb": 9, "memory_cap_mb": 8}}',
            "memory_limit_mb (9) or more, got 8",
        ),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "min_executors": 2}}', "at most executors (0), got 2"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "executor_cpu_limit": 0.5}}', "expected cpu (1) or more, got 0.5"),
        (
            "profiles",
            '{"a": {"cpu": 0.1, "memory_mb": 1, "executors": 2, "executor_cpu": 1, "executor_cpu_limit": 0.5}}',
            "executor_cpu_limit of 'a': expected executor_cpu (1) or more, got 0.5",
        ),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "node_selector": {"gpu": 1}}}', "both texts"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "tolerations": {}}}', "a list of objects"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "spot": 1}}', "true or false, got 1"),
        ("image", "registry/data:1", "with {image} in it"),
        ("image", "registry/{name}:1", "with {image} and {version} in it"),
        ("profiles", '{"a": {"cpu": 0, "memory_mb": 1}}', "above 0, got 0"),
        ("profiles", '{"a": {"cpu": true, "memory_mb": 1}}', "above 0, got True"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1.5}}', "whole number of MiB above 0, got 1.5"),
        ("profiles", '{"a": {"cpu": 1, "memory_mb": 1, "device": "tpu"}}', "one of: cpu, gpu, got 'tpu'"),
    ],
)
def test_a_wrong_value_names_section_option_expected_and_got(option: str, value: str, expected: str) -> None:
    with pytest.raises(SpecError) as error:
        read(**{option: value})
    assert f"[tradewind] {option}" in str(error.value)
    assert f"AIRFLOW__TRADEWIND__{option.upper()}" in str(error.value)
    assert expected in str(error.value)


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(read(tracking_password="hunter2"))


@pytest.fixture
def in_airflow(tmp_path: Path) -> Callable[..., str]:
    """Run Python in a fresh process with Airflow's configuration from the environment; its output."""

    def run(code: str, **variables: str) -> str:
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), **variables}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]

    return run


def test_airflow_reads_environment_commands_and_base_url(in_airflow: Callable[..., str]) -> None:
    shown = in_airflow(
        "from tradewind.settings import Settings as S; s = S.load(); assert S.load() is s\n"
        "print(s.home, s.store_uri, s.tracking_password, s.airflow_url)",
        AIRFLOW__TRADEWIND__HOME="/var/tradewind",
        AIRFLOW__TRADEWIND__STORE_URI="s3://bucket/tradewind",
        AIRFLOW__TRADEWIND__TRACKING_PASSWORD_CMD="echo correct-horse",
        AIRFLOW__API__BASE_URL="https://airflow.example.org/team/",
    )
    assert shown == "/var/tradewind s3://bucket/tradewind correct-horse https://airflow.example.org/team"


def test_importing_the_module_imports_no_airflow(in_airflow: Callable[..., str]) -> None:
    shown = in_airflow(
        "import sys, tradewind.settings, tradewind.provider; print(sorted({'airflow', 'fsspec'} & set(sys.modules)))"
    )
    assert shown == "[]"


def test_seldon_without_its_addresses_is_refused_where_models_are_to_serve() -> None:
    with pytest.raises(SpecError, match="serving_gateway: with serving = seldon expected an address, got none"):
        serving_for(read(serving="seldon"))
    with pytest.raises(SpecError, match="serving_statistics: with serving"):
        serving_for(read(serving="seldon", serving_gateway="https://models.example.org"))
    with pytest.raises(SpecError, match=r"serving_gateway.*starts with http"):
        read(serving_gateway="models.example.org")
