"""Which passengers should be warned that their flight out of New York will be late? Served by a class of one's own."""

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
KNOWN_AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
RULES = ["auc >= 0.6", "auc >= champion - 0.005"]
REPLAY = ["disagreement <= 0.1", "psi <= 0.25", "errors <= 0"]  # disagreement: on whether to warn
CANARY = [{"weight": 10, "bake_s": 15}, {"weight": 50, "bake_s": 10}]
APPROVERS: list[str] = []  # ids of users: a release then waits for the word of one of them,
WAIT = timedelta(days=2)  # for so long


def knob(section: str, default: Any, description: str, **schema: Any) -> Param:
    return Param(default, section=section, description=description, **schema)


AMOUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
COST: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}
WHERE = "CSV or Parquet; a relative URI lies under the data root"
PARAMS = {
    "flights": knob("Data", "nycflights13/flights.csv", f"The flights: {WHERE}", type="string", minLength=1),
    "weather": knob("Data", "nycflights13/weather.csv", f"The weather: {WHERE}", type="string", minLength=1),
    "as_of": knob("Data", None, "Only rows before this instant; empty: all", **form.instant()),
    "tolerance": knob("Data", 0.05, "Largest share of rows that may go to quarantine", **SHARE),
    "late_cost": knob("Warning", 60.0, "What a late flight costs that nobody was warned of", **COST),
    "warning_cost": knob("Warning", 15.0, "What a warning costs, needed or not", **COST),
    "trees": knob("Training", 100, "Boosting rounds", **AMOUNT, maximum=5000),
    "max_depth": knob("Training", 6, "Depth of a tree", **AMOUNT, maximum=16),
    "rules": knob("Gate", RULES, "What must hold before a release", **form.rules("binary")),
    "min_rows": knob("Gate", 1000, "Holdout rows below which nothing is concluded", **AMOUNT),
    "replay": knob("Rollout", REPLAY, "How far its answers may be from the champion's", **form.rules("replay")),
    "canary": knob("Rollout", CANARY, "Its share in percent, and seconds, step by step", **form.canary()),
    "min_requests": knob("Rollout", 50, "Requests that a step needs to conclude anything", **AMOUNT),
    "without_them": knob("Rollout", "replay", "What decides where they do not come", enum=["replay", "hold", "roll_back"]),
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
        task_id="features", build="features:build", sources={"flights": flights.output, **given("weather")},
        label_column=LABEL, time_column=TIME, known_after=KNOWN_AFTER,
    )  # fmt: skip
    model = TrainModelOperator(
        task_id="train", train="train:train", predictor="predictor:Warnings", dataset=features.output, label_column=LABEL,
        time_column=TIME, train_params=given("trees", "max_depth", "late_cost", "warning_cost"),
    )  # fmt: skip
    gate = EvaluateModelOperator(task_id="evaluate", model=model.output, dataset=features.output, **given("rules", "min_rows"))
    version = RegisterModelOperator(task_id="register", name=NAME, model=model.output, gate=gate.output)
    rollout = {"steps": "{{ params.canary }}", "on_inconclusive": "{{ params.without_them }}", "patience_s": 30,
               **given("replay", "min_requests")}  # fmt: skip
    if APPROVERS:
        version = ApproveReleaseOperator(
            task_id="approve", version=version.output, rollout=rollout, approvers=APPROVERS, response_timeout=WAIT
        )
    SeldonRolloutOperator(task_id="rollout", version=version.output, rollout=rollout)
