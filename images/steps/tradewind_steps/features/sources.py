"""The step's inputs as Spark DataFrames with a schema, without a Spark job.

Spark would read a CSV twice, once to guess its types, and even Parquet costs it a job to see the schema. Here the driver
reads CSVs as the validate step does (the same file means the same table in both), gives each column its type, and hands
Spark Parquet; of Parquet it reads the footer only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyspark.errors import ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructField, StructType

from tradewind.contract import JDBC
from tradewind.errors import SpecError, ValidationFailed
from tradewind_steps.features.places import Place, dataset_at, is_parquet, spark_uri
from tradewind_steps.step import Step
from tradewind_steps.validate.casting import SAID, cast, infer, is_text, kind_of_name
from tradewind_steps.validate.reading import read_table

_ROW_GROUP = 65_536  # rows that one task reads at least: a single large group would keep all cores but one idle
_TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?$"


class Sources(Mapping[str, DataFrame]):
    """Name -> DataFrame; what the user's ``build`` gets. Reading is Spark's, when the plan runs.

    Attributes:
        rows: the number of rows per source.
    """

    def __init__(self, frames: dict[str, DataFrame], rows: dict[str, int]) -> None:
        self._frames = frames
        self.rows = rows

    def __getitem__(self, name: str) -> DataFrame:
        if name not in self._frames:
            there = ", ".join(sorted(self._frames)) or "none"
            raise SpecError(f"There is no source {name!r}; the operator's `sources` has: {there}")
        return self._frames[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def as_parquet(name: str, path: Path, folder: Path) -> Path:
    """``path`` itself where it is Parquet; else the CSV, typed, as Parquet in ``folder``.

    Whole numbers, numbers and ISO 8601 times (UTC where they name no zone) are known by all cells of a column being
    written so; the rest is text.

    Raises:
        ValidationFailed: it cannot be read; names the source.
    """
    if path.is_dir() or _is_parquet(path):
        return path
    try:
        table = read_table(path)
    except ValidationFailed as error:
        raise ValidationFailed(f"Source {name!r}: {error}") from None
    columns = [_typed(column) for column in table.columns]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_arrays(columns, names=table.column_names), target, row_group_size=_ROW_GROUP)
    return target


def fetched(name: str, step: Step, *, shared: bool) -> Place:
    """The input as Parquet where Spark's tasks reach it: on this machine, or where they are ``shared`` out among executors, its
    own URI on S3 or that of a typed copy in the try's folder. A database's table is left for Spark: its URI as it is.

    Raises:
        ValidationFailed: it cannot be read; names the source.
    """
    uri = step.spec.inputs[name].uri
    if uri.startswith(JDBC):
        return uri
    if not shared:
        return as_parquet(name, step.input_path(name), step.scratch / "sources")
    if uri.startswith("s3://") and is_parquet(uri):
        return uri
    path = as_parquet(name, step.input_path(name), step.scratch / "sources")
    staged = kept_at(name, step, shared=True)
    step.store.upload(path, str(staged))
    return staged


def kept_at(name: str, step: Step, *, shared: bool) -> Place:
    """Where a source that is not read where it lies is kept as Parquet while the step runs."""
    file = f"sources/{name}.parquet"
    return f"{step.spec.outputs_uri}/{file}" if shared else step.scratch / file


def open_sources(
    spark: SparkSession, paths: Mapping[str, Place], *, schemas: Mapping[str, str], time_column: str | None, as_of: str | None
) -> Sources:
    """The sources as DataFrames.

    Args:
        paths: Parquet, as `fetched` gives it.
        schemas: per source, columns and types as DDL (``tailnum STRING, seats INT``), for columns whose type is not to be
            guessed.
        time_column, as_of: rows at or after ``as_of`` are left out of each source that has the time column.

    Raises:
        SpecError: a schema for no source, or of a column that is not there.
        ValidationFailed: no Parquet, or a cell that does not read as its schema says.
    """
    unknown = sorted(set(schemas) - set(paths))
    if unknown:
        raise SpecError(f"schemas: there is no source {unknown[0]!r}; there are: {', '.join(sorted(paths))}")
    frames, rows = {}, {}
    for name, path in paths.items():
        try:
            dataset = dataset_at(path)
            rows[name] = dataset.count_rows()
        except (pa.ArrowInvalid, OSError) as error:
            raise ValidationFailed(f"Source {name!r}: expected a CSV or Parquet at {path}: {error}") from error
        if not dataset.schema.names:
            raise ValidationFailed(f"Source {name!r}: expected Parquet files, got an empty folder {path}")
        frame = spark.read.schema(_spark_schema(name, dataset.schema)).parquet(spark_uri(path))
        if name in schemas:
            frame = _retyped(frame, name, dataset, _parsed(name, schemas[name]))
        frames[name] = before(frame, time_column, as_of) if time_column in frame.columns else frame
    return Sources(frames, rows)


def before(frame: DataFrame, time_column: str | None, as_of: str | None) -> DataFrame:
    """The rows whose time is before ``as_of`` (ISO 8601; without a zone it is UTC); all where one of both is None."""
    if time_column is None or as_of is None:
        return frame
    instant = datetime.fromisoformat(as_of)
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return frame.where(F.col(f"`{time_column}`").cast("timestamp") < F.lit(instant))


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    known = infer(column)
    if is_text(known.type) and known.null_count < len(known) and pc.all(pc.match_substring_regex(known, _TIME)).as_py():
        times = cast(known, "time")
        return known if times.bad.any() else times.column
    return known


def _spark_schema(name: str, schema: pa.Schema) -> StructType:
    nanoseconds = [field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.unit == "ns"]
    if nanoseconds:
        raise ValidationFailed(
            f"Source {name!r}: expected times in microseconds, got nanoseconds in column {nanoseconds[0]!r}, "
            "which Spark does not read; write it with coerce_timestamps='us'"
        )
    odd = [field.name for field in schema if pa.types.is_null(field.type)]
    schema = schema.remove_metadata()
    for column in odd:
        schema = schema.set(schema.get_field_index(column), pa.field(column, pa.string()))
    return from_arrow_schema(schema)


def _parsed(name: str, ddl: str) -> StructType:
    try:
        return StructType.fromDDL(ddl)
    except ParseException as error:
        raise SpecError(f"schemas, source {name!r}: expected DDL ('seats INT, built TIMESTAMP'), got {ddl!r}") from error


def _retyped(frame: DataFrame, name: str, dataset: pads.Dataset, schema: StructType) -> DataFrame:
    for field in schema:
        if field.name not in frame.columns:
            raise SpecError(f"schemas: source {name!r} has no column {field.name!r}; it has: {', '.join(frame.columns)}")
        _check(name, dataset, field)
    wanted = {field.name: F.col(f"`{field.name}`").cast(field.dataType) for field in schema}
    return frame.withColumns(wanted)


def _check(name: str, dataset: pads.Dataset, field: StructField) -> None:
    """Find the cell that does not read as its type here: Spark's error names the value, but neither column nor row."""
    kind = kind_of_name(field.dataType.simpleString())
    if kind is None or not is_text(dataset.schema.field(field.name).type):
        return
    column = dataset.to_table(columns=[field.name]).column(0)
    bad = cast(column, kind).bad
    if bad.any():
        row = int(bad.argmax())
        raise ValidationFailed(
            f"Source {name!r}, column {field.name!r}: expected {SAID[kind]} ({field.dataType.simpleString()}), "
            f"got {column[row].as_py()!r} in row {row + 1}" + (f" and {int(bad.sum()) - 1} more" if bad.sum() > 1 else "")
        )
