"""What decides how long a flight is in the air: how far it goes and in which direction, for westward it meets the jet
stream, which is strongest in winter; who flies it, and when. Of the last months only: the winds of long ago are no guide.
"""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

FLIGHT = ["carrier", "origin", "dest", "distance"]
DAYS = 365.25


def build(spark: SparkSession, sources: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """One row per flight of the last ``params["days"]`` that arrived; ``air_time`` is in minutes, ``distance`` in miles."""
    flights = recent(sources["flights"].withColumn("time_hour", F.to_timestamp("time_hour")), int(params["days"]))
    return (
        flights.where("air_time IS NOT NULL")
        .join(F.broadcast(places(sources["airports"], "origin")), "origin", "left")
        .join(F.broadcast(places(sources["airports"], "dest")), "dest", "left")
        .select(
            "time_hour",
            *FLIGHT,
            *direction(),
            *season(),
            F.weekday("time_hour").alias("weekday"),
            F.floor(F.col("sched_dep_time") / 100).alias("hour"),
            F.col("air_time").cast("double").alias("air_time"),
        )
    )


def recent(flights: DataFrame, days: int) -> DataFrame:
    """Those of the last ``days`` before the newest one that this run may see."""
    newest = flights.agg(F.max("time_hour")).first()[0]
    return flights.where(F.col("time_hour") > newest - timedelta(days=days))


def places(airports: DataFrame, end: str) -> DataFrame:
    """One row per airport: its code as ``end``, where it lies as ``end_lat`` and ``end_lon``."""
    known = airports.dropDuplicates(["faa"])
    return known.select(F.col("faa").alias(end), F.col("lat").alias(f"{end}_lat"), F.col("lon").alias(f"{end}_lon"))


def direction() -> list[Column]:
    """The course that a great circle leaves with, as its parts to the east and to the north, each from -1 to 1."""
    here, there = F.radians("origin_lat"), F.radians("dest_lat")
    turn = F.radians(F.col("dest_lon") - F.col("origin_lon"))
    east, north = F.sin(turn) * F.cos(there), F.cos(here) * F.sin(there) - F.sin(here) * F.cos(there) * F.cos(turn)
    course = F.atan2(east, north)
    return [F.sin(course).alias("east"), F.cos(course).alias("north")]


def season() -> list[Column]:
    """The day of the year on a circle, so that December is next to January."""
    angle = F.dayofyear("time_hour") * (2 * math.pi / DAYS)
    return [F.cos(angle).alias("winter"), F.sin(angle).alias("spring")]
