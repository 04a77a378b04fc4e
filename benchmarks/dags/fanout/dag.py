"""The same validation of many small files: of each once, and of a hundred, all of which were validated before."""

from airflow.sdk import DAG

from tradewind.operators import ValidateDataOperator

FILES = [f"fanout/{number:03}.csv" for number in range(25)]

for name, data in (("fan_out_processes", FILES), ("fan_out", FILES * 4)):
    with DAG(name, schedule=None):
        ValidateDataOperator.partial(task_id="many", expectations="expectations.json").expand(data=data)
