"""Feature engineering on Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.operators.base import Input, StepOperator
from tradewind.operators.links import ReportLink


class SparkFeaturesOperator(StepOperator):
    """Run the user's ``build(spark, sources, params) -> DataFrame`` and keep what it makes.

    Output: ``dataset``, a Parquet folder. Beside it ``report`` (HTML) and ``profile`` (JSON): per column type, nulls, distinct
    values, quantiles, and how well it alone predicts the label.

    Args:
        build: entry point ``module:function`` in the pipeline's folder.
        sources: by name, what ``build`` gets as Spark DataFrames: URIs of CSV or Parquet, or other tasks' outputs, or tables
            of PostgreSQL (``jdbc:postgresql://host:5432/database?table=public.flights&key=id``, read by ranges of ``key`` at the
            same time, with ``PGUSER`` and ``PGPASSWORD`` of the step's environment; never reused).
        build_params: what ``build`` gets as ``params``; plain JSON.
        label_column: the column to predict, for the leakage check.
        time_column: the column that says when a row came to be. A scheduled run sees, of each source that has it and of what
            ``build`` makes, the rows before its data interval's end; a manual one all, or those before ``params.as_of``.
        schemas: by source, columns and types as DDL (``tailnum STRING, seats INT``), where the type is not to be the data's.
        known_after: columns of the sources that are known only after the event; in the result they are an error.
    """

    STEP = "features"
    IMAGE = "data"
    DEFAULT_PROFILE = "spark-small"
    template_fields: Sequence[str] = (*StepOperator.template_fields, "sources", "build_params", "label_column", "time_column")
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        build: str,
        sources: Mapping[str, Input],
        build_params: Mapping[str, Any] | None = None,
        label_column: str | None = None,
        time_column: str | None = None,
        known_after: Sequence[str] = (),
        schemas: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.build = build
        self.sources = sources
        self.build_params = build_params or {}
        self.label_column = label_column
        self.time_column = time_column
        self.known_after = list(known_after)
        self.schemas = dict(schemas or {})

    @property
    def entry_point(self) -> str:
        return self.build

    def step_inputs(self) -> dict[str, Input]:
        return dict(self.sources)

    def step_params(self) -> dict[str, Any]:
        return {
            "params": dict(self.build_params),
            "label": self.label_column,
            "time_column": self.time_column,
            "known_after": self.known_after,
            "schemas": self.schemas,
        }
