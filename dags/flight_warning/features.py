"""The flights as their clients know them before they leave, with the weather forecast for their hour: no features yet, for
the predictor makes these, here and where it serves.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

LATE_MINUTES = 15

FLIGHT = ["carrier", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]


def build(spark: SparkSession, sources: Mapping[str, DataFrame], params: Mapping[str, Any]) -> DataFrame:
    """One row per flight that arrived; ``late`` is 1 where it came more than ``params["late_minutes"]`` after its time."""
    late_minutes = params.get("late_minutes", LATE_MINUTES)
    flights = sources["flights"].withColumn("time_hour", F.to_timestamp("time_hour"))
    weather = sources["weather"].withColumn("time_hour", F.to_timestamp("time_hour")).dropDuplicates(["origin", "time_hour"])
    return (
        flights.where("arr_delay IS NOT NULL")
        .join(F.broadcast(weather.select("origin", "time_hour", *WEATHER)), ["origin", "time_hour"], "left")
        .select(
            "time_hour",
            F.date_format(F.make_date("year", "month", "day"), "yyyy-MM-dd").alias("date"),
            *FLIGHT,
            *WEATHER,
            (F.col("arr_delay") > late_minutes).cast("int").alias("late"),
        )
    )
