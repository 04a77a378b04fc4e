"""Are the flights still those that the model of flight_delay learned from? Looks each month, and has it trained anew if not."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, task

from tradewind.operators import DetectDriftOperator, SparkFeaturesOperator, ValidateDataOperator, form

# Knobs. SCHEDULE: a preset or cron. A run looks at the rows of the time before it, so a backfill is what would have been seen.
NAME = Path(__file__).parent.name
SCHEDULE: Any = "@monthly"
LOOK_BACK = "months=1"
FIRST, LAST = datetime(2013, 2, 1), datetime(2014, 1, 1)  # runs on these flights; LAST = None: it goes on, month by month
WATCHED = "flight_delay"  # the pipeline whose model it is; features.py makes its features
LABEL, TIME = "late", "time_hour"
TABLES = ("flights", "weather", "planes", "airports", "airlines")
KNOWN_AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
RULES = ["unseen <= 0.05", "missing <= 0.2"]  # one month is never like the others; it may be beyond all of them
EXCLUDE = ["month"]


def knob(section: str, default: Any, description: str, **schema: Any) -> Param:
    return Param(default, section=section, description=description, **schema)


WHERE = "CSV or Parquet; a relative URI lies under the data root"
PARAMS = {
    **{table: knob("Data", f"nycflights13/{table}.csv", f"The {table}: {WHERE}", type="string", minLength=1) for table in TABLES},
    "since": knob("Data", None, "Only rows from this instant on; empty: all; a scheduled run's month", **form.instant()),
    "as_of": knob("Data", None, "Only rows before this instant; empty: all", **form.instant()),
    "tolerance": knob("Data", 0.05, "Largest share of rows that may go to quarantine", type="number", minimum=0, maximum=1),
    "model": knob("Drift", WATCHED, "The registered model whose champion it is", type="string", minLength=1),
    "rules": knob("Drift", RULES, "What must hold of every column", **form.rules("drift")),
    "exclude": knob("Drift", EXCLUDE, "Columns that are not compared", type="array", items={"type": "string"}),
    "min_rows": knob("Drift", 200, "Rows below which shares decide nothing", type="integer", minimum=1),
    "retrain": knob("Drift", WATCHED, "The Dag that is triggered by a drift", type="string", minLength=1),
}


def given(*names: str) -> dict[str, str]:
    return {name: f"{{{{ params.{name} }}}}" for name in names}


def instant(of_interval: str, asked: str) -> str:
    """Of a scheduled run an end of the time that it looks at; of a run by hand what its form says."""
    scheduled = "dag_run is defined and dag_run.run_type in ('scheduled', 'backfill')"
    return f"{{{{ {of_interval}.isoformat() if {scheduled} else params.{asked} }}}}"


with DAG(
    NAME, schedule=SCHEDULE, start_date=FIRST, end_date=LAST, catchup=False, max_active_runs=1, params=PARAMS,
    render_template_as_native_obj=True, default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    is_paused_upon_creation=True, description=__doc__, tags=["tradewind"],
):  # fmt: skip
    flights = ValidateDataOperator(
        task_id="validate", data="{{ params.flights }}", expectations="expectations.json", time_column=TIME, **given("tolerance")
    )
    features = SparkFeaturesOperator(
        task_id="features", build="features:build", sources={"flights": flights.output, **given(*TABLES[1:])},
        label_column=LABEL, time_column=TIME, known_after=KNOWN_AFTER,
        build_params={"since": instant(f"data_interval_end.subtract({LOOK_BACK})", "since")},
    )  # fmt: skip
    drift = DetectDriftOperator(
        task_id="drift", dataset=features.output, name="{{ params.model }}", **given("rules", "exclude", "min_rows")
    )

    @task.short_circuit
    def drifted(found: dict[str, Any]) -> bool:
        return bool(found["metrics"]["drifted"])

    drifted(drift.output) >> TriggerDagRunOperator(
        task_id="retrain", trigger_dag_id="{{ params.retrain }}", trigger_run_id=NAME + "__{{ run_id }}",
        conf={"as_of": instant("data_interval_end", "as_of")}, skip_when_already_exists=True,
    )  # fmt: skip
