"""What the images are made of: the same versions everywhere, the same first layers, and a build that calls its builder right."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tradewind
from tradewind.settings import Settings

REPOSITORY = Path(__file__).parents[2]
IMAGES = ("data", "train", "serve", "predictor", "airflow")
NAMED = "torch"  # built only where it is named

RECORD = """#!{python}
import json, sys
with open("{file}", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
print("said by the builder")
"""


def pins(lock: str) -> dict[str, str]:
    """Package to version, of those that Linux gets."""
    lines = re.findall(r"^([a-z0-9.-]+)==([^\s;]+)(.*)$", (REPOSITORY / "images" / lock).read_text(), re.MULTILINE)
    return {name: version for name, version, marker in lines if "win32" not in marker or "!=" in marker}


@pytest.mark.parametrize("image", ["data", "train", "serve", "torch"])
def test_the_shared_layer_is_part_of_every_steps_lock(image: str) -> None:
    shared, own = pins("shared/shared.lock"), pins(f"{image}/requirements.lock")
    assert {"numpy", "pandas", "pyarrow"} <= set(shared)
    assert shared.items() <= own.items()
    assert "s3fs" in own, "a pod's store is on S3"


def test_what_serves_has_all_that_trained_in_the_same_version() -> None:
    train, search = pins("train/requirements.lock"), {"optuna", "colorlog", "tqdm"}  # a model knows nothing of the search
    assert {pin for pin in train.items() if pin[0] not in search} <= set(pins("serve/requirements.lock").items())


def test_mlflows_server_adds_to_the_train_image_and_changes_nothing() -> None:
    train, server = pins("train/requirements.lock"), pins("train/server.lock")
    assert {"boto3", "psycopg2-binary"} <= set(server)
    assert {name: version for name, version in server.items() if train.get(name, version) != version} == {}


def test_a_predictor_has_seldons_wrapper_and_predicts_with_what_trained() -> None:
    predictor, train = pins("predictor/requirements.lock"), pins("train/requirements.lock")
    assert predictor["seldon-core"] == "1.17.1", "the last under Apache-2.0"
    assert predictor["xgboost"] == train["xgboost"]
    assert predictor["numpy"].startswith("1."), "why it has an environment of its own"
    assert "mlflow" not in predictor


def test_airflows_image_has_what_is_tested() -> None:
    tested = dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", (REPOSITORY / "requirements-dev.lock").read_text(), re.MULTILINE))
    image = pins("airflow/airflow.lock")
    assert {"apache-airflow", "apache-airflow-providers-cncf-kubernetes", "fsspec", "uv"} <= set(image)
    assert {name: version for name, version in image.items() if tested.get(name, version) != version} == {}
    assert not {"pytest", "mypy", "ruff"} & set(image)


def instructions(image: str) -> list[str]:
    text = (REPOSITORY / "images" / image / "Dockerfile").read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("image", [*IMAGES, NAMED])
def test_an_image_says_what_it_is(image: str) -> None:
    (label,) = (line.removeprefix("LABEL ") for line in instructions(image) if line.startswith("LABEL "))
    labels = dict(part.split("=", 1) for part in shlex.split(label))
    name = "org.opencontainers.image"
    assert labels[f"{name}.title"].lower() == f"tradewind {image}"
    assert labels[f"{name}.version"] == "${VERSION}"
    assert labels[f"{name}.licenses"] == "Apache-2.0"
    assert labels[f"{name}.description"]


def test_the_steps_images_have_their_first_layers_in_common() -> None:
    start = instructions("data")[:6]
    assert start[-1].startswith("RUN pip install") and "shared.lock" in start[-1]
    assert start == instructions("train")[:6] == instructions("serve")[:6] == instructions("torch")[:6]
    assert start[:4] == instructions("airflow")[:4] == instructions("predictor")[:4]


@pytest.mark.parametrize("image", [*IMAGES, NAMED])
def test_an_image_is_locked_and_runs_as_a_named_user_without_rights(image: str) -> None:
    lines = instructions(image)
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert all("--no-deps" in line for line in installs)
    assert any("useradd --uid 50000" in line for line in lines)
    assert [line for line in lines if line.startswith("USER")] == ["USER 50000:50000"]


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    path = tmp_path / "a builder"
    path.write_text(RECORD.format(python=sys.executable, file=tmp_path / "calls"))
    path.chmod(0o755)
    return path


def build(builder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "scripts/images", *arguments],
        env={**os.environ, "IMAGE_BUILDER": str(builder)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def calls(builder: Path) -> list[list[str]]:
    return [json.loads(line) for line in builder.with_name("calls").read_text().splitlines()]


def test_images_are_called_as_the_settings_call_them(builder: Path) -> None:
    done = build(builder)
    assert done.returncode == 0, done.stderr
    image = Settings.read({}.get).image
    expected = [image.format(image=name, version=tradewind.__version__) for name in IMAGES]
    assert done.stdout.splitlines() == expected == [call[0] for call in calls(builder)]
    for name, call in zip(IMAGES, calls(builder), strict=True):
        assert call[1:4] == [str(REPOSITORY), "-f", str(REPOSITORY / "images" / name / "Dockerfile")]
    assert len(list((REPOSITORY / "build/wheel").glob("*.whl"))) == 1


def test_a_large_image_is_built_where_it_is_named(builder: Path) -> None:
    assert build(builder, NAMED).returncode == 0
    (call,) = calls(builder)
    assert call[3] == str(REPOSITORY / "images" / NAMED / "Dockerfile")


def test_a_builder_gets_arguments_as_they_were_given(builder: Path) -> None:
    arguments = [
        "--image",
        "reg.example.org/a b&/{image}:{version}",
        "--base",
        "my base:1",
        "train",
        "--",
        "--label",
        "x=$HOME 'y'",
    ]
    assert build(builder, *arguments).returncode == 0
    (call,) = calls(builder)
    assert call[0] == f"reg.example.org/a b&/train:{tradewind.__version__}"
    assert call[4:] == [
        "--build-arg", "BASE=my base:1", "--build-arg", f"VERSION={tradewind.__version__}", "--label", "x=$HOME 'y'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["date"], "expected data, train, serve, predictor, airflow, torch, --image PATTERN, --base IMAGE or --, got 'date'"),
        (["--image", "mine:1"], "--image: expected a pattern with {image} in it, got 'mine:1'"),
        (["--base"], "--base wants a value"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_built(builder: Path, arguments: list[str], said: str) -> None:
    done = build(builder, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not builder.with_name("calls").exists()


def test_a_step_without_a_spec_says_what_is_missing() -> None:
    variables = {name: value for name, value in os.environ.items() if name != "TRADEWIND_SPEC"}
    done = subprocess.run([sys.executable, "-m", "tradewind_steps"], env=variables, capture_output=True, text=True)
    assert done.returncode == 2
    assert "TRADEWIND_SPEC is not set: expected the URI of a step's spec.json" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_step_tells_nobody_of_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client would, unless it is told before it is imported."""
    from tradewind_steps.__main__ import main

    for name in ("MLFLOW_DISABLE_TELEMETRY", "TRADEWIND_SPEC"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["tradewind_steps"])
    assert main() == 2
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
