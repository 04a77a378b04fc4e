"""features.py PIPELINE DATA OUT: the same build function on Spark as it comes."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

pipeline, data, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
sys.path.insert(0, pipeline)
from features import build  # noqa: E402

spark = SparkSession.builder.appName("features").getOrCreate()
sources = {"flights": spark.read.parquet(str(out / "flights.parquet"))}
for name in ("weather", "planes", "airports", "airlines"):
    sources[name] = spark.read.csv(str(data / f"{name}.csv"), header=True, inferSchema=True, nullValue="NA")
features = build(spark, sources, {})
features.write.mode("overwrite").parquet(str(out / "features"))
print(spark.read.parquet(str(out / "features")).count(), "rows")
spark.stop()
