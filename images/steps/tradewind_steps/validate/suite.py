"""The expectations file -> rules: standard Great Expectations, and what each means for rows, tables and types."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    Expectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from tradewind.errors import SpecError
from tradewind_steps.validate.casting import SAID, TypeKind, kind_of_name

Anomaly = Literal["missing", "not_a_number", "date_formats", "conflicting_ids"]
ANOMALIES: tuple[Anomaly, ...] = ("missing", "not_a_number", "date_formats", "conflicting_ids")

NOT_NULL = "expect_column_values_to_not_be_null"
DATE_FORMAT = "expect_column_values_to_match_strftime_format"
COMPOUND = "expect_compound_columns_to_be_unique"
_TYPES = ("expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list")
_ANOMALY_BY_TYPE: dict[str, Anomaly] = {
    NOT_NULL: "missing",
    DATE_FORMAT: "date_formats",
    "expect_column_values_to_be_unique": "conflicting_ids",
    COMPOUND: "conflicting_ids",
}
_ON_TEXT = ("null", "unique", "regex", "like_pattern", "length", "json", "parseable")
_NUMBER_BOUNDS = ("min_value", "max_value", "sum_total")
_LONGEST = 200
_ROWS = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        expectation: Great Expectations' own object.
        name: ``expect_column_values_to_not_be_null(arr_delay)``; unique in its suite.
        implied: True where the file does not say it but the step's arguments or another rule do.
    """

    expectation: Expectation
    name: str
    implied: bool = False

    @cached_property
    def config(self) -> ExpectationConfiguration:
        return self.expectation.configuration

    @property
    def type(self) -> str:
        return str(self.config.type)

    @property
    def kwargs(self) -> dict[str, Any]:
        return dict(self.config.kwargs)

    @property
    def columns(self) -> list[str]:
        """The columns that it speaks of, in its own order; none for a rule on the table."""
        kwargs = self.kwargs if not self.type.startswith("expect_table_") else {}
        named = [kwargs[key] for key in ("column", "column_A", "column_B") if kwargs.get(key)]
        several: list[str] = kwargs.get("column_list", [])
        return named + several

    @property
    def required(self) -> bool:
        """Does it fail the run? GX's severity ``warning`` and ``info`` are shown and do not."""
        return str(getattr(self.expectation.severity, "value", self.expectation.severity)) == "critical"

    @property
    def mostly(self) -> float:
        return float(getattr(self.expectation, "mostly", 1) or 0)

    @property
    def by_row(self) -> bool:
        """Do rows that break it go to quarantine?

        With ``mostly`` below 1 it speaks of the table: such rows may be there. A cell that does not read as its type
        has no place in a typed table, however mild the rule.
        """
        return self.by_reading or (isinstance(self.expectation, _ROWS) and self.mostly >= 1 and self.required)

    @property
    def by_reading(self) -> bool:
        """Is it judged when text is cast, rather than by Great Expectations?"""
        return self.type == DATE_FORMAT or self.type in _TYPES

    @property
    def on_text(self) -> bool:
        """Does it speak of what is written rather than of what it means?"""
        values: list[Any] = self.kwargs.get("value_set", [])
        return any(word in self.type for word in _ON_TEXT) or (bool(values) and all(isinstance(v, str) for v in values))

    @property
    def on_all_columns(self) -> bool:
        """Must it see more than its own columns: a rule on the table's columns, or one with a condition?"""
        return bool(self.kwargs.get("row_condition")) or not (self.columns or "row_count" in self.type)

    @property
    def kind(self) -> TypeKind | None:
        """The type that a type rule asks for."""
        if self.type not in _TYPES:
            return None
        names: list[str] = self.kwargs.get("type_list", [self.kwargs.get("type_", "")])
        kinds = {kind_of_name(str(name)) for name in names}
        if not kinds or None in kinds:
            raise SpecError(f"{self.name}: expected types among int64, float64, bool, datetime64 and str, got {names}")
        kind: TypeKind
        for kind in ("text", "time", "float", "int", "bool"):
            if kind in kinds:
                break
        return kind

    @property
    def anomaly(self) -> Anomaly | None:
        if self.type in _TYPES:
            return "not_a_number" if self.kind in ("int", "float") else "date_formats" if self.kind == "time" else None
        return _ANOMALY_BY_TYPE.get(self.type)

    @property
    def reason(self) -> str:
        """Why a row that breaks it is in quarantine."""
        where = ", ".join(self.columns)
        if self.type == NOT_NULL:
            return f"{where}: missing"
        if self.type == DATE_FORMAT:
            return f"{where}: not written as {self.kwargs['strftime_format']}"
        if self.kind:
            return f"{where}: not {SAID[self.kind]}"
        if self.anomaly == "conflicting_ids":
            return f"{where}: the same in another row"
        said = self.type.removeprefix("expect_").replace("column_values_to_", "").replace("_", " ")
        return f"{where}: expected to {said} ({self.arguments})".replace("to to ", "to ").removesuffix(" ()")

    @property
    def arguments(self) -> str:
        """What it expects, short enough for a sentence."""
        named = ("column", "column_A", "column_B", "column_list") if self.columns else ()
        said = ", ".join(f"{key}={value}" for key, value in self.kwargs.items() if key not in named)
        return said if len(said) <= _LONGEST else said[:_LONGEST] + "…"


def load_rules(path: Path, *, time_column: str | None, id_columns: list[str]) -> list[Rule]:
    """The rules of an expectations file, followed by those that it implies.

    Implied: ``time_column`` is there and reads as a time; ``id_columns`` name one row; a column that is compared with
    a number holds numbers.

    Raises:
        SpecError: the file is missing, is not JSON, or holds what Great Expectations does not know; names the entry.
    """
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.json"))) or "none"
        raise SpecError(f"There is no expectations file {path.name!r} in the pipeline's folder; JSON files there: {there}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path.name}: expected JSON, got something else: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("expectations"), list):
        raise SpecError(f'{path.name}: expected {{"name": ..., "expectations": [...]}}, as Great Expectations 1.x writes it')
    if not data["expectations"]:
        raise SpecError(f"{path.name}: expected at least one expectation, got none")
    expectations = [
        _expectation(entry, f"{path.name}, expectation {number}") for number, entry in enumerate(data["expectations"], 1)
    ]
    rules = _named(expectations, implied=False)
    for rule in rules:
        if rule.by_reading and rule.mostly < 1:
            raise SpecError(
                f"{path.name}: {rule.name}: 'mostly' has no meaning here; rows whose cells do not read go to quarantine"
            )
    _check_types(rules, path.name)
    _check_formats(rules, path.name)
    implied = [_expectation(entry, "implied") for entry in _implied(rules, time_column, id_columns)]
    return rules + _named(implied, implied=True)


def _expectation(entry: Any, where: str) -> Expectation:
    if not isinstance(entry, dict) or "type" not in entry:
        old = " ('expectation_type' is Great Expectations 0.x)" if isinstance(entry, dict) and "expectation_type" in entry else ""
        raise SpecError(f'{where}: expected {{"type": "expect_...", "kwargs": {{...}}}}, got {str(entry)[:120]}{old}')
    try:
        expectation = ExpectationConfiguration(**{"kwargs": {}, **entry}).to_domain_obj()
    except GreatExpectationsError as error:
        raise SpecError(f"{where}: Great Expectations knows no {entry['type']!r}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:  # pydantic's errors are ValueErrors
        raise SpecError(f"{where}, {entry['type']!r}: wrong arguments {entry.get('kwargs')}: {error}") from error
    if expectation.suite_parameter_options:
        raise SpecError(
            f"{where}, {entry['type']!r}: expected values, got the parameter {', '.join(expectation.suite_parameter_options)}"
        )
    return expectation


def _check_types(rules: list[Rule], name: str) -> None:
    """A column has one type: two rules must not ask for different ones."""
    asked: dict[str, Rule] = {}
    for rule in rules:
        try:
            kind = rule.kind
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from error
        if kind:
            other = asked.setdefault(rule.columns[0], rule)
            if other.kind != kind:
                raise SpecError(
                    f"{name}: expected one type for {rule.columns[0]!r}, got {SAID[other.kind or 'text']} and {SAID[kind]}"
                )


def _check_formats(rules: list[Rule], name: str) -> None:
    for rule in rules:
        if rule.type == DATE_FORMAT:
            try:
                pd.to_datetime(["-"], format=rule.kwargs["strftime_format"], errors="coerce")
            except ValueError as error:
                raise SpecError(f"{name}: {rule.name}: {error}") from error


def _implied(rules: list[Rule], time_column: str | None, id_columns: list[str]) -> list[dict[str, Any]]:
    """Configurations of what the rules and the step's arguments take for granted."""
    said = {(rule.type, *rule.columns) for rule in rules}
    typed = {rule.columns[0] for rule in rules if rule.by_reading}
    found: list[dict[str, Any]] = []
    if time_column:
        if (NOT_NULL, time_column) not in said:
            found.append({"type": NOT_NULL, "kwargs": {"column": time_column}})
        if time_column not in typed:
            found.append({"type": _TYPES[0], "kwargs": {"column": time_column, "type_": "datetime64"}})
            typed.add(time_column)
    if id_columns and not any(rule.anomaly == "conflicting_ids" and set(rule.columns) == set(id_columns) for rule in rules):
        one = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": id_columns[0]}}
        found.append(one if len(id_columns) == 1 else {"type": COMPOUND, "kwargs": {"column_list": id_columns}})
    for rule in rules:
        counted = "length" in rule.type or "count" in rule.type or "proportion" in rule.type
        compared = [rule.kwargs[key] for key in _NUMBER_BOUNDS if isinstance(rule.kwargs.get(key), (int, float))]
        for column in rule.columns if compared and not counted else []:
            if column not in typed:
                typed.add(column)
                found.append({"type": _TYPES[0], "kwargs": {"column": column, "type_": "float64"}})
    return found


def _named(expectations: list[Expectation], *, implied: bool) -> list[Rule]:
    rules: list[Rule] = []
    seen: Counter[str] = Counter()
    for expectation in expectations:
        columns = ", ".join(Rule(expectation, "").columns)
        name = f"{expectation.configuration.type}({columns})" if columns else str(expectation.configuration.type)
        seen[name] += 1
        rules.append(Rule(expectation, name if seen[name] == 1 else f"{name} #{seen[name]}", implied))
    return rules
