"""Features: the user's ``build(spark, sources, params) -> DataFrame`` on Spark, and what came out of it.

Outputs: ``dataset`` (Parquet), ``profile`` (JSON) and the same as ``report`` (HTML).
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyspark.cloudpickle import register_pickle_by_value
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import MapType

from tradewind.contract import JDBC, digest
from tradewind.errors import ValidationFailed
from tradewind_steps.features.executors import Cluster
from tradewind_steps.features.explain import explained
from tradewind_steps.features.jdbc import keep
from tradewind_steps.features.places import Place, spark_uri
from tradewind_steps.features.profile import leaks, profile
from tradewind_steps.features.report import html
from tradewind_steps.features.session import spark_session
from tradewind_steps.features.sources import Sources, before, fetched, kept_at, open_sources
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")

Build = Callable[[SparkSession, Mapping[str, DataFrame], dict[str, Any]], object]

_EXPLODED = 3  # times the rows of the largest source


def run(step: Step) -> StepResult:
    """Params: ``params`` (the user's), ``label``, ``time_column``, ``known_after``, ``schemas`` (see `open_sources`).

    Raises:
        ValidationFailed: a source cannot be read, or what ``build`` made is no table to learn from.
        StepFailed: ``build`` or what Spark ran for it raised; with the line in the user's file. Or no executor came up.
        SpecError: the profile asks for executors, which cannot be had here.
    """
    resources, code = step.spec.resources, step.scratch / "code"
    cluster = Cluster.of(step.spec)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_fetch, step, shared=cluster is not None)  # while the JVM starts
        cpu, memory_mb = resources.get("cpu"), resources.get("memory_mb")
        with spark_session(
            step.spec.task_id, step.scratch, code=code, cpu=cpu, memory_mb=memory_mb, cluster=cluster
        ) as spark:  # fmt: skip
            with explained(code):
                build = step.user_function()  # only here: a UDF at the top of a module wants a session
                _send_by_value(code)
            return make(spark, step, build, reading.result(), shared=cluster is not None)


def make(spark: SparkSession, step: Step, build: Build, paths: Mapping[str, Place], *, shared: bool = False) -> StepResult:
    """`run` in a session that is there.

    Args:
        paths: the sources as Parquet, or tables of a database.
        shared: write the dataset to its final place from where Spark's tasks run: they may not share this machine's disk.
    """
    params = step.params
    tables = {name: str(place) for name, place in paths.items() if str(place).startswith(JDBC)}
    paths = {**paths, **{name: keep(spark, name, uri, kept_at(name, step, shared=shared)) for name, uri in tables.items()}}
    label, time_column = params.get("label"), params.get("time_column")
    sources = open_sources(spark, paths, schemas=params.get("schemas") or {}, time_column=time_column, as_of=step.spec.as_of)
    log.info("Sources: %s", _counts(sources.rows))
    folder: Place = f"{step.spec.outputs_uri}/dataset" if shared else step.output_path("dataset")
    with explained(step.scratch / "code"), ThreadPoolExecutor(1) as pool:
        made = build(spark, sources, params.get("params") or {})
        _check(made, label=label, time_column=time_column, known_after=params.get("known_after") or [])
        made = before(made, time_column, step.spec.as_of)
        made.write.mode("overwrite").parquet(spark_uri(folder))
        profiling = pool.submit(profile, folder, label=label, time_column=time_column)
        sha256 = content_hash(spark, folder, made)
        report = profiling.result()
    if not report["rows"]:
        there = _counts(sources.rows)
        raise ValidationFailed(f"build made no rows; the sources have rows: {there}; does a join or filter match nothing?")
    warnings = leaks(report) + _explosion(report["rows"], sources)
    for warning in warnings:
        log.warning("Warning: %s", warning)
    put = step.refer if shared else step.put
    put("dataset", "dataset", sha256=sha256)
    text = json.dumps({**report, "warnings": warnings}, indent=1, ensure_ascii=False, allow_nan=False)
    step.put_report("profile", "profile.json", text)
    step.put_report("report", "report.html", html(report, warnings))
    columns = list(report["columns"])
    metrics: dict[str, Any] = {
        "rows": report["rows"],
        "columns": len(columns),
        "features": len(set(columns) - {label, time_column}),
        "warnings": warnings,
        "data_end": report["data_end"],
    }
    if report["label"] and report["label"]["mean"] is not None:
        metrics["label_rate" if report["label"]["measure"] == "auc" else "label_mean"] = report["label"]["mean"]
    return StepResult(metrics)


def content_hash(spark: SparkSession, folder: Place, like: DataFrame) -> str:
    """sha256 over the rows and the schema of the written table: the same for any order and any files.

    A null does not change Spark's row hash, so each column's being null is hashed beside it.
    """
    written = spark.read.schema(like.schema).parquet(spark_uri(folder))
    cells = []
    for field in like.schema:
        cell = F.col(f"`{field.name}`")
        cells += [F.to_json(cell) if isinstance(field.dataType, MapType) else cell, cell.isNull()]
    row = F.xxhash64(*cells)
    found = written.agg(F.count(F.lit(1)), F.sum(row.cast("decimal(38,0)")), F.bit_xor(row)).first()
    schema = [[field.name, field.dataType.simpleString()] for field in like.schema]
    return digest({"schema": schema, "rows": [str(value) for value in found or ()]})


def _send_by_value(code: Path) -> None:
    """Let Python's workers have the functions of the user's modules themselves, as they have those of a notebook. Else a worker
    imports their module again, and what that does at its top, ``@udf("string")`` say, wants a session, which no worker has."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(code):
            register_pickle_by_value(module)


def _fetch(step: Step, *, shared: bool) -> dict[str, Place]:
    return {name: fetched(name, step, shared=shared) for name in step.spec.inputs}


def _check(made: object, *, label: str | None, time_column: str | None, known_after: list[str]) -> None:
    if not isinstance(made, DataFrame):
        kind = type(made)
        raise ValidationFailed(f"build must return a Spark DataFrame, it returned {kind.__module__}.{kind.__qualname__}")
    there = f"it has: {', '.join(made.columns)}"
    for what, column in (("label", label), ("time column", time_column)):
        if column is not None and column not in made.columns:
            raise ValidationFailed(f"The {what} {column!r} is not in what build made; {there}")
    repeated = [name for name, count in Counter(name.lower() for name in made.columns).items() if count > 1]
    if repeated:
        raise ValidationFailed(
            f"build made more than one column named {', '.join(map(repr, repeated))} (large and small letters are one to Spark): "
            "drop or rename one before the join"
        )
    late = [name for name in known_after if name in made.columns and name != label]
    if late:
        raise ValidationFailed(
            f"build kept {', '.join(map(repr, late))}, known only after the event (known_after): a model that learns from it "
            "cannot be used before; drop it"
        )


def _explosion(rows: int, sources: Sources) -> list[str]:
    largest = max(sources.rows, key=lambda name: sources.rows[name], default=None)
    if largest is None or rows <= _EXPLODED * sources.rows[largest]:
        return []
    source = f"{sources.rows[largest]:,} in the largest source {largest!r}"
    return [f"{rows:,} rows came out of {source}: is a join's key unique on one side?"]


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in rows.items())
