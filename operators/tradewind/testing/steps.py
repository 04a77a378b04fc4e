"""For the tests of a pipeline's folder: its steps run for real, without a scheduler, MLflow's server or a serving.

::

    steps = run_steps(Path(__file__).parent, tmp_path)
    assert steps["evaluate"].metrics["verdict"] == "PASSED"

What the Dag's tasks say is run: each step in its own environment, on this machine, from ``validate`` to ``evaluate``, or to
``drift``, with no champion to compare with. Registration and rollout need what is left out here.
"""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.errors import SpecError

if TYPE_CHECKING:
    from tradewind.contract import ArtifactRef, StepManifest, StepSpec
    from tradewind.operators.base import StepOperator
    from tradewind.settings import Settings
    from tradewind.store import Store


def run_steps(
    folder: Path,
    scratch: Path,
    *,
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Mapping[str, ArtifactRef]] | None = None,
) -> dict[str, StepManifest]:
    """Run the steps of the Dag in ``folder/dag.py``, each on what the ones before it have left.

    Args:
        folder: the pipeline's.
        scratch: a folder for all that the steps leave. Their environments are those of ``[tradewind] home``.
        params: the run's, where they are not the Dag's defaults; ``as_of`` among them is heeded.
        inputs: by task, what its step reads beside what the task names: of a drift check the ``reference``, a dataset that an
            earlier call has left.

    Returns:
        Each step's manifest by its task. A verdict ends nothing here: it is in ``metrics["verdict"]``.

    Raises:
        SpecError: the file has no Dag, or several.
        StepFailed, or the error of the tree that a step raised: it ended without success. Those after it were not run.
    """
    from tradewind.runtimes.base import result, runtime_for
    from tradewind.settings import Settings
    from tradewind.store import MANIFEST, Store

    dag = _dag(folder / "dag.py")
    settings = Settings.load()
    store = Store(str(scratch / "store"))
    runtime = runtime_for(dataclasses.replace(settings, tracking_username=None))
    context = {"params": {**dag.params.dump(), **(params or {})}}
    done: dict[str, StepManifest] = {}
    outputs: dict[str, Any] = {}
    for task in _steps(dag):
        _render(task, context, outputs)
        spec = _spec(task, store, settings, context["params"], tracking_uri=f"sqlite:///{scratch.absolute()}/mlflow.db")
        spec = dataclasses.replace(spec, inputs={**spec.inputs, **(inputs or {}).get(task.task_id, {})})
        runtime.run(spec, spec_uri=store.put_spec(spec), say=print)
        done[task.task_id] = result(store, spec)
        outputs[task.task_id] = {"manifest": f"{spec.outputs_uri}/{MANIFEST}"}
    return done


def _dag(file: Path) -> Any:
    from airflow.sdk import DAG, BaseOperator

    values = runpy.run_path(str(file)).values()
    found = {id(dag): dag for dag in (value.get_dag() for value in values if isinstance(value, BaseOperator))}
    found |= {id(value): value for value in values if isinstance(value, DAG)}
    if len(found) != 1:
        raise SpecError(f"{file}: expected one Dag, got {len(found)}")
    return next(iter(found.values()))


def _steps(dag: Any) -> list[StepOperator]:
    """The Dag's steps, each after those that it reads from."""
    from tradewind.operators.base import StepOperator

    left, order = list(dag.tasks), list[Any]()
    while left:
        ready = [task for task in left if not task.upstream_task_ids & {other.task_id for other in left}]
        order += ready
        left = [task for task in left if task not in ready]
    return [task for task in order if isinstance(task, StepOperator)]


def _render(task: StepOperator, context: dict[str, Any], outputs: Mapping[str, Any]) -> None:
    """The task's templated arguments as its run has them; the outputs of other tasks are what these have left."""
    from airflow.sdk import XComArg

    def filled(value: Any) -> Any:
        if isinstance(value, XComArg):
            return outputs[next(value.iter_references())[0].task_id]
        if isinstance(value, Mapping):
            return {key: filled(item) for key, item in value.items()}
        return value

    environment = task.get_template_env(dag=task.get_dag())
    for name in task.template_fields:
        setattr(task, name, task.render_template(filled(getattr(task, name)), context, environment))  # type: ignore[arg-type]


def _spec(task: StepOperator, store: Store, settings: Settings, run: Mapping[str, Any], *, tracking_uri: str) -> StepSpec:
    from tradewind.contract import StepSpec
    from tradewind.operators.base import StepOperator, asked_as_of
    from tradewind.packaging import bundle

    params = {**task.step_params(), "experiment": task.dag_id}
    return StepSpec(
        step=task.STEP,
        dag_id=task.dag_id,
        run_id="test",
        task_id=task.task_id,
        map_index=-1,
        try_number=1,
        params=params,
        inputs=StepOperator.resolved_inputs(task, store, settings),  # not the gate's, which asks MLflow for a champion
        code=bundle(task.folder, store) if task.entry_point or task.step_files() else None,
        entry_point=task.entry_point,
        image=task.image,
        outputs_uri=store.new_try(task.dag_id, "test", task.task_id, -1, 1),
        store_uri=store.root,
        tracking_uri=tracking_uri,
        as_of=asked_as_of(run) if task.time_column else None,
        resources=settings.profile(task.profile).to_dict(),
    )
