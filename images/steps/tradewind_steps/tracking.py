"""One MLflow run around the user's training: what went in, how it went, the model."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tradewind.contract import StepSpec
from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind_steps.metrics import Metrics

log = logging.getLogger("tradewind")
_BATCH = 1000  # metrics that MLflow takes in one request
_CURVE_POINTS = 500  # a curve is drawn with no more
_NO_SUCH_CHARACTER = re.compile(r"[^\w\-. /:]")


class Run:
    """The run, active for ``mlflow.log_metric`` and the like while the ``with`` block runs; FAILED where that raises.

    Args:
        spec: names the run and its tags; ``params["experiment"]`` is the experiment, made where it is not there.
        params: what the run shows as its parameters.
        tags: further tags.
        name: by default Airflow's run id.

    Raises:
        RuntimeUnavailable: MLflow does not answer.
        SpecError: the step was given no tracking URI.
    """

    def __init__(self, spec: StepSpec, *, params: Mapping[str, Any], tags: Mapping[str, str], name: str | None = None) -> None:
        if not spec.tracking_uri:
            raise SpecError("The train step needs the URI of an MLflow tracking server or database, got none")
        # MLflow waits for minutes by default; Airflow's retries do that better.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ["MLFLOW_TRACKING_URI"] = self.uri = spec.tracking_uri
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import mlflow

        mlflow.set_tracking_uri(spec.tracking_uri)
        self._mlflow = mlflow
        self.client = mlflow.MlflowClient()
        self._spec = spec
        self._params = texts(params)
        self._tags = dict(tags)
        self._name = name or spec.run_id
        self.run_id = ""
        self.experiment_id = ""

    def __enter__(self) -> Self:
        spec = self._spec
        with explained(self.uri):
            self.experiment_id = self._experiment(str(spec.params.get("experiment") or spec.dag_id))
            if spec.try_number > 1:
                self._end_earlier_tries()
            run = self.client.create_run(self.experiment_id, tags=self._tags, run_name=self._name)
            self.run_id = run.info.run_id
            try:
                self.client.log_batch(self.run_id, params=entities("Param", self._params))
                self._mlflow.start_run(run_id=self.run_id, log_system_metrics=False)
            except Exception:
                with contextlib.suppress(Exception):  # nobody else would end it
                    self.client.set_terminated(self.run_id, "FAILED")
                raise
        log.info("MLflow run %s in experiment %s", self.run_id, self.experiment_id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        if error is None:
            with explained(self.uri):
                self._mlflow.end_run("FINISHED")
            return
        # The user's error is the news, whatever MLflow says now.
        with contextlib.suppress(Exception):
            self.client.set_tag(self.run_id, "tradewind.error", f"{type(error).__name__}: {error}"[:5000])
        with contextlib.suppress(Exception):
            self._mlflow.end_run("FAILED")

    @classmethod
    def begun(
        cls, spec: StepSpec, *, params: Mapping[str, Any], tags: Mapping[str, str], run_id: str, experiment_id: str
    ) -> Self:
        """A run that another process has begun and will end."""
        run = cls(spec, params=params, tags=tags)
        run.run_id, run.experiment_id = run_id, experiment_id
        return run

    def set_tag(self, name: str, value: str) -> None:
        with explained(self.uri):
            self.client.set_tag(self.run_id, name, value)

    def log_figures(self, metrics: Metrics, curves: Mapping[str, list[float]], model_id: str | None) -> None:
        """Metrics, those without value left out, and learning curves, by step."""
        found = figures(metrics, curves, model_id=model_id, run_id=self.run_id)
        with explained(self.uri):
            for start in range(0, len(found), _BATCH):
                self.client.log_batch(self.run_id, metrics=found[start : start + _BATCH])

    def is_there(self, run_id: str) -> bool:
        """Whether another run is there, and not deleted."""
        from mlflow.exceptions import MlflowException

        with explained(self.uri):
            try:
                return str(self.client.get_run(run_id).info.lifecycle_stage) == "active"
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise

    def new_model(self) -> str:
        """Begin a logged model, an MLflow 3 entity beside the run; returns its id."""
        with explained(self.uri):
            model = self.client.create_logged_model(
                self.experiment_id, name="model", source_run_id=self.run_id, params=self._params, tags=self._tags
            )
        return str(model.model_id)

    def log_model(self, model_id: str, folder: Path) -> None:
        """Upload a model folder as that logged model and make it an output of the run."""
        from mlflow.entities import LoggedModelOutput

        with explained(self.uri):
            self.client.log_model_artifacts(model_id, str(folder))
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model_id, 0)])
            self.client.finalize_logged_model(model_id, "READY")

    def log_files(self, folder: Path) -> None:
        with explained(self.uri):
            self.client.log_artifacts(self.run_id, str(folder))

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, _artifacts(self.uri)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run was quicker
                    raise
                found = self.client.get_experiment_by_name(name)
        assert found is not None
        if found.lifecycle_stage != "active":
            raise SpecError(f"MLflow's experiment {name!r} is deleted: restore it there, or name another one in the train task")
        return str(found.experiment_id)

    def _end_earlier_tries(self) -> None:
        """A step that was killed could not end its run: it would be shown as running for ever."""
        spec = self._spec
        names = {"tradewind.dag_id": spec.dag_id, "tradewind.run_id": spec.run_id, "tradewind.task_id": spec.task_id}
        query = " and ".join(f"tags.`{name}` = '{_quoted(value)}'" for name, value in names.items())
        for run in self.client.search_runs([self.experiment_id], f"attributes.status = 'RUNNING' and {query}"):
            if run.data.tags.get("tradewind.map_index", "-1") == str(spec.map_index):
                self.client.set_terminated(run.info.run_id, "KILLED")


def tags_of(spec: StepSpec) -> dict[str, str]:
    """Where a run comes from: what Airflow calls it, and the hashes of code and data."""
    return {
        "tradewind.dag_id": spec.dag_id,
        "tradewind.run_id": spec.run_id,
        "tradewind.task_id": spec.task_id,
        "tradewind.map_index": str(spec.map_index),
        "tradewind.try_number": str(spec.try_number),
        "tradewind.entry_point": spec.entry_point or "",
        "tradewind.code": spec.code.sha256 if spec.code else "",
        "tradewind.data": spec.inputs["dataset"].sha256 if "dataset" in spec.inputs else "",
        "tradewind.fingerprint": spec.fingerprint or "",
    }


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow's client raises into an error of ours: whether it is worth a retry is in the type."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED"):
            raise SpecError(f"MLflow at {uri}: {error.message}") from error
        raise RuntimeUnavailable(f"MLflow at {uri} does not answer as it should: {error.message}") from error


def figures(metrics: Metrics, curves: Mapping[str, list[float]], **ids: str | None) -> list[Any]:
    """Metrics as MLflow has them; ``ids`` are of the model and its run, if they belong to one."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    known = {name: value for name, value in metrics.items() if value is not None}
    found = [Metric(name, value, now, 0, **(ids if ids.get("model_id") else {})) for name, value in known.items()]
    for name, values in curves.items():
        every = max(1, -(-len(values) // _CURVE_POINTS))
        steps = sorted({*range(0, len(values), every), len(values) - 1}) if values else []
        found += [Metric(_key(name), values[step], now, step) for step in steps]
    return found


def entities(kind: str, values: Mapping[str, str]) -> list[Any]:
    import mlflow.entities

    make = getattr(mlflow.entities, kind)
    return [make(name, value) for name, value in values.items()]


def _artifacts(uri: str) -> str | None:
    """Where an experiment's files go: a server knows; beside a database file, not in the folder where the step happens to run."""
    prefix = "sqlite:///"
    return (Path(uri.removeprefix(prefix)).parent / "artifacts").as_uri() if uri.startswith(prefix) else None


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow has them."""
    return {_key(name): _text(value) for name, value in values.items()}


def _key(name: str) -> str:
    return _NO_SUCH_CHARACTER.sub("_", name)[:250] or "_"


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:6000]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
