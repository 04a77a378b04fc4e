"""Validate: what a table must be, by Great Expectations. Rows that break row rules go to quarantine, up to a tolerance.

A rule on rows that is broken sends its rows away; a broken rule on the table, or one that could not be judged, fails
the data. Either way the step ends well and leaves its report: the verdict is in the metrics.
"""

from __future__ import annotations

import logging
import warnings
from datetime import UTC, datetime
from typing import Any

from tradewind.errors import SpecError
from tradewind_steps.step import Step, StepResult


def run(step: Step) -> StepResult:
    """Judge the input ``data``: a CSV (plain, .gz, .zip) or Parquet (a file or a folder).

    Params:
        expectations: name of the expectations file in the code bundle.
        tolerance: largest share (0 to 1) of rows that may go to quarantine.
        time_column: when a row happened; None where nothing says it.
        id_columns: columns that together name one row; optional.

    Outputs: ``dataset`` (only where the verdict is PASSED), ``quarantine``, ``report``, ``summary``.

    Raises:
        SpecError: a param or the expectations file is wrong.
        ValidationFailed: the data cannot be read as a table, or lacks a column.
    """
    tolerance = _tolerance(step.params.get("tolerance", 0.05))
    as_of = _instant(step.spec.as_of)
    if as_of is not None and not step.params.get("time_column"):
        raise SpecError(f"as_of is {step.spec.as_of}: expected a time_column that says which rows are before it, got none")
    # Great Expectations says hundreds of lines as it is imported, and pyspark warns of a pandas that it is not given.
    chatty, errors = logging.getLogger("great_expectations"), logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    chatty.addHandler(errors)
    chatty.propagate = False
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")

    # Read first: what cannot be read is told before the seconds that importing Great Expectations takes.
    from tradewind_steps.validate.reading import read_table

    path = step.input_path("data")
    table = read_table(path)

    from tradewind_steps.validate import stage

    return stage.run(step, name=path.name, table=table, tolerance=tolerance, as_of=as_of)


def _tolerance(value: Any) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise SpecError(f"tolerance: expected a share of rows from 0 to 1, got {value!r}")
    return share


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SpecError(f"as_of: expected an ISO 8601 instant, got {text!r}") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
