"""Versions and releases are found by what a person types, and a page that has none says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect
from releases import Releases
from ui_site import Site, pipeline

from tradewind.registry import Registry
from tradewind.store import Store

SignedIn = Callable[[str], Page]


def test_versions_and_releases_are_found_by_what_one_types(signed_in: SignedIn, second: dict[str, Any]) -> None:
    page = signed_in("viewer")
    page.goto(pipeline("asks"))
    versions = page.get_by_role("table", name="Model versions").get_by_role("row")
    expect(versions).to_have_count(3)  # a heading, and two
    box = page.get_by_label("Search versions")
    for typed, found in (("champ", "1"), ("2", "2"), ("one", "1")):  # an alias, a number, a run
        box.fill(typed)
        expect(versions).to_have_count(2)
        expect(versions.nth(1).get_by_role("cell").nth(1)).to_have_text(found)
    box.fill("<b>nothing")
    expect(page.get_by_text("No version has <b>nothing as its number or alias")).to_be_visible()

    releases = page.get_by_role("table", name="Releases").get_by_role("row")
    expect(releases).to_have_count(2)
    box = page.get_by_label("Search releases")
    for typed in ("anna", "100% o'brien's", "version 1"):
        box.fill("version 7")
        expect(page.get_by_text("No release has version 7 in its record.")).to_be_visible()
        box.fill(typed)
        expect(releases).to_have_count(2)
    box.fill("")
    expect(releases).to_have_count(2)


def test_versions_and_releases_are_paged(signed_in: SignedIn, site: Site) -> None:
    with Registry(site.mlflow) as registry:
        made = Releases(Store(str(site.home / "store")), registry, "many")
        for n in range(1, 23):  # a page has 20
            made.make(f"run{n}")
            record = {"at": float(n), "outcome": "released", "version": str(n), "serves": str(n), "before": None, "by": "anna",
                      "why": "", "reason": ""}  # fmt: skip
            registry.note_release("many", f"release {n}", record)
    page = signed_in("viewer")
    page.goto(pipeline("many"))
    for what, table in (("versions", "Model versions"), ("releases", "Releases")):
        rows = page.get_by_role("table", name=table).get_by_role("row")
        pages = page.get_by_role("navigation", name=f"Pages of {what}")
        expect(rows).to_have_count(21)
        expect(rows.nth(1)).to_contain_text("22")
        expect(pages.get_by_role("button", name="Previous")).to_be_disabled()
        pages.get_by_role("button", name="Next").click()
        expect(rows).to_have_count(3)
        expect(pages).to_contain_text("Page 2")
        expect(pages.get_by_role("button", name="Next")).to_be_disabled()
        pages.get_by_role("button", name="Previous").click()
        expect(rows).to_have_count(21)
