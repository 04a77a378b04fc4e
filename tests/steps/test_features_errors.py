"""What users get wrong in a build, and the one sentence that each of them reads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tradewind.runtimes.environments import Environments

PROBE = Path(__file__).with_name("features_probe.py")
PARAMS = {"label": "late", "time_column": "time_hour", "known_after": ["air_time"]}
BUILD = "from pyspark.sql import functions as F\ndef build(spark, sources, params):\n    flights = sources['flights']\n    "

# What line 4 of the build is, params beside PARAMS, the error's type, what its message says.
CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no frame": ("return 7", {}, "ValidationFailed", "must return a Spark DataFrame, it returned builtins.int"),
    "no label": (
        "return flights.select('time_hour', 'carrier')",
        {},
        "ValidationFailed",
        "The label 'late' is not in what build made; it has: time_hour, carrier",
    ),
    "no time": (
        "return flights.selectExpr('1 as late')",
        {},
        "ValidationFailed",
        "The time column 'time_hour' is not in what build made",
    ),
    "known after": (
        "return flights.selectExpr('time_hour', 'air_time', '1 as late')",
        {},
        "ValidationFailed",
        "build kept 'air_time', known only after the event",
    ),
    "a column twice": (
        "return flights.selectExpr('time_hour', 'day', 'day as Day', '1 as late')",
        {},
        "ValidationFailed",
        "more than one column named 'day'",
    ),
    "no rows": (
        "return flights.selectExpr('time_hour', '1 as late').where('late = 2')",
        {},
        "ValidationFailed",
        "build made no rows; the sources have rows: flights 3, planes 2",
    ),
    "no such column": (
        "return flights.select('tial')",
        {},
        "StepFailed",
        ".py:4 in build: A column, variable, or function parameter with name `tial` cannot be resolved. Did you mean",
    ),
    "no such source": (
        "return sources['wether']",
        {},
        "SpecError",
        "There is no source 'wether'; the operator's `sources` has: flights, planes",
    ),
    "Python": ("return params['depth']", {}, "StepFailed", ".py:4 in build: KeyError: 'depth'"),
    "cast": (
        "return flights.select('time_hour', F.col('carrier').cast('int').alias('late'))",
        {},
        "StepFailed",
        '.py:4: The value \'UA\' of the type "STRING" cannot be cast to "INT"',
    ),
    "schema": (
        "return flights",
        {"schemas": {"planes": "seats INT"}},
        "ValidationFailed",
        "Source 'planes', column 'seats': expected a whole number (int), got 'many' in row 2",
    ),
    "schema's source": (
        "return flights",
        {"schemas": {"plains": "seats INT"}},
        "SpecError",
        "no source 'plains'; there are: flights, planes",
    ),
    "schema's column": (
        "return flights",
        {"schemas": {"planes": "seat INT"}},
        "SpecError",
        "source 'planes' has no column 'seat'",
    ),
    "schema's type": ("return flights", {"schemas": {"planes": "seats NUMBR"}}, "SpecError", "schemas, source 'planes'"),
}


@pytest.fixture(scope="module")
def raised(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "flights.csv").write_text(
        "day,carrier,air_time,time_hour\n" + "".join(f"{n},UA,1,2013-01-01T1{n}:00:00Z\n" for n in range(3))
    )
    (folder / "planes.csv").write_text("tailnum,seats\nN1,2\nN2,many\n")
    (folder / "cases.json").write_text(
        json.dumps({name: [BUILD + line, {**PARAMS, **params}] for name, (line, params, _, _) in CASES.items()})
    )
    done = subprocess.run([environments.python("data"), PROBE, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", CASES)
def test_error_says_what_and_where(raised: dict[str, dict[str, Any]], case: str) -> None:
    _, _, kind, expected = CASES[case]
    error = raised[case]
    assert expected in error["message"]
    assert error["type"] == kind and error["retryable"] is False
    assert "\n" not in error["message"] and len(error["message"]) < 400
    assert error["lines"] < 60
