"""Versions, releases, serving and a person's word, with MLflow and a serving that answer: who gets what, and of which Dag."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api_server import ROLES, Server, serve
from live import linked_home, services
from releases import Releases

from tradewind.contract import ArtifactRef
from tradewind.registry import DAG_TAG, Registry
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.client import LocalServing

READERS = [user for user in ROLES if user != "nobody"]
ROLLOUT = "0" * 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Server]:
    """The model ``flights``: version 1 is of the Dag ``flights``, the champion, and its rollout is over; version 2 is of the Dag
    ``other``."""
    home = linked_home(tmp_path_factory.mktemp("released") / "home", environments)
    with services(home, home / "pipelines", "mlflow", "serving") as (_, at), Registry(at.mlflow) as registry:
        options = {"AIRFLOW__TRADEWIND__TRACKING_URI": at.mlflow, "AIRFLOW__TRADEWIND__HOME": str(home)}
        with serve(home / "api-server", options=options) as running:
            made = Releases(running.store, registry, "flights")
            made.make("one")
            made.make("two")
            tag = {"name": "flights", "version": "2", "key": DAG_TAG, "value": "other"}
            registry._call("POST", "model-versions/set-tag", tag)
            registry.promote("flights", "1")
            note = {"at": 1.0, "outcome": "released", "version": "1", "serves": "1", "before": None, "by": "anna", "why": "first",
                    "reason": ""}  # fmt: skip
            registry.note_release("flights", ROLLOUT, note)
            record = Record(
                id=ROLLOUT, target="flights", version="1", model=ArtifactRef(uri="x", sha256="0" * 64, size=1, kind="model"),
                stable=None, champion=None, spec=RolloutSpec(), by="anna", phase="done",
            )  # fmt: skip
            LocalServing(folder=home / "serving").keep_record("flights", record.to_dict())
            yield running


@pytest.mark.parametrize("user", READERS)
def test_who_may_read_the_dag_gets_them(server: Server, user: str) -> None:
    answers = [server.get(f"dags/flights/{what}", user=user) for what in ("versions", "releases", "serving")]
    assert [answer.status_code for answer in answers] == [200] * 3, [answer.text for answer in answers]
    versions, releases, serving = (answer.json() for answer in answers)
    assert [(each["version"], each["aliases"], each["metrics"]) for each in versions["versions"]] == [
        ("1", ["champion"], {"auc": 0.7})
    ]
    assert [(each["model"], each["by"]) for each in releases["releases"]] == [("flights", "anna")]
    (model,) = serving["models"]
    assert (model["champion"], model["rollout"]["id"], model["trouble"]) == ("1", ROLLOUT, None)
    assert serving["may_act"] == (user != "viewer")


def test_who_may_not_gets_nothing(server: Server) -> None:
    for what in ("versions", "releases", "serving"):
        assert server.get(f"dags/flights/{what}", user="nobody").status_code == 403
        assert server.get(f"dags/flights/{what}", user=None).status_code == 401


@pytest.mark.parametrize("user", ROLES)
def test_who_may_trigger_the_dag_is_told_how_its_rollout_is(server: Server, user: str) -> None:
    answer = order(server, "flights", user=user)
    if user in ("viewer", "nobody"):
        assert answer.status_code == 403
    else:
        assert answer.status_code == 409
        assert answer.text.startswith("That rollout is over. That rollout of ")


@pytest.mark.parametrize(
    ("dag_id", "model"),
    [
        ("other", "flights"),  # it has a version of the model, but not the one that is rolled out
        ("third", "flights"),
        ("flights", "unknown"),
    ],
)
def test_a_rollout_of_another_dags_is_not_this_ones(server: Server, dag_id: str, model: str) -> None:
    answer = order(server, dag_id, model=model)
    assert (answer.status_code, answer.text) == (404, f"No rollout of a model {model!r} is this Dag's.")


def order(server: Server, dag_id: str, *, model: str = "flights", user: str = "operator") -> httpx.Response:
    body = {"model": model, "rollout": ROLLOUT, "do": "promote", "why": "a test"}
    headers = {"Authorization": f"Bearer {server.tokens[user]}"}
    return httpx.post(f"{server.url}/tradewind/dags/{dag_id}/rollout", json=body, headers=headers, timeout=60)
