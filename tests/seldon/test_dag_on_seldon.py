"""The template's Dag through a running Airflow with ``serving = seldon``: its file is as it is, only settings differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from live import addresses, copy_template, linked_home, predict, sample_flights, until
from object_store import BUCKET
from platform_under_test import GREEN, Ended, Platform
from seldon_place import ACCOUNT, GATEWAY, IMAGE, NAMESPACE, SECRET, STATISTICS, Place

from tradewind.cli import embedded
from tradewind.cli.services import running
from tradewind.cli.traffic import Traffic, rows_of
from tradewind.runtimes.environments import Environments
from tradewind.serving.seldon.desired import deployment_name
from tradewind.store import Store

NAME = "flight_delay"
CANARY: dict[str, Any] = {
    "canary": [{"weight": 30, "bake_s": 5}], "rules": ["auc >= 0.5"], "replay": ["errors <= 0"], "min_requests": 20, "trees": 61,
}  # fmt: skip


@pytest.fixture(scope="module")
def platform(seldon: Place, tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Platform]:
    """Airflow, MLflow and the steps on this machine; the store on S3, where the models' pods find it."""
    seldon.clear()
    home = linked_home(tmp_path_factory.mktemp("airflow") / "home", environments)
    dags = home / "pipelines"
    copy_template(dags)
    sample_flights(home)
    options = {
        "serving": "seldon", "serving_namespace": NAMESPACE, "serving_gateway": GATEWAY, "serving_statistics": STATISTICS,
        "image": IMAGE, "service_account": ACCOUNT, "step_secret": SECRET, "store_uri": f"s3://{BUCKET}/store",
    }  # fmt: skip
    at, started = addresses(), datetime.now(UTC)
    with running(home) as up:
        at.write(home)
        for service in embedded.services(home, dags, at, options=options):
            if service.name != "serving":
                up.start(service)
        up.wait(lambda service: None)
        platform = Platform(home=home, dags=dags, at=at)
        platform.store = Store(options["store_uri"])
        platform.api.wait_for_dag(NAME, since=started, timeout_s=180)
        yield platform


@pytest.fixture(scope="module")
def first(platform: Platform) -> Ended:
    return platform.ended(NAME, platform.api.trigger(NAME, {}), within_s=500)


def test_the_chain_ends_at_istios_gateway(platform: Platform, first: Ended, seldon: Place) -> None:
    assert first.tasks == GREEN
    rollout = first.metrics("rollout")
    assert rollout["endpoint_url"].startswith(GATEWAY)
    answer = predict(rollout["endpoint_url"], rollout["example"])
    assert (answer["model_name"], answer["model_version"]) == (NAME, "1")
    assert len(seldon.pods(deployment_name(NAME), "v1")) == 1
    assert platform.champion(NAME) == "1"


def test_the_next_one_is_a_canary_that_its_requests_let_pass(platform: Platform, first: Ended, seldon: Place) -> None:
    rollout = first.metrics("rollout")
    with Traffic(rollout["endpoint_url"], rows_of(rollout["example"])) as asked:
        run_id = platform.api.trigger(NAME, CANARY)
        waits = lambda: any(t.task_id == "rollout" and t.state == "deferred" for t in platform.api.tasks(NAME, run_id))  # noqa: E731
        until(waits, within_s=300, what="the rollout, in the triggerer")
        ended = platform.ended(NAME, run_id, within_s=300)
    assert ended.tasks == GREEN
    assert ended.metrics("rollout")["canary"]["requests"] >= 20
    assert set(asked.answers) == {"1", "2"}, "both answered, and no request failed"
    assert platform.champion(NAME) == "2"
    assert len(seldon.pods(deployment_name(NAME), "v2")) == 1


def test_what_ends_the_task_takes_the_canary_back(platform: Platform, first: Ended, seldon: Place) -> None:
    champion, rollout = platform.champion(NAME), first.metrics("rollout")
    assert champion
    with Traffic(rollout["endpoint_url"], rows_of(rollout["example"])) as asked:
        run_id = platform.api.trigger(NAME, {**CANARY, "canary": [{"weight": 20, "bake_s": 600}], "trees": 62})
        shares = seldon.serving().observe
        weights = until(
            lambda: found if len(found := shares(NAME).weights) > 1 else None, within_s=300, what="the canary's share"
        )
        assert weights[champion] == 80
        platform.mark("failed", NAME, run_id, "rollout")
        until(lambda: shares(NAME).weights == {champion: 100}, within_s=60, what="the rollback")
    assert platform.champion(NAME) == champion
    assert not [answer for answer in asked.answers if answer.startswith("failed")]
    assert asked.ask() == champion
