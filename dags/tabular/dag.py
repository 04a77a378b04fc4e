"""One table, CSV or Parquet, to a served model of any one of its columns: a number, two classes or several."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from tradewind.operators import (
    ApproveReleaseOperator,
    EvaluateModelOperator,
    RegisterModelOperator,
    SeldonRolloutOperator,
    SparkFeaturesOperator,
    TrainModelOperator,
    ValidateDataOperator,
    form,
)

# Knobs. SCHEDULE: None, a preset or cron ("@monthly"), or assets ([Asset("table")]). What is about the columns is in table.json.
FOLDER = Path(__file__).parent
NAME = FOLDER.name  # a copied folder is a new pipeline: own Dag, own model
SCHEDULE: Any = None
TABLE = json.loads((FOLDER / "table.json").read_text(encoding="utf-8"))
LABEL, TIME = TABLE["label"], TABLE["time"]
DATA = TABLE["data"] or str(FOLDER / "sample.csv")
COLUMNS = ["table.json"]  # what features.py and train.py read beside their code
REPLAY = ["errors <= 0"]
CANARY = [{"weight": 10, "bake_s": 15}, {"weight": 50, "bake_s": 10}]
APPROVERS: list[str] = []  # ids of users: a release then waits for the word of one of them,
WAIT = timedelta(days=2)  # for so long


def knob(section: str, default: Any, description: str, **schema: Any) -> Param:
    return Param(default, section=section, description=description, **schema)


AMOUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
PARAMS = {
    "data": knob("Data", DATA, "CSV or Parquet; a relative URI lies under the data root", type="string", minLength=1),
    "as_of": knob("Data", None, "Only rows before this instant; empty: all", **form.instant()),
    "tolerance": knob("Data", 0.05, "Largest share of rows that may go to quarantine", **SHARE),
    "holdout": knob("Training", TABLE["holdout"], "Share of rows held back", type="number", minimum=0.01, maximum=0.9),
    "trees": knob("Training", 100, "Boosting rounds", **AMOUNT, maximum=5000),
    "max_depth": knob("Training", 4, "Depth of a tree", **AMOUNT, maximum=16),
    "learning_rate": knob("Training", 0.1, "Shrinkage per tree", type="number", exclusiveMinimum=0, maximum=1),
    "words": knob("Training", 200, "Words of a text column that are learned from, the most frequent", **AMOUNT, maximum=10000),
    "profile": knob("Training", "cpu-small", "Compute to train on", **form.profile()),
    "rules": knob("Gate", TABLE["rules"], "What must hold before a release", **form.rules(TABLE["task"])),
    "min_rows": knob("Gate", TABLE["min_rows"], "Holdout rows below which nothing is concluded", **AMOUNT),
    "replay": knob("Rollout", REPLAY, "How far its answers may be from the champion's", **form.rules("replay")),
    "canary": knob("Rollout", CANARY, "Its share in percent, and seconds, step by step", **form.canary()),
    "min_requests": knob("Rollout", 50, "Requests that a step needs to conclude anything", **AMOUNT),
    "without_them": knob("Rollout", "replay", "What decides where they do not come", enum=["replay", "hold", "roll_back"]),
    "smoke_tolerance": knob("Rollout", 1e-5, "Largest relative difference of a served from a trained prediction", **SHARE),
}


def given(*names: str) -> dict[str, str]:
    return {name: f"{{{{ params.{name} }}}}" for name in names}


with DAG(
    NAME, schedule=SCHEDULE, start_date=datetime(2013, 1, 1), catchup=False, max_active_runs=1, params=PARAMS,
    render_template_as_native_obj=True, default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    description=f"{LABEL}, learned from {Path(DATA).name}", tags=["tradewind"],
):  # fmt: skip
    table = ValidateDataOperator(
        task_id="validate", expectations="expectations.json", time_column=TIME, **given("data", "tolerance")
    )
    features = SparkFeaturesOperator(
        task_id="features", build="features:build", sources={"table": table.output}, label_column=LABEL, time_column=TIME,
        files=COLUMNS,
    )  # fmt: skip
    model = TrainModelOperator(
        task_id="train", train="train:train", dataset=features.output, label_column=LABEL, time_column=TIME, files=COLUMNS,
        train_params=given("trees", "max_depth", "learning_rate", "words"), **given("profile", "holdout"),
    )  # fmt: skip
    gate = EvaluateModelOperator(task_id="evaluate", model=model.output, dataset=features.output, **given("rules", "min_rows"))
    version = RegisterModelOperator(task_id="register", name=NAME, model=model.output, gate=gate.output)
    rollout = {"steps": "{{ params.canary }}", "on_inconclusive": "{{ params.without_them }}", "patience_s": 30,
               **given("replay", "min_requests")}  # fmt: skip
    if APPROVERS:
        version = ApproveReleaseOperator(
            task_id="approve", version=version.output, rollout=rollout, approvers=APPROVERS, response_timeout=WAIT
        )
    SeldonRolloutOperator(task_id="rollout", version=version.output, rollout=rollout, **given("smoke_tolerance"))
