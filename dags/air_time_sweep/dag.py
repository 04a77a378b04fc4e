"""How long will a flight out of New York be in the air? The best of many models: hyperparameters are searched for."""

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
    SweepOperator,
    ValidateDataOperator,
    form,
)

# Knobs. SCHEDULE: None, a preset or cron ("@monthly"), or assets ([Asset("flights")]).
NAME = Path(__file__).parent.name  # a copied folder is a new pipeline: own Dag, own model
SCHEDULE: Any = None
LABEL, TIME = "air_time", "time_hour"
KNOWN_AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay"]
SPACE = {
    "max_depth": [3, 5, 7, 9],
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "subsample": {"low": 0.5, "high": 1.0, "step": 0.1},
}
BEST = ["min rmse within 0.05", "min mae"]  # minutes: of trials as good as the best by rmse the one with the lowest mae
RULES = ["rmse <= 25", "rmse <= champion + 0.2"]
REPLAY = ["disagreement <= 0.1", "errors <= 0"]
CANARY = [{"weight": 10, "bake_s": 15}, {"weight": 50, "bake_s": 10}]
APPROVERS: list[str] = []  # ids of users: a release then waits for the word of one of them,
WAIT = timedelta(days=2)  # for so long


def knob(section: str, default: Any, description: str, **schema: Any) -> Param:
    return Param(default, section=section, description=description, **schema)


AMOUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
WHERE = "CSV or Parquet; a relative URI lies under the data root"
PARAMS = {
    "flights": knob("Data", "nycflights13/flights.csv", f"The flights: {WHERE}", type="string", minLength=1),
    "as_of": knob("Data", None, "Only rows before this instant; empty: all", **form.instant()),
    "tolerance": knob("Data", 0.05, "Largest share of rows that may go to quarantine", **SHARE),
    "trials": knob("Sweep", 16, "Models to try", **AMOUNT, maximum=1000),
    "seed": knob("Sweep", 0, "Another one tries others", type="integer", minimum=0),
    "trees": knob("Training", 200, "Boosting rounds", **AMOUNT, maximum=5000),
    "profile": knob("Training", "cpu-small", "Compute to train on", **form.profile()),
    "rules": knob("Gate", RULES, "What must hold before a release", **form.rules("regression")),
    "min_rows": knob("Gate", 1000, "Holdout rows below which nothing is concluded", **AMOUNT),
    "replay": knob("Rollout", REPLAY, "How far its answers may be from the champion's", **form.rules("replay")),
    "canary": knob("Rollout", CANARY, "Its share in percent, and seconds, step by step", **form.canary()),
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
        task_id="features", build="features:build", sources={"flights": flights.output},
        label_column=LABEL, time_column=TIME, known_after=KNOWN_AFTER,
    )  # fmt: skip
    model = SweepOperator(
        task_id="sweep", train="train:train", dataset=features.output, label_column=LABEL, time_column=TIME,
        space=SPACE, metric="rmse", rules=BEST, sampler="tpe", pruner="median", warm_up=20,
        train_params=given("trees"), **given("profile", "trials", "seed"),
    )  # fmt: skip
    gate = EvaluateModelOperator(
        task_id="evaluate", model=model.output, dataset=features.output, slices=["origin"], **given("rules", "min_rows")
    )
    version = RegisterModelOperator(task_id="register", name=NAME, model=model.output, gate=gate.output)
    rollout = {"steps": "{{ params.canary }}", "patience_s": 30, **given("replay")}
    if APPROVERS:
        version = ApproveReleaseOperator(
            task_id="approve", version=version.output, rollout=rollout, approvers=APPROVERS, response_timeout=WAIT
        )
    SeldonRolloutOperator(task_id="rollout", version=version.output, rollout=rollout)
