"""What a trigger form lets through: Airflow's own check of a param, before there is a run."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError

from tradewind.errors import SpecError
from tradewind.operators import form
from tradewind.operators.base import asked_as_of
from tradewind.rules import parse_rules
from tradewind.settings import Settings


@pytest.fixture(autouse=True, scope="module")
def formats() -> None:
    """As in Airflow's API server."""
    form.know_formats()


def lets_through(schema: dict[str, Any], value: Any) -> bool:
    try:
        Param(value, **schema).resolve()
    except ParamValidationError:
        return False
    return True


def test_a_profile_is_one_of_the_deployments() -> None:
    schema = form.profile()
    assert schema["enum"] == list(Settings.load().profiles)
    assert schema["values_display"]["gpu-1"] == "gpu-1: 4 cores, 16 GiB, 1 GPU"
    assert schema["values_display"]["spark-large"] == "spark-large: 2 cores, 4 GiB, up to 8 Spark executors"
    assert lets_through(schema, "cpu-small")
    assert not lets_through(schema, "gpu-9")
    assert not lets_through(schema, "")


def test_the_platforms_own_profiles_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRADEWIND__PROFILES", '{"big": {"cpu": 0.5, "cpu_limit": 2, "memory_mb": 512, "gpus": 2}}')
    Settings.load.cache_clear()
    try:
        assert form.profile()["values_display"]["big"] == "big: 0.5 to 2 cores, 0.5 GiB, 2 GPUs"
    finally:
        Settings.load.cache_clear()


@pytest.mark.parametrize(
    "rule",
    [
        "auc >= 0.6", "  rmse<champion+2 ", "slice(carrier).auc >= champion - 0.005", "slice( a b ) . f1 > .5", "r2 > -1.5e-3",
        "auc => 0.6", "auc", "auc >= ", "aux >= 0.6", "auc >= champion 3", "slice().auc >= 1", "auc >= 1; drop", "psi <= 0.1", "",
    ],
)  # fmt: skip
def test_the_form_and_the_gate_know_the_same_rules(rule: str) -> None:
    try:
        parse_rules([rule])
        known = True
    except SpecError:
        known = False
    assert lets_through(form.rules(), [rule]) == known


@pytest.mark.parametrize(
    "rule", ["psi <= 0.25", " ks<.1", "missing <= 5e-2", "auc >= 0.6", "psi <= champion", "slice(carrier).psi <= 0.1", "psi"]
)
def test_a_rule_about_drift_is_a_number_for_every_column(rule: str) -> None:
    try:
        parse_rules([rule], "drift")
        known = True
    except SpecError:
        known = False
    assert known == (rule in ("psi <= 0.25", " ks<.1", "missing <= 5e-2"))
    assert lets_through(form.rules("drift"), [rule]) == known
    assert not lets_through(form.rules(), [rule]) or rule.startswith("auc")


def test_a_replay_has_metrics_of_its_own() -> None:
    assert lets_through(form.rules("replay"), ["disagreement <= 0.1", "slice(carrier).psi <= 0.2"])
    assert not lets_through(form.rules("replay"), ["auc >= 0.6"])


@pytest.mark.parametrize(
    ("steps", "good"),
    [
        ([], True), ([{"weight": 10, "bake_s": 1.5}, {"weight": 50}], True), ([{"weight": 0}], False), ([{"weight": 100}], False),
        ([{"bake_s": 10}], False), ([{"weight": 10, "bake": 10}], False), ([{"weight": 10, "bake_s": -1}], False), ("10", False),
        ([{"weight": 50}, {"weight": 10}], False), ([{"weight": 10}, {"weight": 10}], False), (["10"], False), (None, False),
    ],
)  # fmt: skip
def test_a_canary_is_a_list_of_shares(steps: Any, good: bool) -> None:
    assert lets_through(form.canary(), steps) == good


@pytest.mark.parametrize(
    "text",
    [
        "", "2013-07-01", "2013-07-01T12:00", "2013-07-01 12:00:00", "2013-07-01T12:00:00Z", "2013-07-01T12:00:00.000+02:00",
        "yesterday", "2013-7-1", "2013-02-30", "2013-13-01", "2013-07-01T25:00", "2013-07-01T12:00:00+2", "01.07.2013", "2013",
        "20130701", "2013-0701", "20130732", "20130701T120000Z", "20130701T12", "2013-07-01T12", "2013-07-01T1200",
        "2013-07-01T12:00:00+0000", "2013-07-01T12:00-0330", "2013-07-01T12:00+02", "2013-07-01T12+9900", "2013-07-01T12:0000",
        "2013-07-01T12:00:00,5", "2013-07-01T12:00:00.123456789Z", "2013-07-01T", "2013-07-01Z",
    ],
)  # fmt: skip
def test_the_form_and_the_steps_know_the_same_instants(text: str) -> None:
    try:
        asked_as_of({"as_of": text})
        known = True
    except SpecError:
        known = False
    assert lets_through(form.instant(), text) == known
    assert lets_through(form.instant(), None)
    assert not lets_through(form.instant(), 2013)
    assert form.instant()["format"] == "date-time", "by which the form offers a calendar"


def test_what_a_pattern_can_tell_is_refused_by_a_process_that_knows_no_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonschema import FormatChecker

    monkeypatch.setattr(FormatChecker, "checkers", {})
    assert not lets_through(form.instant(), "yesterday")
    assert lets_through(form.instant(), "2013-02-30")
