"""What decides how long a flight is in the air: where it goes, who flies it, and when; winds are strongest in winter."""

import math
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def build(spark: SparkSession, sources: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """One row per flight that arrived; ``air_time`` is in minutes, ``distance`` in miles."""
    flights = sources["flights"].withColumn("time_hour", F.to_timestamp("time_hour"))
    day = F.dayofyear("time_hour") * (2 * math.pi / 365.25)  # on a circle, so that December is next to January
    return flights.where("air_time IS NOT NULL").select(
        "time_hour",
        "carrier",
        "origin",
        "dest",
        "distance",
        F.cos(day).alias("winter"),
        F.sin(day).alias("spring"),
        F.floor(F.col("sched_dep_time") / 100).alias("hour"),
        F.col("air_time").cast("double").alias("air_time"),
    )
