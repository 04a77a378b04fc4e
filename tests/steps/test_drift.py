"""The drift step, for real: tables that stay as they were, and tables that do not."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from learning import Learning

from tradewind.runtimes.environments import Environments

HOSTILE = "<script>alert(1)</script> $x$ a.b"
TIME = "time_hour"
ROWS = 2000


def table(*, seed: int, rows: int = ROWS, **columns: Any) -> pa.Table:
    """Flights by chance; ``columns`` replaces some, None leaves one out."""
    chance = random.Random(seed)
    made = {
        TIME: pa.array([1_357_000_000 + 3600 * n for n in range(rows)], pa.timestamp("s", "UTC")),
        "temp": [None if n % 50 == 0 else chance.gauss(50, 10) for n in range(rows)],
        "seats": [chance.choice([50, 150, 300]) for _ in range(rows)],
        "night": [chance.random() < 0.2 for _ in range(rows)],
        "carrier": [chance.choice("AABBBC") for _ in range(rows)],
        "note": [f"{chance.random()}" for _ in range(rows)],
        HOSTILE: [chance.choice(["<b>$x$ & y</b>", "z"]) for _ in range(rows)],
        "late": [int(chance.random() < 0.3) for _ in range(rows)],
        **columns,
    }
    return pa.table({name: values for name, values in made.items() if values is not None})


TABLES = {
    "then": table(seed=1),
    "now": table(seed=2),
    "warmer": table(seed=2, temp=[random.Random(n).gauss(70, 10) for n in range(ROWS)]),
    "new_carrier": table(seed=2, carrier=["Z" if n % 5 == 0 else "AABBBC"[n % 6] for n in range(ROWS)]),
    "without_temp": table(seed=2, temp=None),
    "seats_as_text": table(seed=2, seats=["150"] * ROWS),
    "seats_as_floats": table(seed=2, seats=[float(value.as_py()) for value in table(seed=2)["seats"]]),
    "no_temp_at_all": table(seed=2, temp=pa.nulls(ROWS, pa.float64())),
    "no_type_at_all": table(seed=2, temp=pa.nulls(ROWS)),
    "hostile": table(seed=2, **{HOSTILE: ["<i>new</i>"] * ROWS}),
    "unlabelled": table(seed=2, late=None),
    "cold": table(seed=2, temp=[random.Random(n).gauss(38, 3) for n in range(ROWS)]),
    "few": table(seed=2, rows=100, temp=[90.0] * 100),
    "few_without_temp": table(seed=2, rows=100, temp=None),
    "none": table(seed=2)[:0],
    "by_hand": pa.table({"n": [float(n) for n in range(1, 101)], "c": ["a"] * 50 + ["b"] * 50}),
    "by_hand_now": pa.table({"n": [5.0] * 50 + [95.0] * 40 + [None] * 10, "c": ["a"] * 80 + ["b"] * 10 + ["new"] * 10}),
    "constant": pa.table({"n": [5.0] * 300}),
    "lower": pa.table({"n": [4.0] * 300}),
}


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> dict[str, Any]:
    learning = Learning(tmp_path_factory.mktemp("drift"), environments)
    for name, made in TABLES.items():
        (learning.folder / name).mkdir()
        pq.write_table(made, learning.folder / name / "part-0.parquet")
    (learning.folder / "broken").mkdir()
    (learning.folder / "broken" / "part-0.parquet").write_bytes(b"PAR1 and no more")
    usual = {"label": "late", "time_column": TIME}
    for name in TABLES.keys() - {"then", "by_hand", "by_hand_now", "constant", "lower", "cold"}:
        learning.drift(name, name, "then", **usual)
    learning.drift(
        "by_hand", "by_hand_now", "by_hand", min_rows=100, rules=["psi <= 0.25", "ks <= 0.1", "unseen <= 0.05", "missing <= 0.05"]
    )
    learning.drift("constant", "lower", "constant")
    learning.drift("left_out", "warmer", "then", **usual, exclude=["temp"])
    learning.drift("allowed", "warmer", "then", **usual, rules=["psi <= 100"])
    learning.drift("cold", "cold", "then", **usual, rules=["unseen <= 0.05"])
    learning.drift("no_champion", "now", champion_version=None)
    learning.drift(
        "before", "warmer", "then", **usual, as_of="2013-01-05T00:00:00+00:00", reference_as_of="2013-01-03T00:00:00+00:00"
    )
    learning.drift("before_all", "now", "then", **usual, as_of="2012-01-01T00:00:00+00:00")
    learning.drift("broken", "broken", "then", **usual)
    return learning.run()


def metrics(came: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(came[name]["metrics"])


def of(came: dict[str, Any], name: str, column: str) -> dict[str, Any]:
    return next(found for found in came[name]["metrics"]["columns"] if found["column"] == column)


def page(came: dict[str, Any], name: str) -> str:
    return Path(came[name]["outputs"]["report"]["uri"].removeprefix("file://")).read_text()


def test_the_same_by_chance_is_steady(came: dict[str, Any]) -> None:
    found = metrics(came, "now")
    assert (found["verdict"], found["drifted"], found["reasons"]) == ("STEADY", False, [])
    assert (found["rows"], found["reference_rows"], found["champion_version"]) == (ROWS, ROWS, "3")
    assert {column["column"] for column in found["columns"]} == set(TABLES["then"].column_names) - {TIME}
    assert all(column["psi"] < 0.05 for column in found["columns"])
    assert found["rules"] == [
        {"rule": "psi <= 0.25", "value": found["columns"][0]["psi"], "expected": "<= 0.25", "verdict": "PASSED"}
    ]


@pytest.mark.parametrize(
    ("name", "worst", "reason"),
    [
        ("warmer", "temp", "'temp' has moved: psi "),
        ("new_carrier", "carrier", "'carrier' has moved: psi "),
        ("without_temp", "temp", "'temp' is missing"),
        ("seats_as_text", "seats", "'seats' is text, expected numbers"),
        ("no_temp_at_all", "temp", "'temp' has moved: psi "),
        ("no_type_at_all", "temp", "'temp' has moved: psi "),
        ("hostile", HOSTILE, f"{HOSTILE!r} has moved: psi "),
        ("constant", "n", "'n' has moved: psi "),
    ],
)
def test_a_drift_names_its_column(name: str, worst: str, reason: str, came: dict[str, Any]) -> None:
    found = metrics(came, name)
    assert (found["verdict"], found["drifted"], found["worst"]) == ("DRIFTED", True, worst)
    assert len(found["reasons"]) == 1
    assert found["reasons"][0].startswith(reason)


def test_psi_is_what_a_person_comes_to(came: dict[str, Any]) -> None:
    """1 to 100 has ten rows in each tenth; now half are in the first, four tenths in the last, the rest are missing."""
    nothing = 1e-4
    empty = 8 * (nothing - 0.1) * math.log(nothing / 0.1)
    expected = (0.5 - 0.1) * math.log(0.5 / 0.1) + (0.4 - 0.1) * math.log(0.4 / 0.1) + empty
    expected += (0.1 - nothing) * math.log(0.1 / nothing)
    numbers, texts = of(came, "by_hand", "n"), of(came, "by_hand", "c")
    assert numbers["psi"] == pytest.approx(expected)
    assert numbers["ks"] == pytest.approx(50 / 90 - 5 / 100), "at 5: 50 of the 90 that are known, 5 of 100 before"
    assert (numbers["unseen"], numbers["missing"]) == (0, pytest.approx(0.1))
    a, b = (0.8 - 0.5) * math.log(0.8 / 0.5), (0.1 - 0.5) * math.log(0.1 / 0.5)
    assert texts["psi"] == pytest.approx(a + b + (0.1 - nothing) * math.log(0.1 / nothing))
    assert (texts["ks"], texts["unseen"], texts["missing"]) == (None, pytest.approx(0.1), 0)
    assert metrics(came, "by_hand")["reasons"] == [
        "'n' has moved: psi 7.27, expected <= 0.25",
        "'c' has moved: psi 1.47, expected <= 0.25",
        "'n' has moved: ks 0.506, expected <= 0.1 (psi 7.27)",
        "'c' has moved: unseen 0.1, expected <= 0.05 (psi 1.47)",
        "'n' has moved: missing 0.1, expected <= 0.05 (psi 7.27)",
    ]


def test_beyond_all_there_was_is_unseen_and_a_part_of_it_is_not(came: dict[str, Any]) -> None:
    assert of(came, "constant", "n")["unseen"] == 1
    assert of(came, "new_carrier", "carrier")["unseen"] == pytest.approx(0.2)
    assert of(came, "no_temp_at_all", "temp")["unseen"] == 0, "that is what missing is for"
    assert metrics(came, "cold")["verdict"] == "STEADY"
    assert of(came, "cold", "temp")["psi"] > 1


def test_what_is_no_drift(came: dict[str, Any]) -> None:
    for name in ("seats_as_floats", "unlabelled", "left_out", "allowed"):
        assert metrics(came, name)["verdict"] == "STEADY", metrics(came, name)["reasons"]
    assert "temp" not in {column["column"] for column in metrics(came, "left_out")["columns"]}
    assert of(came, "now", "note")["psi"] == 0, "texts that no two rows share are others each time"


def test_too_few_rows_decide_nothing_but_what_is_certain(came: dict[str, Any]) -> None:
    few = "100 rows to compare by, expected at least 200 to conclude anything from shares"
    assert (metrics(came, "few")["verdict"], metrics(came, "few")["drifted"]) == ("INCONCLUSIVE", False)
    assert metrics(came, "few")["reasons"] == [few]
    assert metrics(came, "few_without_temp")["verdict"] == "DRIFTED"
    assert metrics(came, "few_without_temp")["reasons"] == ["'temp' is missing", few]


def test_without_a_champion_nothing_is_compared(came: dict[str, Any]) -> None:
    found = metrics(came, "no_champion")
    assert (found["verdict"], found["drifted"], found["columns"], found["reference_rows"]) == ("NO CHAMPION", False, [], None)
    assert "No version of late serves: 2,000 rows, and nothing to compare them with" in page(came, "no_champion")


def test_each_side_ends_where_its_run_did(came: dict[str, Any]) -> None:
    found = metrics(came, "before")
    assert (found["rows"], found["reference_rows"]) == (96, 48)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", ["dataset: no rows in ", "nothing to compare"]),
        ("before_all", ["dataset: no rows in ", "before 2012-01-01"]),
        ("broken", ["dataset: expected a Parquet file"]),
    ],
)
def test_nothing_to_compare_is_an_error(name: str, words: list[str], came: dict[str, Any]) -> None:
    assert came[name]["type"] == "ValidationFailed"
    assert [word for word in words if word not in came[name]["message"]] == []


def test_hostile_names_are_text_in_the_report(came: dict[str, Any]) -> None:
    text = page(came, "hostile")
    for raw in ("<script", "<b>$x", "<i>new"):
        assert raw not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x$ a.b" in text
    assert "&lt;b&gt;$x$ &amp; y&lt;/b&gt;" in text, "a bin's name in the plot"


def test_the_report_needs_nothing_else(came: dict[str, Any]) -> None:
    text = page(came, "warmer")
    assert text.count("<svg") == 6
    assert text.count("</html>") == 1
    assert "src=" not in text
    assert "<link" not in text
    assert "'v FAILED'>DRIFTED" in text
    told = json.loads(Path(came["warmer"]["outputs"]["columns"]["uri"].removeprefix("file://")).read_text())
    assert told["columns"] == metrics(came, "warmer")["columns"]
