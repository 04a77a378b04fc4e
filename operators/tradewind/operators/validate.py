"""Data validation with Great Expectations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradewind.errors import ValidationFailed
from tradewind.operators.base import Input, StepOperator, number
from tradewind.operators.links import ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import StepManifest


class ValidateDataOperator(StepOperator):
    """Check a table against a suite of expectations; let the good rows through, keep the others apart with the reason.

    Output: ``dataset``, a Parquet folder with the rows that passed. Beside it ``quarantine`` (Parquet, the rows that did
    not, each with rule and reason) and ``report`` (HTML).

    Args:
        data: the table: the URI of a CSV file or of a Parquet file or folder, or another task's output.
        expectations: a file of the pipeline's folder: a Great Expectations suite as JSON.
        tolerance: the largest share of rows, from 0 to 1, that may go to quarantine; above it the task fails.
        time_column: the column that says when a row came to be. A scheduled run sees the rows before its data interval's
            end, a manual one all, or those before ``params.as_of``.
        id_columns: the columns that together name one row: rows that share them go to quarantine.

    Raises:
        AirflowFailException: a table rule is broken, the tolerance is exceeded, or the data cannot be read as what it
            should be. The report is there all the same, but for data that cannot be read.
    """

    STEP = "validate"
    IMAGE = "data"
    template_fields: Sequence[str] = (*StepOperator.template_fields, "data", "expectations", "tolerance", "time_column")
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        data: Input,
        expectations: str,
        tolerance: float | str = 0.0,
        time_column: str | None = None,
        id_columns: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.expectations = expectations
        self.tolerance = tolerance
        self.time_column = time_column
        self.id_columns = list(id_columns)

    def step_inputs(self) -> dict[str, Input]:
        return {"data": self.data}

    def step_params(self) -> dict[str, Any]:
        return {
            "expectations": self.expectations,
            "tolerance": number("tolerance", self.tolerance, 0, 1),
            "time_column": self.time_column or None,
            "id_columns": self.id_columns,
        }

    def step_files(self) -> Sequence[str]:
        return (*self.files, self.expectations)

    def finish(self, context: Context, manifest: StepManifest) -> None:
        if manifest.metrics["verdict"] != "PASSED":
            raise ValidationFailed("; ".join(manifest.metrics["reasons"]))
