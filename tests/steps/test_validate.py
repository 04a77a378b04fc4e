"""The validate step as it runs: a process of the data environment, files in, artifacts and a verdict out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from steps.test_validate_reading import Ask, ask

from tradewind.contract import StepManifest
from tradewind.store import Store

__all__ = ["ask"]

RunStep = Callable[..., StepManifest]
REPOSITORY = Path(__file__).parents[2]
FLIGHTS = REPOSITORY / "dags" / "flight_delay"
EVIL = "<script>alert('N1')</script>${x}{{y}}"


def flights(count: int) -> list[dict[str, Any]]:
    """Rows as the real file has them."""
    return [
        {
            "year": 2013,
            "month": 1 + n // 672 % 12,
            "day": 1 + n // 24 % 28,
            "dep_time": 600 + n % 50,
            "sched_dep_time": 600 + n % 60,
            "dep_delay": n % 9 - 4,
            "arr_time": 830,
            "sched_arr_time": 825,
            "arr_delay": n % 40 - 20,
            "carrier": ("UA", "AA", "9E")[n % 3],
            "flight": n + 1,
            "tailnum": f"N{n % 700}",
            "origin": ("EWR", "JFK", "LGA")[n % 3],
            "dest": "IAH",
            "air_time": 200 + n % 30,
            "distance": 1400,
            "hour": n % 24,
            "minute": n % 60,
            "time_hour": f"2013-{1 + n // 672 % 12:02}-{1 + n // 24 % 28:02}T{n % 24:02}:00:00Z",
        }
        for n in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def suite(folder: Path, *expectations: tuple[str, dict[str, Any]], **more: Any) -> Path:
    """A pipeline's folder with nothing but expectations."""
    folder.mkdir(exist_ok=True)
    entries = [{"type": kind, "kwargs": kwargs, **more} for kind, kwargs in expectations]
    (folder / "expectations.json").write_text(json.dumps({"name": "test", "expectations": entries}))
    return folder


@pytest.fixture
def validate(run_step: RunStep, store: Store) -> Callable[..., StepManifest]:
    def validate(data: Path, code: Path = FLIGHTS, as_of: str | None = None, **params: Any) -> StepManifest:
        params = {"expectations": "expectations.json", "tolerance": 0.05, "time_column": None, **params}
        return run_step("validate", image="data", params=params, inputs={"data": store.refer(str(data))}, code=code, as_of=as_of)

    return validate


def read(manifest: StepManifest, name: str, store: Store) -> str:
    return store.read(manifest.outputs[name].uri).decode()


def folder(manifest: StepManifest, name: str) -> str:
    return manifest.outputs[name].uri.removeprefix("file://")


class Page(HTMLParser):
    """What a browser would load or run, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attributes if name in ("src", "href") and not (value or "").startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_four_anomalies_are_caught_and_shown(
    validate: Callable[..., StepManifest], store: Store, ask: Ask, tmp_path: Path
) -> None:
    rows = [{**row, "<script>": EVIL, "speed": 1.5} for row in flights(2000)]
    rows[10]["arr_delay"] = ""
    rows[11]["arr_delay"] = "NA"
    rows[20]["dep_delay"] = "late"
    rows[21]["distance"] = EVIL
    rows[30]["time_hour"] = "01/02/2013 05:00"
    rows[31]["time_hour"] = "2013-13-01T10:00:00Z"
    rows[40] = {**rows[41], "dest": "ORD"}
    rows[42] = {**rows[41], "dest": "MIA"}
    rows[50] |= {"arr_delay": "", "dep_delay": "?", "month": 13, "origin": "<b>"}
    rows[60]["speed"] = "inf"
    done = validate(write(tmp_path / "flights.csv", rows), time_column="time_hour", tolerance=0.01)

    assert done.status == "success", done.error
    metrics = done.metrics
    assert metrics["verdict"] == "PASSED"
    assert metrics["anomalies"] == {"missing": 3, "not_a_number": 3, "date_formats": 2, "conflicting_ids": 3}
    assert (metrics["rows_checked"], metrics["rows_valid"], metrics["rows_quarantined"]) == (2000, 1990, 10)
    assert metrics["quarantined_share"] == 0.005
    assert metrics["data_end"] == "2013-03-28T07:00:00+00:00"
    assert metrics["rules"]["failed"] == []
    assert metrics["rules"]["rows"]["expect_column_values_to_be_between(month)"] == 1

    away, kept = ask(["table", folder(done, "quarantine")], ["table", folder(done, "dataset")])
    by_row = {int(row["tradewind_row"]): row for row in away["rows"]}
    assert sorted(by_row) == [11, 12, 21, 22, 31, 32, 41, 42, 43, 51]
    assert by_row[21]["dep_delay"] == "late"
    assert by_row[21]["tradewind_reasons"] == "dep_delay: not a number"
    assert by_row[22]["distance"] == EVIL
    assert by_row[31]["tradewind_reasons"] == "time_hour: not written as %Y-%m-%dT%H:%M:%SZ"
    assert by_row[41]["tradewind_rules"] == "expect_compound_columns_to_be_unique(time_hour, carrier, flight)"
    assert [part.split(":")[0] for part in by_row[51]["tradewind_reasons"].split("; ")] == [
        "arr_delay",
        "dep_delay",
        "month",
        "origin",
    ]
    assert len(kept["rows"]) == 1990
    assert {kept["types"][c] for c in ("year", "flight", "sched_dep_time")} == {"int64"}
    assert {kept["types"][c] for c in ("arr_delay", "dep_time", "distance", "speed")} == {"double"}
    assert kept["types"]["time_hour"] == "timestamp[us, tz=UTC]"
    assert (kept["types"]["tailnum"], kept["types"]["<script>"]) == ("string", "string")
    assert kept["rows"][50]["speed"] == "inf"

    summary = json.loads(read(done, "summary", store))
    assert {a: len(found[0]["rows"]) for a, found in summary["examples"].items()} == {
        "missing": 3, "not_a_number": 2, "date_formats": 2, "conflicting_ids": 3,
    }  # fmt: skip
    html = read(done, "report", store)
    page = Page(html)
    assert not page.tags & {"script", "iframe", "object", "link", "img"}
    assert page.loads == []
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert page.text.count(EVIL) >= 2
    for shown in ("Missing values: 3 rows", "late", "01/02/2013 05:00", "2013-13-01T10:00:00Z", "ORD", "PASSED"):
        assert shown in page.text
    assert "unexpected" in page.text.lower()  # Great Expectations' own tables


def test_beyond_the_tolerance_the_data_fails_and_says_by_how_much(
    validate: Callable[..., StepManifest], store: Store, ask: Ask, tmp_path: Path
) -> None:
    rows = flights(1500)
    for row in rows[:300]:
        row["arr_delay"] = ""
    done = validate(write(tmp_path / "flights.csv", rows), time_column="time_hour", tolerance=0.1)

    assert done.status == "success"
    assert done.metrics["verdict"] == "FAILED"
    (reason,) = done.metrics["reasons"]
    assert "300 of 1,500 rows (20.00%)" in reason
    assert "tolerance is 10.00% (150 rows)" in reason
    assert "expect_column_values_to_not_be_null(arr_delay) (300)" in reason
    assert sorted(done.outputs) == ["quarantine", "report", "summary"]
    (away,) = ask(["table", folder(done, "quarantine")])
    assert len(away["rows"]) == 300
    assert "FAILED" in Page(read(done, "report", store)).text


def test_table_rules_fail_the_data_and_an_error_is_no_pass(
    validate: Callable[..., StepManifest], store: Store, tmp_path: Path
) -> None:
    code = suite(
        tmp_path / "code",
        ("expect_table_row_count_to_equal", {"value": 3}),
        ("expect_column_mean_to_be_between", {"column": "n", "min_value": 10}),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a"], "mostly": 0.5}),
        ("expect_column_values_to_match_regex", {"column": "s", "regex": "((("}),
        ("expect_column_values_to_be_between", {"column": "s", "min_value": "2013-01-01", "max_value": "2014-01-01"}),
        ("expect_table_columns_to_match_set", {"column_set": ["s", "n", "m"]}),
        ("expect_column_values_to_not_be_null", {"column": "<script>"}),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "s", "column_B": "<script>", "ignore_row_if": "either_value_is_missing"},
        ),
    )
    cells = [("a", "inf", "a"), ("b", 1, ""), ("c", -5, "x"), ("c", 2, "c")]
    data = write(tmp_path / "data.csv", [dict(zip(("s", "n", "<script>"), row, strict=True)) for row in cells])
    done = validate(data, code)

    assert done.status == "success", done.error
    assert done.metrics["verdict"] == "FAILED"
    assert done.metrics["rules"]["failed"] == [
        "expect_table_row_count_to_equal",
        "expect_column_values_to_be_in_set(s)",
        "expect_column_values_to_match_regex(s)",
        "expect_column_values_to_be_between(s)",
        "expect_table_columns_to_match_set",
    ]
    reasons = "\n".join(done.metrics["reasons"])
    assert "expected value=3, got 4" in reasons
    assert "match_regex(s) could not be judged: Invalid regular expression" in reasons
    assert "to_be_in_set(s) is broken: expected mostly=0.5, value_set=['a'], got 3 of 4 rows break it" in reasons
    assert (
        "could not be judged" in Page(read(done, "report", store)).text or "not judged" in Page(read(done, "report", store)).text
    )
    assert json.loads(read(done, "summary", store))["expectations"][1]["observed"] == "inf"


def test_as_of_hides_later_rows_as_if_they_were_not_there(
    validate: Callable[..., StepManifest], store: Store, ask: Ask, tmp_path: Path
) -> None:
    rows = flights(2000)
    early = write(tmp_path / "early.csv", [row for row in rows if row["month"] < 3])
    rows[-1] |= {"tailnum": "", "distance": "far", "minute": "x", "flight": rows[-2]["flight"]}
    as_of = "2013-03-01T01:00:00+01:00"
    hidden = validate(write(tmp_path / "all.csv", list(reversed(rows))), as_of=as_of, time_column="time_hour")
    shown = validate(early, time_column="time_hour")

    assert hidden.metrics == shown.metrics
    assert hidden.metrics["data_end"] == "2013-02-28T23:00:00+00:00"
    assert hidden.outputs["dataset"].sha256 == shown.outputs["dataset"].sha256
    assert json.loads(read(hidden, "summary", store))["rows_after_as_of"] == 2000 - shown.metrics["rows_checked"]

    # What one run wrote, another reads. A typed source that has another type than a rule says breaks it as a whole.
    code = suite(
        tmp_path / "code",
        ("expect_column_values_to_be_of_type", {"column": "time_hour", "type_": "datetime64"}),
        ("expect_column_values_to_be_of_type", {"column": "flight", "type_": "str"}),
        ("expect_column_values_to_be_between", {"column": "time_hour", "max_value": "2013-02-28T22:00:00Z"}),
    )
    again = validate(Path(folder(hidden, "dataset")), code, time_column="time_hour")
    assert again.metrics["rows_checked"] == hidden.metrics["rows_valid"]
    assert again.metrics["reasons"] == ["expect_column_values_to_be_of_type(flight) is broken: expected type_=str, got int64"]
    assert again.metrics["rules"]["rows"] == {"expect_column_values_to_be_between(time_hour)": 1}

    (part,) = Path(folder(hidden, "dataset")).iterdir()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(part.read_bytes()[:-100])
    damaged = validate(cut)
    assert damaged.error
    assert "cut.parquet: expected whole Parquet" in damaged.error.message

    none = validate(early, as_of="2012-01-01", time_column="time_hour")
    assert none.error
    assert (none.error.type, none.error.retryable) == ("ValidationFailed", False)
    assert "early.csv: expected rows with time_hour before 2012-01-01T00:00:00+00:00, got none" in none.error.message


def test_any_standard_expectation_can_be_used(validate: Callable[..., StepManifest], store: Store, tmp_path: Path) -> None:
    rows = [
        {"id": f"a{n}", "n": n, "m": n + 0.5, "s": "xy"[n % 2], "d": f"2013-01-{n + 1:02}", "j": '{"a": 1}'} for n in range(20)
    ]
    rows[3]["s"] = "odd"
    rows[5]["n"] = ""
    code = suite(
        tmp_path / "code",
        ("expect_column_to_exist", {"column": "id"}),
        ("expect_table_column_count_to_equal", {"value": 6}),
        ("expect_table_columns_to_match_ordered_list", {"column_list": ["id", "n", "m", "s", "d", "j"]}),
        ("expect_column_values_to_be_in_type_list", {"column": "n", "type_list": ["int64", "float64"]}),
        ("expect_column_values_to_be_of_type", {"column": "m", "type_": "FLOAT"}),
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_column_value_lengths_to_be_between", {"column": "id", "min_value": 2, "max_value": 3}),
        ("expect_column_values_to_match_regex_list", {"column": "id", "regex_list": ["^a", "^b"], "match_on": "any"}),
        ("expect_column_values_to_not_match_regex", {"column": "id", "regex": "<"}),
        ("expect_column_values_to_be_json_parseable", {"column": "j"}),
        ("expect_column_values_to_match_strftime_format", {"column": "d", "strftime_format": "%Y-%m-%d"}),
        ("expect_column_values_to_be_dateutil_parseable", {"column": "d"}),
        ("expect_column_max_to_be_between", {"column": "d", "min_value": "2013-01-01", "max_value": "2013-01-31"}),
        ("expect_column_mean_to_be_between", {"column": "n", "min_value": 1, "max_value": 20}),
        ("expect_column_median_to_be_between", {"column": "n", "min_value": 1, "max_value": 20}),
        ("expect_column_stdev_to_be_between", {"column": "m", "min_value": 1, "max_value": 20}),
        ("expect_column_sum_to_be_between", {"column": "m", "min_value": 1, "max_value": 2000}),
        (
            "expect_column_quantile_values_to_be_between",
            {"column": "m", "quantile_ranges": {"quantiles": [0.1, 0.9], "value_ranges": [[0, 9], [9, 30]]}},
        ),
        ("expect_column_values_to_be_increasing", {"column": "m"}),
        ("expect_column_value_z_scores_to_be_less_than", {"column": "m", "threshold": 4, "double_sided": True}),
        ("expect_column_distinct_values_to_contain_set", {"column": "s", "value_set": ["x", "y"]}),
        ("expect_column_unique_value_count_to_be_between", {"column": "s", "min_value": 2, "max_value": 4}),
        ("expect_column_proportion_of_unique_values_to_be_between", {"column": "id", "min_value": 1}),
        ("expect_column_most_common_value_to_be_in_set", {"column": "s", "value_set": ["x", "y"]}),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "m", "column_B": "n", "ignore_row_if": "either_value_is_missing"},
        ),
        ("expect_column_pair_values_to_be_equal", {"column_A": "n", "column_B": "n"}),
        ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["n", "m"]}),
        (
            "expect_column_values_to_be_between",
            {"column": "n", "min_value": 5, "row_condition": "m > 7", "condition_parser": "pandas"},
        ),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["x", "y"], "mostly": 0.9}),
    )
    text = json.loads((code / "expectations.json").read_text())
    kind = "expect_column_values_to_not_be_in_set"
    text["expectations"].append({"type": kind, "kwargs": {"column": "s", "value_set": ["odd"]}, "severity": "warning"})
    text["expectations"][0] |= {"notes": "<b>why</b>", "description": "the <i>name</i>", "meta": {"owner": "us"}}
    (code / "expectations.json").write_text(json.dumps(text))
    done = validate(write(tmp_path / "data.csv", rows), code, tolerance=0, time_column="d", id_columns=["id", "d"])

    assert done.status == "success", done.error
    assert done.metrics["reasons"] == []
    assert (done.metrics["verdict"], done.metrics["rows_quarantined"]) == ("PASSED", 0)
    assert done.metrics["data_end"] == "2013-01-20T00:00:00+00:00"
    told = {entry["rule"]: entry for entry in json.loads(read(done, "summary", store))["expectations"]}
    assert [rule for rule, entry in told.items() if not entry["passed"]] == [f"{kind}(s)"]
    assert [rule for rule, entry in told.items() if entry["implied"]] == [
        "expect_column_values_to_not_be_null(d)",
        "expect_compound_columns_to_be_unique(id, d)",
    ]
    html = read(done, "report", store)
    assert "data docs rendering" not in html.lower()
    assert "<b>why" not in html
    assert "<i>name" not in html and "&#60;i&#62;name" in html


@pytest.mark.parametrize(
    ("change", "params", "as_of", "said"),
    [
        ({"arr_delay": "arrival"}, {}, None, ["flights.csv: expected the column 'arr_delay'", "expectations.json", "got 'year'"]),
        ({}, {"tolerance": 1.5}, None, ["tolerance: expected a share of rows from 0 to 1, got 1.5"]),
        ({}, {}, "2013-02-01", ["as_of is 2013-02-01: expected a time_column"]),
    ],
)
def test_what_cannot_be_judged_is_an_error_that_is_not_tried_again(
    validate: Callable[..., StepManifest],
    tmp_path: Path,
    change: dict[str, str],
    params: dict[str, Any],
    as_of: str | None,
    said: list[str],
) -> None:
    rows = [{change.get(name, name): value for name, value in row.items()} for row in flights(3)]
    done = validate(write(tmp_path / "flights.csv", rows), as_of=as_of, **params)
    assert done.status == "failed"
    assert done.outputs == {}
    assert done.error
    assert done.error.type in ("SpecError", "ValidationFailed")
    assert not done.error.retryable
    for part in said:
        assert part in done.error.message
