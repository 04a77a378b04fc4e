"""Take a model's last release back: the version before serves again and is the champion, within seconds."""

from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

PARAMS = {
    "model": Param("flight_delay", type="string", minLength=1, description="The registered model"),
    "to": Param(None, type=["null", "string"], description="The version; empty: the one that served before"),
    "reason": Param("", type="string", minLength=3, description="Why: it stays in the release record"),
}

with DAG(Path(__file__).parent.name, schedule=None, start_date=datetime(2013, 1, 1), params=PARAMS, description=__doc__):

    @task(retries=0)
    def rollback(params: dict[str, Any], dag_run: Any) -> dict[str, Any]:
        from tradewind.rollout.hands import driver, roll_back

        by = f"{dag_run.triggering_user_name or 'Airflow'}, {dag_run.dag_id} / {dag_run.run_id}"
        with driver(params["model"], holder=by, say=print) as hands:
            record = roll_back(hands, params["model"], to=params["to"], by=by, why=params["reason"])
        back = record.phase == "rolled_back"  # a rollout that was under way
        serves, left = (record.stable, record.version) if back else (record.version, record.stable)
        return {"metrics": {"name": record.target, "version": serves, "instead_of": left}}

    rollback()
