"""gpu_features.py DATA FILE: the flights' features as the templates make them, in one Parquet file; in the data environment."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

data, file = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(Path(__file__).parents[1] / "dags" / "flight_delay"))
from features import build  # noqa: E402

spark = SparkSession.builder.appName("features").config("spark.sql.session.timeZone", "UTC").getOrCreate()
tables = ("flights", "weather", "planes", "airports", "airlines")
sources = {name: spark.read.csv(str(data / f"{name}.csv"), header=True, inferSchema=True, nullValue="NA") for name in tables}
frame = build(spark, sources, {}).toPandas().sort_values("time_hour", kind="stable", ignore_index=True)
spark.stop()
file.parent.mkdir(parents=True, exist_ok=True)
frame.to_parquet(file, compression="zstd", index=False)
print(f"{len(frame)} rows, {file.stat().st_size / 1e6:.1f} MB")
