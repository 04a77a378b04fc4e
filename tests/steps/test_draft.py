"""What a table never seen before is taken for: types, keys, dates, the task, and how sure the drafted rules are."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from learning import call

from tradewind.runtimes.environments import Environments

ROWS = 400
TYPE, NULL, UNIQUE = "be_of_type", "not_be_null", "be_unique"
Cell = Callable[[int], object]


def cells(**columns: Cell) -> dict[str, Cell]:
    """Columns by name, a cell by its row's number; with a target of two classes and a number to learn it from."""
    return {"y": lambda n: "yes" if n % 3 else "no", "x": lambda n: round(chance(n) * 9, 2), **columns}


def chance(n: int) -> float:
    return random.Random(n).random()


def some(values: Sequence[object], seed: int = 7) -> Cell:
    return lambda n: random.Random(n * seed).choice(values)


def day(n: int) -> tuple[int, int, int]:
    return 2013 + n % 5, 1 + n % 12, 1 + n % 28


TABLES: dict[str, tuple[dict[str, Cell], str]] = {
    "names": (
        cells(
            **{
                "": lambda n: n,
                "a b (c)": chance,
                "a.b": chance,
                "`tick`": chance,
                "ünïcode €": some(["ä", "ö"]),
                "'quoted', \"so\"": chance,
                "<script>alert(1)</script>": some(["<b>", "&"]),
                "{{ params.x }}": chance,
                "select": chance,
                "2013": chance,
            }
        ),
        "y",
    ),
    "missing": (
        cells(
            some=lambda n: "" if n % 4 == 0 else n,
            few=lambda n: "NA" if n == 9 else n % 7,
            none=lambda n: "",
            marks=lambda n: "?" if n % 20 == 0 else n,
        ),
        "y",
    ),
    "dates": (
        cells(
            iso=lambda n: "{}-{:02}-{:02}".format(*day(n)),
            us=lambda n: "{1}/{2}/{0}".format(*day(n)),
            either=lambda n: f"{1 + n % 12:02}/{1 + n % 12:02}/2013",
            german=lambda n: "{2}.{1}.{0}".format(*day(n)),
            mixed=lambda n: ("{}-{:02}-{:02}" if n % 2 else "{2:02}/{1:02}/{0}").format(*day(n)),
            odd=lambda n: "soon" if n == 5 else "{}-{:02}-{:02}T10:00:00Z".format(*day(n)),
        ),
        "y",
    ),
    "codes": (
        cells(
            zip=lambda n: f"{n * 37 % 99_999:05}",
            id=lambda n: n + 1,
            uuid=lambda n: f"{n * 7919:08x}",
            row=lambda n: f"R-{n}",
            population=lambda n: n * n + 17,
            money=lambda n: f"${n * 7:,}.50",
            share=lambda n: f"{n % 90}%",
        ),
        "y",
    ),
    "constant": (cells(one=lambda n: "x", zero=lambda n: 0, same=lambda n: "1" if n % 3 else "0"), "y"),
    "words": (
        cells(
            title=lambda n: f"the {some(['red', 'blue', 'old'])(n)} house number {n}",
            kind=some(["a", "b", "c"]),
            genres=lambda n: f"{some('abcdefg', 3)(n)}, {some('hijklmn', 5)(n)}",
            new=lambda n: f"v{n}" if n < 9 else "v0",
        ),
        "y",
    ),
    "sentinel": (cells(depth=lambda n: 9999 if n % 200 == 0 else chance(n) * 5), "y"),
    "typo": (cells(n=lambda n: "1O" if n == 3 else n % 50), "y"),
    "amount": (cells(price=lambda n: n * 1.5 + chance(n)), "price"),
    "monthly": (cells(when=lambda n: "{}-{:02}-{:02}".format(*day(n)), price=lambda n: n * 1.5 + chance(n)), "price"),
    "counted": (cells(row=lambda n: n + 1), "row"),
    "stars": (cells(stars=some([1, 2, 3, 4, 5])), "stars"),
    "rare": (cells(kind=lambda n: "rare" if n < 4 else "ab"[n % 2]), "kind"),
    "few": ({"y": lambda n: n % 2, "x": lambda n: n}, "y"),
    "late": (
        cells(when=lambda n: f"2013-01-01T{n // 60:02}:{n % 60:02}:00Z", flag=lambda n: "new" if n > 380 else "ab"[n % 2]),
        "flag",
    ),
    "nearly": (cells(Price=chance), "price"),
    "twice": (cells(Price=chance, price=chance), "y"),
    "ids": (cells(name=lambda n: f"name {n}"), "name"),
    "numbered": (cells(**{"2013": chance}), "2013"),
}


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("drafts")
    wanted = []
    for name, (columns, target) in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([cell(n) for cell in columns.values()] for n in range(20 if name == "few" else ROWS))
        wanted.append([str(folder / f"{name}.csv"), target])
    (folder / "wanted.json").write_text(json.dumps(wanted))
    return dict(zip(TABLES, call(environments.python("data"), "draft_probe.py", str(folder / "wanted.json")), strict=True))


def rules(draft: dict[str, Any], column: str, kind: str = "") -> Iterator[dict[str, Any]]:
    for entry in draft["expectations"]["expectations"]:
        if entry["kwargs"].get("column") == column and entry["type"].endswith(kind):
            yield entry


def rule(draft: dict[str, Any], column: str, kind: str) -> dict[str, Any]:
    (found,) = rules(draft, column, kind)
    return found


def test_hostile_names_are_names(drafts: dict[str, Any]) -> None:
    draft = drafts["names"]
    names = set(TABLES["names"][0]) - {"", "y"}
    assert {*draft["table"]["numbers"], *draft["table"]["categories"]} == names
    assert draft["table"]["left_out"] == {"": "it has no name"}
    assert not list(rules(draft, ""))
    assert all(rule(draft, name, TYPE) for name in names)


def test_missing_values(drafts: dict[str, Any]) -> None:
    draft = drafts["missing"]
    assert rule(draft, "some", NULL)["kwargs"]["mostly"] == 0.48, "twice as many, and a little, would be a change"
    assert rule(draft, "some", NULL)["notes"] == "25% are missing today; more than 52% would be a change"
    assert rule(draft, "few", NULL)["kwargs"]["mostly"] < 0.99
    assert "mostly" not in rule(draft, "x", NULL)["kwargs"]
    assert draft["table"]["left_out"]["none"] == "it is empty"
    marks = rule(draft, "marks", "match_regex")
    assert marks["severity"] == "warning"
    assert marks["notes"].startswith("95% of today's 400 rows pass; 20 do not. Doubtful:")
    assert not list(rules(draft, "marks", TYPE)), "a type would cost these rows"
    assert "marks" in draft["table"]["numbers"]


def test_dates(drafts: dict[str, Any]) -> None:
    draft, written = drafts["dates"], "match_strftime_format"
    formats = {name: rule(draft, name, written)["kwargs"]["strftime_format"] for name in ("iso", "us", "either", "german", "odd")}
    assert formats == {
        "iso": "%Y-%m-%d", "us": "%m/%d/%Y", "either": "%m/%d/%Y", "german": "%d.%m.%Y", "odd": "%Y-%m-%dT%H:%M:%SZ",
    }  # fmt: skip
    assert "Doubtful: the dates read as %d/%m/%Y just as well" in rule(draft, "either", written)["notes"]
    assert (
        "99.75% of today's 400 rows pass; 1 do not. Doubtful: these cells go to quarantine"
        in rule(draft, "odd", written)["notes"]
    )
    assert not list(rules(draft, "mixed", written))
    assert draft["table"]["dates"]["mixed"]["patterns"] == ["yyyy-MM-dd", "d/M/yyyy"]
    assert "written in several ways (%Y-%m-%d, %d/%m/%Y)" in rule(draft, "mixed", "match_regex")["notes"]
    assert draft["table"]["time"] in ("iso", "us", "german")
    assert "year" not in draft["table"]["dates"][draft["table"]["time"]]["parts"]


def test_codes_keys_and_numbers_for_people(drafts: dict[str, Any]) -> None:
    draft = drafts["codes"]
    assert rule(draft, "zip", TYPE)["kwargs"]["type_"] == "str", "a leading zero is no amount"
    assert rule(draft, "zip", "match_regex")["kwargs"]["regex"] == r"^\d{5}$"
    for key in ("id", "uuid", "row", "zip"):
        assert key in draft["table"]["left_out"]
        assert rule(draft, key, UNIQUE)
    assert not list(rules(draft, "population", UNIQUE)), "different in each row, and an amount"
    assert set(draft["table"]["numbers"]) == {"x", "population", "money", "share"}
    assert not list(rules(draft, "money", TYPE))


def test_a_constant_and_a_copy_of_the_target_teach_nothing(drafts: dict[str, Any]) -> None:
    left_out = drafts["constant"]["table"]["left_out"]
    assert left_out == {"one": "all rows have 'x'", "zero": "all rows have 0", "same": "it says the same as 'y'"}


def test_a_target_that_is_a_key_is_asked_about(drafts: dict[str, Any]) -> None:
    [asked] = [line for line in drafts["counted"]["said"] if "is it what you want to predict?" in line]
    assert asked.startswith("The target 'row' reads as a key, it counts the rows")
    assert not any("is it what you want" in line for line in drafts["stars"]["said"] + drafts["amount"]["said"])


def test_words_and_categories(drafts: dict[str, Any]) -> None:
    draft = drafts["words"]
    assert draft["table"]["texts"] == ["title", "genres"]
    assert draft["table"]["categories"] == ["kind", "new"]
    assert rule(draft, "kind", "in_set")["kwargs"]["value_set"] == ["a", "b", "c"]
    assert "severity" not in rule(draft, "kind", "in_set")
    new = rule(draft, "new", "in_set")
    assert new["severity"] == "warning"
    assert "8 of the 9 values came once only" in new["notes"]


def test_a_mark_far_away(drafts: dict[str, Any]) -> None:
    wide, near = rules(drafts["sentinel"], "depth", "be_between")
    assert wide["kwargs"]["max_value"] > 9999
    assert near["severity"] == "warning"
    assert near["kwargs"]["max_value"] < 100
    assert "99.5% of today's 400 rows pass; 2 do not. Doubtful: 9999 is far from" in near["notes"]


def test_one_bad_cell_does_not_make_a_column_text(drafts: dict[str, Any]) -> None:
    draft = drafts["typo"]
    assert rule(draft, "n", TYPE)["kwargs"]["type_"] == "int64"
    assert "1 do not. Doubtful: these cells go to quarantine" in rule(draft, "n", TYPE)["notes"]


@pytest.mark.parametrize(
    ("table", "task", "classes", "first"),
    [
        ("names", "binary", ["no", "yes"], "auc >= 0.5"),
        ("amount", "regression", [], "r2 >= 0"),
        ("monthly", "regression", [], "rmse <= 174"),
        ("stars", "multiclass", [1, 2, 3, 4, 5], "balanced_accuracy >= 0.2"),
        ("rare", "binary", ["a", "b"], "auc >= 0.5"),
    ],
)
def test_the_task(drafts: dict[str, Any], table: str, task: str, classes: list[Any], first: str) -> None:
    found = drafts[table]["table"]
    assert (found["task"], found["classes"], found["rules"][0]) == (task, classes, first)


def test_a_rare_class_is_left_out_and_said(drafts: dict[str, Any]) -> None:
    assert "Classes with fewer than 10 rows are left out of learning: 'rare' (4)" in drafts["rare"]["said"]
    assert rule(drafts["rare"], "kind", "in_set")["kwargs"]["value_set"] == ["a", "b", "rare"]


def test_no_split_by_a_time_that_parts_the_classes(drafts: dict[str, Any]) -> None:
    assert drafts["late"]["table"]["time"] is None
    assert any(
        "'when' holds times, but the rows are not split by it: 1 of the classes come at the end only" in line
        for line in drafts["late"]["said"]
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("few", "expected at least 50 rows that have one, got 20"),
        ("nearly", "Target 'price': there is no such column; there are 'y', 'x', 'Price' (may it be 'Price'?)"),
        ("twice", "the columns 'Price' and 'price' are one to Spark: rename one of them"),
        ("numbered", "Target '2013': expected a name that does not read as a number or a template: rename it"),
        ("ids", "Target 'name' is text with 400 different values in 400 rows ('name 0', "),
    ],
)
def test_what_cannot_be_guessed_is_said(drafts: dict[str, Any], table: str, message: str) -> None:
    assert message in drafts[table]["error"]
