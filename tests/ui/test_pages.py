"""The pages as people use them, in a browser: one story in order, on one pipeline."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from live import CHAIN, until
from playwright.sync_api import Locator, Page, expect
from ui_site import HOSTILE_CELL, HOSTILE_COLUMN, NAME, Site, chain, pipeline, result

from tradewind.cli.drill import read_record
from tradewind.cli.traffic import Traffic
from tradewind.rollout.record import Record

SignedIn = Callable[[str], Page]
TREES = 90  # of the first run
SLOW = {"canary": [{"weight": 20, "bake_s": 600}], "replay": ["errors <= 0"], "min_requests": 20}
PICTURES = os.environ.get("TRADEWIND_SCREENSHOTS")  # a folder, where the pictures of the README are to be renewed


def picture(page: Page, name: str) -> None:
    if PICTURES:
        expect(page.get_by_label("Loading", exact=True)).to_have_count(0)  # ours; Airflow has others, which stay
        page.wait_for_timeout(1500)  # charts and frames draw
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


@pytest.fixture(scope="module")
def runs() -> list[str]:
    """The runs of the story so far."""
    return []


# -- a first run ------------------------------------------------------------------------------------------------------


def test_before_the_first_run_the_pages_say_so(signed_in: SignedIn, site: Site) -> None:
    page = signed_in("viewer")
    page.get_by_role("link", name="Tradewind").click()
    row = page.get_by_role("table", name="Pipelines").get_by_role("row", name=NAME)
    expect(row).to_contain_text("never")
    expect(row).to_contain_text("nothing")
    row.get_by_role("link", name=NAME).click()
    for sentence in (
        "has registered a model yet",
        "No run has validated data yet",
        "has registered a version yet",
        "ever released",
    ):
        expect(page.get_by_text(sentence)).to_be_visible()


def test_what_is_not_there_is_not_found(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    page.goto("/plugin/tradewind")
    page.get_by_label("Search pipelines").fill("nowhere")
    expect(page.get_by_text("No pipeline has nowhere in its name.")).to_be_visible()
    page.get_by_label("Search pipelines").fill("late")
    expect(page.get_by_role("link", name=NAME)).to_be_visible()


def form(page: Page, section: str) -> Locator:
    """The form of *Trigger*, with a section of it open."""
    page.goto(f"/dags/{NAME}")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    for each in ("Data", "Training", "Gate", "Rollout"):
        expect(dialog.get_by_text(each, exact=True)).to_be_visible()
    dialog.get_by_text(section, exact=True).click()
    return dialog


def test_a_wrong_value_in_the_form_is_refused_by_its_fields_name(signed_in: SignedIn, site: Site, runs: list[str]) -> None:
    page = signed_in("operator")
    dialog = form(page, "Rollout")
    dialog.locator("#element_canary [role=textbox]").focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text('[{"weight": 50}, {"weight": 10}]')
    page.keyboard.press("Control+Shift+End")
    page.keyboard.press("Delete")  # what the editor has closed by itself
    dialog.get_by_role("button", name="Trigger").click()
    expect(dialog.get_by_text("Invalid input for param canary")).to_be_visible()
    assert newest(site, runs) is None, "no run is made"


def test_a_run_is_triggered_by_the_form_and_watched(signed_in: SignedIn, site: Site, runs: list[str]) -> None:
    page = signed_in("operator")
    dialog = form(page, "Training")
    trees = dialog.locator("[name=element_trees]")
    trees.fill(str(TREES))
    picture(page, "form")
    dialog.get_by_role("button", name="Trigger").click()
    runs.append(until(lambda: newest(site, runs), within_s=60, what="the run"))
    assert site.api._call("GET", f"/api/v2/dags/{NAME}/dagRuns/{quote(runs[0], safe='')}")["conf"]["trees"] == TREES
    page.goto(chain(runs[0]))
    steps = page.get_by_role("list", name="Steps")
    for task in CHAIN:
        expect(steps.get_by_role("link", name=task, exact=True)).to_be_visible()
    until(lambda: site.api.run_state(NAME, runs[0]) in ("success", "failed"), within_s=600, what="the run's end")
    # Nothing was loaded again: the page follows by itself.
    expect(steps.get_by_text("success")).to_have_count(len(CHAIN))
    expect(steps).to_contain_text("quarantined")
    expect(steps).to_contain_text(f"{NAME} version 1")
    picture(page, "chain")


def newest(site: Site, known: list[str]) -> str | None:
    found = site.api._call("GET", f"/api/v2/dags/{NAME}/dagRuns?order_by=-run_after&limit=1")["dag_runs"]
    return str(found[0]["dag_run_id"]) if found and found[0]["dag_run_id"] not in known else None


@pytest.mark.parametrize("task", CHAIN)
def test_every_result_opens(signed_in: SignedIn, site: Site, runs: list[str], task: str) -> None:
    page = signed_in("viewer")
    page.goto(chain(runs[0]))
    page.get_by_role("list", name="Steps").get_by_role("link", name=task, exact=True).click()
    figures = page.get_by_role("table", name="Figures")
    expect(figures).to_be_visible()
    if task not in ("train", "register"):
        report = page.frame_locator(f"iframe[title='Report report of {task}']")
        expect(report.locator("h1, h2, table").first).to_be_visible()
        assert page.locator("iframe").get_attribute("sandbox") == ""
    if task == "register":  # it leaves no manifest: these are what it returned
        expect(page.get_by_text(f"{NAME} version 1", exact=True)).to_be_visible()
        expect(figures.get_by_role("row", name="alias challenger")).to_be_visible()
    leads = {"train": ("MLflow run", site.mlflow), "register": ("MLflow version", site.mlflow), "rollout": ("Endpoint", "http:")}
    if task in leads:
        name, begins = leads[task]
        there = (page.get_by_role("link", name=name).get_attribute("href") or "").startswith(begins)
        assert there, "it leads to what was made"
        page.goto(chain(runs[0]))
        expect(page.get_by_role("list", name="Steps").get_by_role("link", name=name)).to_be_visible()


def test_rows_in_quarantine_are_paged_and_downloaded(signed_in: SignedIn, runs: list[str], tmp_path: Path) -> None:
    page = signed_in("viewer")
    page.goto(result(runs[0], "validate"))
    table = page.get_by_role("table", name="Rows in quarantine")
    # The reasons first; what is hostile is text, as every other cell is. (A dialog would fail the test.)
    expect(table.get_by_role("columnheader").nth(2)).to_have_text("tradewind_reasons")
    place = table.get_by_role("columnheader").all_inner_texts().index("reasons")  # a column of the user's own
    expect(table.get_by_role("row").nth(1).get_by_role("cell").nth(place)).to_have_text("mine")
    expect(table.get_by_role("columnheader", name=HOSTILE_COLUMN)).to_be_visible()
    expect(table.get_by_role("cell", name=HOSTILE_CELL).first).to_be_visible()
    page.get_by_role("heading", name="Rows in quarantine").evaluate("heading => heading.scrollIntoView()")
    picture(page, "quarantine")
    first = table.get_by_role("row").nth(1).inner_text()
    pages = page.get_by_role("navigation", name="Pages of rows")
    total = int(re.findall(r"of ([\d,]+)", pages.inner_text())[0].replace(",", ""))
    expect(pages.get_by_role("button", name="Previous")).to_be_disabled()
    pages.get_by_role("button", name="Next").click()
    expect(pages).to_contain_text(f"26 to 50 of {total:,}")
    expect(table.get_by_role("row").nth(1)).not_to_have_text(first)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == total + 1
    assert HOSTILE_COLUMN in rows[0]


def test_the_pipelines_page_has_it_all(signed_in: SignedIn, site: Site, runs: list[str]) -> None:
    page = signed_in("operator")
    page.goto(pipeline())
    expect(page.get_by_text("the champion is version 1")).to_be_visible()
    expect(page.get_by_role("table", name=f"Versions of {NAME} that serve")).to_contain_text("100%")
    expect(page.get_by_role("img", name=re.compile("Share of rows in quarantine over 1 runs"))).to_be_visible()
    expect(page.get_by_role("table", name="Model versions")).to_contain_text("champion")
    expect(page.get_by_role("table", name="Releases")).to_contain_text("done")
    expect(page.get_by_role("region", name="Last rollout")).to_be_visible()
    picture(page, "pipeline")
    expect(page.get_by_text("Roll back")).to_have_count(0)  # there is nothing under way


def test_dark_is_dark(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    page.emulate_media(color_scheme="dark")
    page.goto(pipeline())
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()
    heading = page.get_by_role("heading", name=NAME)
    expect(heading).to_be_visible()
    colour = heading.evaluate("element => getComputedStyle(element).color")
    assert light(colour) > 0.6, colour
    title = page.locator("[aria-label^='Share of rows in quarantine'] .gtitle")
    expect(title).to_be_visible()
    colour = title.evaluate("element => getComputedStyle(element).fill")
    assert light(colour) > 0.6, f"of a chart: {colour}"


def light(colour: str) -> float:
    """0 black to 1 white, of ``rgb(...)``, ``oklch(...)`` and the like."""
    first, *others = (float(number) for number in re.findall(r"[\d.]+", colour)[:3])
    return sum((first, *others)) / 765 if colour.startswith("rgb") else first


# -- a rollout, live ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canary(site: Site, runs: list[str]) -> Iterator[Record]:
    """A rollout that waits for its canary's requests, which come from then on: before, they would take the training's time."""
    runs.append(site.api.trigger(NAME, {**SLOW, "trees": 61}))

    def canary(requests: int) -> Record | None:
        record = read_record(site.home, NAME)
        return record if record and record.phase == "canary" and record.of(record.version).requests >= requests else None

    until(lambda: canary(0), within_s=400, what="the canary")
    traffic = Traffic.to_what_serves(site.home, NAME)
    assert traffic
    with traffic:
        yield until(lambda: canary(20), within_s=120, what="the canary's requests")


def test_a_viewer_sees_it_live_and_may_not_decide(signed_in: SignedIn, canary: Record) -> None:
    page = signed_in("viewer")
    page.goto(pipeline())
    rollout = page.get_by_role("region", name="Rollout", exact=True)
    expect(rollout).to_contain_text(f"version {canary.version} instead of {canary.stable}")
    latency = r"Latency of both versions in this step, 95 of 100 requests: [\d.]+ s, [\d.]+ s"
    for chart in ("Share of version", "Requests and errors", "Evidence that it fails more often", latency):
        expect(rollout.get_by_role("img", name=re.compile(chart))).to_be_visible()
    table = rollout.get_by_role("table", name="What the versions did with the requests")

    def answered() -> int:
        return int(table.get_by_role("row").nth(2).get_by_role("cell").nth(1).inner_text().replace(",", ""))

    before = answered()
    until(lambda: answered() > before, within_s=30, what="more requests on the page")
    expect(rollout.get_by_role("button")).to_have_count(0)
    refused = page.evaluate(
        """async (path) => (await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"},
           body: JSON.stringify({model: "m", rollout: "r", do: "promote", why: "mine"})})).status""",
        f"/tradewind/dags/{NAME}/rollout",
    )
    assert refused == 403
    picture(page, "rollout")


def test_an_operator_holds_resumes_and_rolls_back(signed_in: SignedIn, site: Site, canary: Record, runs: list[str]) -> None:
    page = signed_in("operator")
    page.goto(result(runs[-1], "rollout"))
    rollout = page.get_by_role("region", name="Rollout", exact=True)
    decide(page, rollout.get_by_role("button", name="Hold"), "let me look first")
    expect(rollout.get_by_text("hold by operator: let me look first").first).to_be_visible()
    held = read_record(site.home, NAME)
    assert held and (held.id, held.phase) == (canary.id, "held")
    decide(page, rollout.get_by_role("button", name="Resume"), "looks well")
    expect(rollout.get_by_role("button", name="Hold")).to_be_visible()
    decide(page, rollout.get_by_role("button", name="Roll back"), "<b>not</b> good enough")
    ended = page.get_by_role("region", name="Last rollout")
    expect(ended.get_by_text("roll back by operator: <b>not</b> good enough").first).to_be_visible()
    page.goto(pipeline())
    releases = page.get_by_role("table", name="Releases")
    expect(releases.get_by_role("row").nth(1)).to_contain_text("roll back by operator: <b>not</b> good enough")
    expect(page.get_by_text(f"the champion is version {canary.stable}")).to_be_visible()


def decide(page: Page, button: Locator, why: str) -> None:
    """By the keyboard: the button, a reason, the button of the dialog. Without a reason it is not to be pressed."""
    tab_to(page, button)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("alertdialog")
    confirm = dialog.get_by_role("button").last
    expect(confirm).to_be_disabled()
    tab_to(page, dialog.get_by_label("Reason"))
    page.keyboard.type(why)
    tab_to(page, confirm)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)


def tab_to(page: Page, element: Locator) -> None:
    """With Tab alone, from wherever the focus is."""
    expect(element).to_be_visible()
    for _ in range(100):
        if element.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {element}")


def test_an_order_for_a_rollout_that_is_over_is_refused(signed_in: SignedIn, site: Site, canary: Record) -> None:
    page = signed_in("operator")
    answer = page.evaluate(
        """async ([path, body]) => {
             const answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body});
             return [answer.status, await answer.text()];
           }""",
        [f"/tradewind/dags/{NAME}/rollout", f'{{"model": "{NAME}", "rollout": "{canary.id}", "do": "promote", "why": "late"}}'],
    )
    assert answer[0] == 409
    assert answer[1].startswith("That rollout is over. That rollout of ")


def test_a_reused_run_shows_it(signed_in: SignedIn, site: Site, runs: list[str]) -> None:
    runs.append(site.api.trigger(NAME, {"trees": TREES}))
    until(lambda: site.api.run_state(NAME, runs[-1]) in ("success", "failed"), within_s=400, what="the run's end")
    page = signed_in("viewer")
    page.goto(chain(runs[-1]))
    expect(page.get_by_role("list", name="Steps").get_by_text("reused", exact=True)).to_have_count(4)
    expect(page.get_by_text("registered before")).to_be_visible()


def test_an_operator_promotes_now(signed_in: SignedIn, site: Site, runs: list[str]) -> None:
    runs.append(site.api.trigger(NAME, {**SLOW, "trees": 62}))
    page = signed_in("operator")
    page.goto(result(runs[-1], "rollout"))
    rollout = page.get_by_role("region", name="Rollout", exact=True)
    expect(rollout).to_contain_text("Step 1 of 1, 20% of the requests", timeout=400_000)
    decide(page, rollout.get_by_role("button", name="Promote now"), "good <i>enough</i>")
    expect(page.get_by_role("region", name="Last rollout")).to_contain_text("promote by operator: good <i>enough</i>")
    until(lambda: site.api.run_state(NAME, runs[-1]) in ("success", "failed"), within_s=120, what="the run's end")
    assert site.api.run_state(NAME, runs[-1]) == "success"
    page.goto(pipeline())
    last = page.get_by_role("table", name="Releases").get_by_role("row").nth(1)
    expect(last).to_contain_text("done")
    expect(last).to_contain_text("good <i>enough</i>")
    record = read_record(site.home, NAME)
    assert record
    expect(page.get_by_text(f"the champion is version {record.version}")).to_be_visible()
