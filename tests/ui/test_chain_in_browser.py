"""A run's chain where the Dag branches, where a task is mapped, and where the Dag has been changed since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from live import until
from playwright.sync_api import Locator, Page, expect
from ui_site import Site

SignedIn = Callable[[str], Page]
NAME = "branched"
# Of three trials the second fails. The last task's result has an address that is none, as data may have.
DAG = """
from airflow.sdk import DAG, TaskGroup, task

with DAG("branched", schedule=None):

    @task
    def begin():
        return [1, 0, 2]

    @task
    def trial(n):
        return 1 / n

    @task(trigger_rule="all_done")
    def end():
        return {"metrics": {"url": "javascript:alert(1)", "endpoint_url": "https://models.example.org/v2", "ready": True}}

    begun, last = begin(), end()
    with TaskGroup("side") as side:

        @task
        def before():
            pass

        before()
    begun >> side >> last
    begun >> last
    trial.expand(n=begun) >> last
"""


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    """An ended run of the Dag, which has been changed since: ``before`` is called ``after`` now."""
    since = datetime.now(UTC)
    write(site, DAG)
    site.api.wait_for_dag(NAME, since=since, timeout_s=180)
    run_id = site.api.trigger(NAME, {})
    until(lambda: site.api.run_state(NAME, run_id) in ("success", "failed"), within_s=300, what="the run's end")
    write(site, DAG.replace("before", "after"))
    until(lambda: "side.after" in tasks_now(site), within_s=180, what="the changed Dag")
    return run_id


def write(site: Site, text: str) -> None:
    folder = site.home / "pipelines" / NAME
    folder.mkdir(exist_ok=True)
    (folder / "dag.py").write_text(text)


def tasks_now(site: Site) -> set[str]:
    return {task["task_id"] for task in site.api._call("GET", f"/api/v2/dags/{NAME}/tasks")["tasks"]}


def steps(page: Page, run_id: str) -> Locator:
    page.goto(f"/dags/{NAME}/runs/{quote(run_id, safe='')}/plugin/tradewind-chain")
    return page.get_by_role("list", name="Steps")


def test_an_old_run_has_the_steps_that_it_had(signed_in: SignedIn, site: Site, run_id: str) -> None:
    page = signed_in("viewer")
    shown = steps(page, run_id)
    expect(shown.get_by_role("link", name="side.before", exact=True)).to_be_visible()
    expect(shown.get_by_text("after")).to_have_count(0)
    expect(shown.get_by_text("waiting")).to_have_count(0)
    assert "side.before" not in tasks_now(site)


def test_a_branching_dag_is_drawn_as_it_is(signed_in: SignedIn, run_id: str) -> None:
    """Each arrow begins at the box of one task and ends at that of the next; what others say already has none, and groups
    are no steps."""
    page = signed_in("viewer")
    expect(steps(page, run_id).locator("[data-task]")).to_have_count(4)
    expect(page.locator("path[data-from][d]")).to_have_count(4)
    drawn = page.evaluate(
        """() => [...document.querySelectorAll("path[data-from]")].map((path) => {
             const [{x: fromX, y: fromY}, {x: toX, y: toY}] = [0, path.getTotalLength()].map(
               (at) => path.getPointAtLength(at).matrixTransform(path.getScreenCTM()));
             const near = (x, y) => [...document.querySelectorAll("[data-task]")].find((box) => {
               const {left, right, top, bottom} = box.getBoundingClientRect();
               return x >= left - 2 && x <= right + 2 && y >= top - 2 && y <= bottom + 2;
             })?.dataset.task;
             return [near(fromX, fromY), near(toX, toY)];
           })"""
    )
    assert sorted(drawn) == [["begin", "side.before"], ["begin", "trial"], ["side.before", "end"], ["trial", "end"]]


def test_a_mapped_task_says_its_worst_state_and_how_often_which(signed_in: SignedIn, run_id: str) -> None:
    page = signed_in("viewer")
    trial = steps(page, run_id).locator("[data-task=trial]")
    expect(trial.get_by_text("failed", exact=True)).to_be_visible()
    expect(trial.get_by_text("1 failed, 2 success")).to_be_visible()
    trial.get_by_role("link", name="trial").click()
    for index in range(3):
        expect(page.locator(f"a[href$='/tasks/trial/mapped/{index}']").first).to_be_visible()


def test_a_result_leads_to_web_addresses_only(signed_in: SignedIn, run_id: str) -> None:
    page = signed_in("viewer")
    steps(page, run_id).get_by_role("link", name="end", exact=True).click()
    expect(page.get_by_role("row", name="ready true")).to_be_visible()
    expect(page.get_by_role("row", name="url javascript:alert(1)")).to_be_visible()
    expect(page.get_by_role("link", name="Endpoint")).to_have_attribute("href", "https://models.example.org/v2")
    expect(page.get_by_role("link", name="MLflow version")).to_have_count(0)
