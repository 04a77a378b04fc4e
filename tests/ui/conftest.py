"""A real Airflow with its authorisation on, with MLflow and serving, and a browser for each of its people."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from api_server import PASSWORDS, ROLES
from live import copy_template, linked_home, sample_flights, services
from playwright.sync_api import Browser, Page, expect, sync_playwright
from releases import Releases
from ui_site import HOSTILE_CELL, HOSTILE_COLUMN, NAME, Site

from tradewind.cli.airflow_api import AirflowApi
from tradewind.registry import Registry
from tradewind.runtimes.environments import Environments
from tradewind.store import Store

# A release that waits for the operator, and a task that comes after.
ASKS = """
from datetime import datetime

from airflow.sdk import DAG, Param, task

from tradewind.operators import ApproveReleaseOperator

with DAG(
    "asks", schedule=None, start_date=datetime(2013, 1, 1), params={"version": Param({}, type="object")},
    render_template_as_native_obj=True,
):
    asked = ApproveReleaseOperator(
        task_id="approve", version={"metrics": "{{ params.version }}"}, approvers=["operator"], rollout=None
    )

    @task
    def go_on(approved):
        return approved["metrics"]["approval"]["why"]

    go_on(asked.output)
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000  # two cores, a browser and Airflow


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Site]:
    home = linked_home(tmp_path_factory.mktemp("ui") / "home", environments)
    dags = home / "pipelines"
    copy_template(dags, NAME)
    make_hostile(sample_flights(home))
    (dags / "asks").mkdir()
    (dags / "asks" / "dag.py").write_text(ASKS)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS) + "\n")
    environment = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    started = datetime.now(UTC)
    with services(home, dags, "airflow", "mlflow", "serving", environment=environment) as (_, at):
        api = AirflowApi(at.airflow, login=("operator", PASSWORDS["operator"]))
        api.wait_for_dag(NAME, since=started, timeout_s=120)
        yield Site(url=at.airflow, mlflow=at.mlflow, home=home, api=api)


@pytest.fixture(scope="session")
def second(site: Site) -> dict[str, Any]:
    """Version 2 of the model ``asks``, as its register task says it; version 1 is the champion, by anna's word."""
    with Registry(site.mlflow) as registry:
        made = Releases(Store(str(site.home / "store")), registry, "asks")
        made.make("one")
        registry.promote("asks", "1")
        record = {"at": 1.0, "outcome": "released", "version": "1", "serves": "1", "before": None, "by": "anna",
                  "why": "100% of O'Brien's tests", "reason": ""}  # fmt: skip
        registry.note_release("asks", "first", record)
        return made.make("two", champion="1", champion_auc=0.7, auc=0.75, code={"train.py": b"x = 1\n"})


def make_hostile(flights: Path) -> None:
    """A column and cells that a page which trusts its data would run, and a column named as what a validation adds."""
    with flights.open(newline="") as file:
        head, *rows = csv.reader(file)
    with flights.open("w", newline="") as file:
        csv.writer(file).writerows([[*head, HOSTILE_COLUMN, "reasons"], *([*row, HOSTILE_CELL, "mine"] for row in rows)])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found, f"These tests need a browser, one of: {', '.join(BROWSERS)}. Debian: apt-get install chromium"
    # Chromium's own sandbox does not start as root; the pages are ours.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=arguments)
        yield started
        started.close()


SignedIn = Callable[[str], Page]


@pytest.fixture
def signed_in(site: Site, browser: Browser) -> Iterator[SignedIn]:
    """A page of a user's, signed in through Airflow's form. Whatever a page complains of or opens fails the test."""
    trouble: list[str] = []
    contexts = []
    expect.set_options(timeout=PATIENCE_MS)

    def sign_in(user: str) -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, base_url=site.url)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda asked: trouble.append(f"asked for {asked.url}") if elsewhere(asked.url) else None)
        page.goto("/")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(PASSWORDS[user])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site.url}/")
        return page

    def elsewhere(url: str) -> bool:
        return not url.startswith((site.url, "data:", "blob:"))

    yield sign_in
    for context in contexts:
        context.close()
    assert trouble == []
