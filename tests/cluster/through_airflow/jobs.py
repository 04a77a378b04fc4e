"""One-step pipelines whose step does as it is told: the cluster's tests disturb them."""

from __future__ import annotations

from typing import Any

KEPT = 60  # rounds of "boosts" that are saved when it waits
PROFILES: dict[str, Any] = {
    # Little is requested: on a node of two cores the pods of two test processes must find a place beside each other.
    "cpu-small": {"cpu": 0.2, "cpu_limit": 1.5, "memory_mb": 1500, "memory_limit_mb": 1600},
    "spark-small": {"cpu": 0.4, "cpu_limit": 1.5, "memory_mb": 2500},
    "tight": {"cpu": 0.2, "cpu_limit": 0.8, "memory_mb": 600, "memory_cap_mb": 1400},
    "gpu-1": {"cpu": 0.2, "cpu_limit": 0.8, "memory_mb": 1000, "gpus": 1},
    "gpu-4": {"cpu": 0.2, "cpu_limit": 0.8, "memory_mb": 1000, "gpus": 4},
    "spread": {
        "cpu": 0.2,
        "cpu_limit": 1,
        "memory_mb": 1600,
        "executors": 2,
        "executor_cpu": 0.2,
        "executor_cpu_limit": 1,
        "executor_memory_mb": 1000,
    },
}

_DAG = """
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from tradewind.operators import TrainModelOperator

PARAMS = {{
    "what": Param("learn", type="string"), "amount": Param(0, type="integer"), "profile": Param("cpu-small", type="string"),
    "nonce": Param("", type="string"),
}}

with DAG(
    Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1), params=PARAMS, max_active_runs=16,
    render_template_as_native_obj=True,
):
    TrainModelOperator(
        task_id="train", train="train:train", dataset="rows.parquet", label_column="y", profile="{{{{ params.profile }}}}",
        train_params={{name: "{{{{ params.%s }}}}" % name for name in ("what", "amount", "nonce")}},
        retry_delay=timedelta(seconds=1), {arguments}
    )
"""

# By name: what is special about its task.
_TASKS = {
    "job": "retries=0",
    "job_in_worker": "retries=0, deferrable=False",
    "job_retried": "retries=1",
    "job_in_worker_retried": "retries=1, deferrable=False",
    "job_timed": "retries=0, execution_timeout=timedelta(seconds=60)",
    "no_image": 'retries=1, pod={"image": "localhost/tradewind/none:1"}',
    "bad_pod": 'retries=1, pod={"labels": {"no good": "x"}}',
}
_SPREAD = """
from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, Param

from tradewind.operators import SparkFeaturesOperator

PARAMS = {"what": Param("learn", type="string"), "nonce": Param("", type="string")}

with DAG(Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1), params=PARAMS):
    SparkFeaturesOperator(
        task_id="features", build="features:build", sources={"rows": "rows.parquet"}, label_column="y", profile="spread",
        build_params={"what": "{{ params.what }}", "nonce": "{{ params.nonce }}"}, retries=0,
        pod={"service_account_name": "tradewind-spark"},
    )
"""
_SWEEP = """
from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, Param

from tradewind.operators import sweep_tasks

with DAG(Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1), params={"nonce": Param("", type="string")}):
    sweep_tasks(
        space={"C": {"low": 0.01, "high": 10.0, "log": True}}, metric="logloss", sampler="tpe", trials=4, batch=2, parallel=2,
        train="train:train", dataset="rows.parquet", label_column="y", profile="cpu-small", retries=0,
        train_params={"what": "waits", "amount": 8, "nonce": "{{ params.nonce }}"},
    )
"""
DAGS = {"spread": _SPREAD, "sweep": _SWEEP, **{name: _DAG.format(arguments=arguments) for name, arguments in _TASKS.items()}}

TRAIN = """
import time

from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier
from xgboost.callback import TrainingCallback


class Waits(TrainingCallback):  # in round 66: what came after the last save is lost with the process
    def __init__(self, seconds):
        self.seconds = seconds

    def after_iteration(self, model, epoch, evals_log):
        if epoch == 65:
            print("waiting in round 66", flush=True)
            time.sleep(self.seconds)
        return False


def train(dataset, params):
    what, amount = params["what"], params["amount"]
    if what == "lines":  # ten a second
        for number in range(amount):
            print(f"line {number:04}", flush=True)
            time.sleep(0.1)
    elif what == "memory":  # in MB
        held = [bytes([1]) * 1_000_000 for _ in range(amount)]
        print("holds", len(held), "MB", flush=True)
    elif what == "waits":
        print("waiting", flush=True)
        time.sleep(amount)
    elif what == "boosts":
        again = dataset.checkpoint.resumed_from is not None
        model = XGBClassifier(n_estimators=200, callbacks=[] if again else [Waits(amount)])
        dataset.checkpoint.fit(model, dataset.train.X, dataset.train.y)
        return model.set_params(callbacks=None)
    elif what == "raises":
        raise KeyError("no column of that name")
    return LogisticRegression(C=params.get("C", 1.0)).fit(dataset.train.X, dataset.train.y)
"""

FEATURES = """
import socket
import time


def build(spark, sources, params):
    if params["what"] == "waits":
        spark.sparkContext.parallelize(range(4), 4).map(lambda _: time.sleep(600)).collect()
    hosts, until = set(), time.monotonic() + 120  # Spark begins with the executors that there are
    while len(hosts) < 2 and time.monotonic() < until:
        hosts |= set(spark.sparkContext.parallelize(range(8), 8).map(lambda _: socket.gethostname()).collect())
    print("ran on", *sorted(hosts), flush=True)
    return sources["rows"].selectExpr("x", "x * 2 AS twice", "y")
"""
