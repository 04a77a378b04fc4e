"""A table of a PostgreSQL database as a source: read once, by Spark, and kept as Parquet beside what the try leaves.

``jdbc:postgresql://host:5432/database?table=public.flights&key=id&partitions=8``. With ``key``, a column of whole numbers, so
many connections read a range of it each. Other options (``sslmode=require``) are the driver's. Who may read is the
environment's to say, by PostgreSQL's own names: ``PGUSER``, ``PGPASSWORD``. A database can change at any time, so what
is made of it is never reused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tradewind.contract import JDBC
from tradewind.errors import SpecError, StepFailed
from tradewind_steps.features.places import Place, spark_uri

_FORM = f"{JDBC}//HOST:PORT/DATABASE?table=SCHEMA.TABLE&key=COLUMN"
_DRIVER = "org.postgresql.Driver"
_PARTITIONS = 8
_FETCHED = "10000"  # rows at a time: by default the driver holds them all
_SAID = re.compile(r"PSQLException: (?P<said>[^\n]*)")
_PASSING = re.compile(r"refused|attempt failed|I/O error|terminating connection|too many clients|starting up|shutting down")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where it is; ``key`` is the column whose ranges are read at the same time, None for one reader."""

    address: str
    name: str
    key: str | None
    partitions: int

    @classmethod
    def parse(cls, uri: str) -> Table:
        """SpecError where the URI is of another form, or names a user."""
        address, _, query = uri.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if {"user", "password"} & options.keys() or "@" in address:
            raise SpecError(f"{address}: expected no user and no password in the URI, but in PGUSER and PGPASSWORD: it is shown")
        name, key, partitions = (options.pop(option, None) for option in ("table", "key", "partitions"))
        if not address.startswith(f"{JDBC}//") or not name:
            raise SpecError(f"expected {_FORM}, got {uri!r}")
        if partitions is not None and (not partitions.isdigit() or not int(partitions)):
            raise SpecError(f"{uri}: partitions: expected a whole number above 0, got {partitions!r}")
        rest = f"?{urlencode(options)}" if options else ""
        return cls(address=address + rest, name=name, key=key, partitions=int(partitions or _PARTITIONS))

    @property
    def quoted(self) -> str:
        """As SQL has it: no name can be anything else."""
        return ".".join(_quoted(part) for part in self.name.split("."))


def keep(spark: SparkSession, name: str, uri: str, place: Place) -> Place:
    """Read the table and write it to ``place``, as Parquet.

    Raises:
        SpecError: the URI, the login, the table or the key is wrong, or Spark has no driver for it.
        StepFailed: the database does not answer.
    """
    table = Table.parse(uri)
    common = {
        "url": table.address,
        "driver": _DRIVER,
        "fetchsize": _FETCHED,
        "user": os.environ.get("PGUSER", ""),
        "password": os.environ.get("PGPASSWORD", ""),
    }
    try:
        spark._jvm.java.lang.Class.forName(_DRIVER)
    except Py4JError as error:
        raise SpecError(
            f"Source {name!r}: Spark has no driver for PostgreSQL here; the data image has: images/data/jars.txt"
        ) from error
    try:
        read = spark.read.format("jdbc").options(**common)
        if table.key:
            column = _quoted(table.key)
            ends = f"SELECT min({column}) AS low, max({column}) AS high FROM {table.quoted}"  # noqa: S608 - names are quoted
            low, high = read.option("query", ends).load().first() or (None, None)
            read = spark.read.format("jdbc").options(**common)
            if low is not None:
                bounds = {"lowerBound": str(low), "upperBound": str(high), "numPartitions": str(table.partitions)}
                read = read.options(partitionColumn=_quoted(table.key), **bounds)
        read.option("dbtable", table.quoted).load().write.mode("overwrite").parquet(spark_uri(place))
    except (PySparkException, Py4JError) as error:
        # Now, while there is a JVM to ask: Spark's message may name the operation only, and its cause the reason.
        text = f"{error}\n{getattr(error, '_stackTrace', '') or ''}"
        found = _SAID.search(text)
        reason = found["said"] if found else text.splitlines()[0]
        said = f"Source {name!r}: PostgreSQL at {table.address}: {reason}"
        if not found or _PASSING.search(reason):
            raise StepFailed(said) from error
        raise SpecError(said) from error
    return place


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
