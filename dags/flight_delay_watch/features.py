"""The features of the pipeline `flight_delay`, of the flights since an instant: what is watched must be made as it was learned.

``build`` differs from that pipeline's by ``since`` alone.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

LATE_MINUTES = 15

FLIGHT = ["carrier", "origin", "dest", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
PLANE = ["type", "manufacturer", "engines", "seats", "engine"]
AIRPORT = ["lat", "lon", "alt"]


def build(spark: SparkSession, sources: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """One row per flight since ``params["since"]``, an ISO 8601 instant or None, that arrived; ``late`` is 1 where it came
    more than ``params["late_minutes"]`` after its time."""
    late_minutes = params.get("late_minutes", LATE_MINUTES)
    flights = since(sources["flights"].withColumn("time_hour", F.to_timestamp("time_hour")), params["since"])
    weather = unique(sources["weather"].withColumn("time_hour", F.to_timestamp("time_hour")), ["origin", "time_hour"], WEATHER)
    planes = unique(sources["planes"].withColumnRenamed("year", "built"), ["tailnum"], ["built", *PLANE])
    airports = unique(sources["airports"].withColumnRenamed("faa", "dest"), ["dest"], AIRPORT)
    airlines = unique(sources["airlines"].withColumnRenamed("name", "airline"), ["carrier"], ["airline"])
    joined = (
        flights.where("arr_delay IS NOT NULL")
        .join(F.broadcast(weather), ["origin", "time_hour"], "left")
        .join(F.broadcast(planes), "tailnum", "left")
        .join(F.broadcast(airports), "dest", "left")
        .join(F.broadcast(airlines), "carrier", "left")
    )
    return joined.select(
        "time_hour",
        *FLIGHT,
        "airline",
        *schedule(),
        F.concat_ws("-", "origin", "dest").alias("route"),
        *WEATHER,
        *PLANE,
        (F.year("time_hour") - F.col("built")).alias("plane_age"),
        *AIRPORT,
        (F.col("arr_delay") > late_minutes).cast("int").alias("late"),
    )


def since(flights: DataFrame, instant: str | None) -> DataFrame:
    return flights.where(F.col("time_hour") >= F.to_timestamp(F.lit(instant))) if instant else flights


def schedule() -> list[Column]:
    """When it should leave and arrive, by the clock of the place: 517 is 5:17."""
    leaves, arrives = F.col("sched_dep_time"), F.col("sched_arr_time")
    return [
        F.floor(leaves / 100).alias("hour"),
        (leaves % 100).alias("minute"),
        F.weekday(F.make_date("year", "month", "day")).alias("weekday"),
        F.col("month"),
        F.floor(arrives / 100).alias("arrival_hour"),
    ]


def unique(table: DataFrame, key: list[str], columns: list[str]) -> DataFrame:
    """One row per key, so that a join with it adds no rows."""
    return table.dropDuplicates(key).select(*key, *columns)
