"""``tradewind doctor --pods``: what a pod of a step's image reaches, from inside."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from access import Access, access
from live import linked_home

from tradewind.cli.services import Service, running
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

HOST = os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")
IMAGE = os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}")
BUCKET = "doctor"


class Beside:
    """An S3 server and MLflow on this machine, at an address that pods reach."""

    def __init__(self, home: Path, environments: Environments) -> None:
        self.s3_url, self.mlflow_url = f"http://{HOST}:{free_port()}", f"http://{HOST}:{free_port()}"
        self.login = {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_ENDPOINT_URL": self.s3_url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.bucket = home / "s3" / BUCKET
        self.bucket.mkdir(parents=True)
        program = shutil.which("versitygw")
        assert program, "an S3 server is needed: versitygw on the path"
        at = self.s3_url.removeprefix("http://")
        root = {"ROOT_ACCESS_KEY": self.login["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": self.login["AWS_SECRET_ACCESS_KEY"]}
        port = self.mlflow_url.rsplit(":", 1)[1]
        self.services = [
            Service(
                name="s3",
                command=[program, "--port", at, "posix", str(self.bucket.parent)],
                environment=root,
                ready=lambda: _answers(self.s3_url),
            ),
            Service(
                name="mlflow",
                command=[
                    str(environments.python("train")), "-m", "mlflow", "server", "--host", HOST, "--port", port, "--workers", "1",
                    "--allowed-hosts", f"{HOST}:{port}", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}",
                ],
                environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                ready=lambda: _answers(f"{self.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"),
            ),
        ]  # fmt: skip


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code in (200, 403)
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Beside]:
    home = linked_home(tmp_path_factory.mktemp("beside") / "home", environments)
    made = Beside(home, environments)
    with running(home) as up:
        for service in made.services:
            up.start(service)
        up.wait(lambda service: None)
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, beside: Beside) -> Iterator[Access]:
    with access(tmp_path_factory.mktemp("access")) as made:
        made.secret("tradewind-store", beside.login)
        yield made


def doctor(folder: Path, place: Access, beside: Beside, **options: str) -> tuple[int, dict[str, dict[str, str]]]:
    given = {
        "home": str(folder / "home"),
        "runtime": "kubernetes",
        "namespace": place.namespace,
        "store_uri": f"s3://{BUCKET}/store",
        "tracking_uri": beside.mlflow_url,
        "step_secret": "tradewind-store",
        "image": IMAGE,
        **options,
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        **beside.login,
        "NO_PROXY": HOST,
        "no_proxy": HOST,
        "AIRFLOW_HOME": str(folder / "airflow"),
        **{f"AIRFLOW__TRADEWIND__{name.upper()}": value for name, value in given.items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "tradewind", "doctor", "--json", "--pods"], env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    secret = beside.login["AWS_SECRET_ACCESS_KEY"]
    for form in (secret, base64.b64encode(secret.encode()).decode()):
        assert form not in done.stdout + done.stderr
    assert place.pods() == [], "no pod stays"
    assert [path for path in beside.bucket.rglob("*") if path.is_file()] == [], "nothing stays in the store"
    return done.returncode, {line["name"]: line for line in json.loads(done.stdout)}


def test_pods_that_reach_all(place: Access, beside: Beside, tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, place, beside)
    if "it will be pulled" in lines["image data"]["detail"]:
        pytest.fail(f"no node has {lines['image data']['detail']}: make images, or name others by TRADEWIND_TEST_IMAGE")
    of_pods = {name: line for name, line in lines.items() if name.startswith("pod ")}
    assert len(of_pods) == 6
    assert {line["state"] for line in of_pods.values()} == {"pass"}, of_pods
    assert "its tradewind and tradewind_steps are the ones here" in of_pods["pod data"]["detail"]
    assert "Airflow read what it wrote" in of_pods["pod train, store"]["detail"]
    failing = {name: line for name, line in lines.items() if line["state"] == "fail"}
    assert (code, failing) == (0, {})


def test_pods_with_the_wrong_login_and_no_way_to_mlflow(place: Access, beside: Beside, tmp_path: Path) -> None:
    place.secret("wrong", {**beside.login, "AWS_SECRET_ACCESS_KEY": "wrong"})
    code, lines = doctor(tmp_path, place, beside, step_secret="wrong", tracking_uri=f"http://{HOST}:{free_port()}")
    assert code == 1
    if lines["image data"]["state"] != "pass":
        pytest.fail("no node has the images")
    assert lines["pod data"]["state"] == "pass"
    assert lines["pod data, store"]["state"] == "fail" and "step_secret" in lines["pod data, store"]["fix"]
    assert lines["pod data, MLflow"]["state"] == "fail" and "does not answer" in lines["pod data, MLflow"]["detail"]


def test_pods_that_cannot_start(place: Access, beside: Beside, tmp_path: Path) -> None:
    _, lines = doctor(tmp_path, place, beside, image="localhost/tradewind-none/{image}:1")
    assert lines["pod data"]["state"] == "fail"
    assert "ImagePullBackOff" in lines["pod data"]["detail"] and "image" in lines["pod data"]["fix"]


def test_pods_that_a_quota_forbids(place: Access, beside: Beside, tmp_path: Path) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    place.core.create_namespaced_resource_quota(place.namespace, quota)
    try:
        _, lines = doctor(tmp_path, place, beside)
    finally:
        place.core.delete_namespaced_resource_quota("none", place.namespace)
    assert lines.get("pod data", {}).get("state") == "fail", lines
    assert "exceeded quota" in lines["pod data"]["detail"]
