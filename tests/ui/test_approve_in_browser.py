"""A release that waits for a person, answered in a browser by Airflow's own form, *Required Actions*."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from api_server import PASSWORDS
from live import until
from playwright.sync_api import Page, expect
from ui_site import NAME, Site

SignedIn = Callable[[str], Page]
AIRFLOW_LOOKS_S = 4  # an answer that comes before Airflow has seen the task's process end is lost
REASON = "as good as before, and smaller"


def task_page(run_id: str, rest: str) -> str:
    return f"/dags/asks/runs/{quote(run_id, safe='')}/tasks/approve/{rest}"


def state(site: Site, run_id: str) -> str:
    return next((task.state for task in site.api.tasks("asks", run_id) if task.task_id == "approve"), "")


@pytest.fixture(scope="module")
def asking(site: Site, second: dict[str, Any]) -> str:
    """A run that waits for a word on version 2 of a model; version 1 is the champion."""
    site.api.wait_for_dag("asks", since=datetime.fromtimestamp(0, UTC), timeout_s=180)
    run_id = site.api.trigger("asks", {"version": second})
    until(lambda: state(site, run_id) == "awaiting_input", within_s=300, what="the question")
    time.sleep(AIRFLOW_LOOKS_S)
    return run_id


def test_who_is_not_asked_may_read_but_not_approve(signed_in: SignedIn, site: Site, asking: str) -> None:
    for user in ("viewer", "user"):
        page = signed_in(user)
        page.goto(task_page(asking, "required_actions"))
        expect(page.get_by_text("May asks version 2 serve?").first).to_be_visible()
        page.locator("#element_reason").fill("mine")  # without a reason the form has no button to press
        with page.expect_response(
            lambda answer: answer.url.endswith("/hitlDetails") and answer.request.method == "PATCH"
        ) as said:
            page.get_by_test_id("hitl-option-Approve").click()
        assert said.value.status == 403
        expect(page.get_by_text("Response received at")).to_have_count(0)
        assert state(site, asking) == "awaiting_input"


def test_an_approver_reads_the_dossier_and_lets_the_run_go_on(signed_in: SignedIn, site: Site, asking: str) -> None:
    page = signed_in("operator")
    page.goto(task_page(asking, "plugin/tradewind-result"))
    dossier = page.frame_locator("iframe[title^=Report]")
    expect(dossier.get_by_text("WAITS FOR A PERSON")).to_be_visible()
    expect(dossier.get_by_text("train.py").first).to_be_visible()

    page.goto(task_page(asking, "required_actions"))
    expect(page.get_by_text("Since version 1: ").first).to_be_visible()
    page.locator("#element_reason").fill(REASON)
    page.get_by_test_id("hitl-option-Approve").click()
    expect(page.get_by_text("Response received at").first).to_be_visible()
    until(lambda: site.api.run_state("asks", asking) in ("success", "failed"), within_s=300, what="the run's end")
    assert site.api.run_state("asks", asking) == "success"
    approval = site.api.result("asks", asking, "approve")["metrics"]["approval"]
    assert (approval["by_id"], approval["why"]) == ("operator", REASON)
    page.goto(task_page(asking, "plugin/tradewind-result"))
    expect(page.frame_locator("iframe[title^=Report]").get_by_text("APPROVED").first).to_be_visible()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", "gpu-9"),
        ("rules", ["auc => 0.6"]),
        ("canary", [{"weight": 200}]),
        ("trees", 0),
        ("as_of", "yesterday"),
        ("as_of", "2013-02-30T00:00:00+00:00"),
    ],
)
def test_a_wrong_value_is_refused_with_its_fields_name_before_there_is_a_run(site: Site, name: str, value: Any) -> None:
    login = {"username": "operator", "password": PASSWORDS["operator"]}
    token = httpx.post(f"{site.url}/auth/token", json=login, timeout=60).raise_for_status().json()["access_token"]
    with httpx.Client(
        base_url=f"{site.url}/api/v2/dags/{NAME}", headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as http:
        before = http.get("/dagRuns").json()["total_entries"]
        answer = http.post("/dagRuns", json={"logical_date": None, "conf": {name: value}})
        assert answer.status_code == 400, answer.text
        assert f"Invalid input for param {name}" in answer.text
        assert http.get("/dagRuns").json()["total_entries"] == before
