"""Will a flight out of New York arrive more than 15 minutes late? By a neural network, on GPUs where there are some."""

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

# Knobs. SCHEDULE: None, a preset or cron ("@monthly"), or assets ([Asset("flights")]).
NAME = Path(__file__).parent.name  # a copied folder is a new pipeline: own Dag, own model
SCHEDULE: Any = None
LABEL, TIME = "late", "time_hour"
TABLES = ("flights", "weather", "planes", "airports", "airlines")
KNOWN_AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
RULES = ["auc >= 0.6", "auc >= champion - 0.005", "slice(carrier).auc >= 0.5"]
REPLAY = ["disagreement <= 0.1", "psi <= 0.25", "errors <= 0"]
CANARY = [{"weight": 10, "bake_s": 15}, {"weight": 50, "bake_s": 10}]
APPROVERS: list[str] = []  # ids of users: a release then waits for the word of one of them,
WAIT = timedelta(days=2)  # for so long


def knob(section: str, default: Any, description: str, **schema: Any) -> Param:
    return Param(default, section=section, description=description, **schema)


AMOUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
WHERE = "CSV or Parquet; a relative URI lies under the data root"
PARAMS = {
    **{table: knob("Data", f"nycflights13/{table}.csv", f"The {table}: {WHERE}", type="string", minLength=1) for table in TABLES},
    "as_of": knob("Data", None, "Only rows before this instant; empty: all", **form.instant()),
    "tolerance": knob("Data", 0.05, "Largest share of rows that may go to quarantine", **SHARE),
    "epochs": knob("Training", 8, "How often each row is seen", **AMOUNT, maximum=1000),
    "width": knob("Training", 128, "Units of a layer", **AMOUNT, maximum=4096),
    "batch": knob("Training", 2048, "Rows to a step, of all GPUs together", **AMOUNT),
    "learning_rate": knob("Training", 0.002, "Of AdamW, at the start", type="number", exclusiveMinimum=0, maximum=1),
    "require_gpu": knob("Training", False, "Fail where there is no GPU, instead of learning on a CPU", type="boolean"),
    "profile": knob("Training", "cpu-small", "Compute to train on", **form.profile()),
    "rules": knob("Gate", RULES, "What must hold before a release", **form.rules("binary")),
    "min_rows": knob("Gate", 1000, "Holdout rows below which nothing is concluded", **AMOUNT),
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
    description=__doc__, tags=["tradewind"],
):  # fmt: skip
    flights = ValidateDataOperator(
        task_id="validate", data="{{ params.flights }}", expectations="expectations.json", time_column=TIME, **given("tolerance")
    )
    features = SparkFeaturesOperator(
        task_id="features", build="features:build", sources={"flights": flights.output, **given(*TABLES[1:])},
        label_column=LABEL, time_column=TIME, known_after=KNOWN_AFTER,
    )  # fmt: skip
    model = TrainModelOperator(
        task_id="train", train="train:train", dataset=features.output, label_column=LABEL, time_column=TIME, image="torch",
        train_params=given("epochs", "width", "batch", "learning_rate", "require_gpu"), **given("profile"),
    )  # fmt: skip
    gate = EvaluateModelOperator(
        task_id="evaluate", model=model.output, dataset=features.output, slices=["carrier"], **given("rules", "min_rows")
    )
    version = RegisterModelOperator(task_id="register", name=NAME, model=model.output, gate=gate.output)
    rollout = {"steps": "{{ params.canary }}", "on_inconclusive": "{{ params.without_them }}", "patience_s": 30,
               **given("replay", "min_requests")}  # fmt: skip
    if APPROVERS:
        version = ApproveReleaseOperator(
            task_id="approve", version=version.output, rollout=rollout, approvers=APPROVERS, response_timeout=WAIT
        )
    SeldonRolloutOperator(task_id="rollout", version=version.output, rollout=rollout, **given("smoke_tolerance"))
