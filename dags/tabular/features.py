"""The columns that ``table.json`` names, each as what it says: numbers, categories and texts as they are, dates in parts.

A row without the label, or of a class that is not listed, is left out: there is nothing to learn from it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

TABLE = json.loads(Path(__file__).with_name("table.json").read_text(encoding="utf-8"))
PARTS = {"year": F.year, "month": F.month, "weekday": F.weekday, "hour": F.hour}
SIGNS = r"[$€£¥%,\s]"  # what stands around a number that is written for people


def build(spark: SparkSession, sources: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """One row per row of the table that has a label; the columns in the order of ``table.json``."""
    table = sources["table"]
    kinds = dict(table.dtypes)
    columns = [(name, number(name, kinds[name])) for name in TABLE["numbers"]]
    columns += [(name, cell(name).cast("string")) for name in (*TABLE["categories"], *TABLE["texts"])]
    for name, date in TABLE["dates"].items():
        moment = instant(name, date["patterns"])
        columns += [(f"{name}_{part}", PARTS[part](moment)) for part in date["parts"]]
    if TABLE["time"]:
        columns.append((TABLE["time"], cell(TABLE["time"])))
    named = [column.alias(name.replace("`", "'")) for name, column in columns]
    labelled = table.select(*named, label(TABLE["label"], kinds[TABLE["label"]]).alias(TABLE["label"]))
    known = labelled.where(cell(TABLE["label"]).isNotNull())
    return known.where(cell(TABLE["label"]).isin(TABLE["classes"])) if TABLE["classes"] else known


def label(name: str, kind: str) -> Column:
    """An amount is a decimal number and a class is none: that is how the train step tells the tasks apart."""
    if TABLE["task"] == "regression":
        return number(name, kind).cast("double")
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in TABLE["classes"])
    return number(name, kind).cast("bigint") if whole else cell(name)


def number(name: str, kind: str) -> Column:
    if kind == "string":  # numbers with signs, or with marks for missing, among them: what is none becomes null
        return finite(F.expr(f"try_cast(regexp_replace({quoted(name)}, '{SIGNS}', '') AS double)"))
    return cell(name) if kind == "boolean" else finite(cell(name).cast("double"))


def finite(value: Column) -> Column:
    return F.when(F.abs(value) < F.lit(float("inf")), value)


def instant(name: str, patterns: list[str]) -> Column:
    """A date; where it was left as text, by the first pattern that fits the cell."""
    if not patterns:
        return cell(name).cast("timestamp")
    return F.coalesce(*(F.try_to_timestamp(cell(name), F.lit(pattern)) for pattern in patterns))


def cell(name: str) -> Column:
    return F.col(quoted(name))


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
