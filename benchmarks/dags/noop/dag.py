"""What Airflow itself costs: a chain as long as the flights' and a fan-out, of tasks that do nothing."""

from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.bases.operator import chain


class NoOp(BaseOperator):
    """A task's process and nothing in it."""

    def __init__(self, *, value=None, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context):
        return None


with DAG("noop_chain", schedule=None):
    chain(*(NoOp(task_id=f"task_{number}") for number in range(6)))

FILES = [f"fanout/{number % 25:03}.csv" for number in range(100)]

with DAG("noop_fan_out", schedule=None):

    @task
    def many(value):
        """What any task of a pipeline does at least: take its argument and hand a value on."""
        return value

    many.expand(value=FILES)

with DAG("bare_fan_out", schedule=None):
    NoOp.partial(task_id="many").expand(value=FILES)
