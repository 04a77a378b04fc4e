"""Training, tracked by MLflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tradewind.errors import SpecError
from tradewind.operators.base import Input, StepOperator, number
from tradewind.operators.links import RunLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

    from tradewind.contract import StepManifest

TASKS = ("binary", "multiclass", "regression")


class TrainModelOperator(StepOperator):
    """Run the user's ``train(dataset, params) -> model`` inside an MLflow run.

    Output: ``model``, an MLflow model folder.

    With ``image="torch"`` the function has PyTorch. On a profile of several GPUs it then runs in a process for each of them,
    as ``torchrun`` starts them (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``); the model is what the first one returns.

    A function that is ended and tried again goes on where it was if it saves its work: ``dataset.checkpoint.folder`` has then
    what it saved last, ``dataset.checkpoint.saved()`` keeps what is in the folder now.

    With ``predictor="module:Class"`` the model answers through a class of the author's, in the form of Seldon's Python
    wrapper, which serves in ``images/predictor``; ``train`` then returns the files that the class loads.

    Args:
        train: entry point ``module:function`` in the pipeline's folder.
        dataset: a table with one row per example.
        label_column: the column to predict.
        time_column: split by time, the last rows being the holdout; without it by a hash of each row's content. A scheduled
            run sees the rows before its data interval's end, a manual one all, or those before ``params.as_of``.
        holdout: the share of rows, between 0 and 1, that the model does not see.
        exclude: columns that are no features.
        task: ``binary``, ``multiclass`` or ``regression``; by default what the label's values ask for: two distinct ones,
            text or few whole numbers, other numbers.
        train_params: what ``train`` gets as ``params``, ``device`` added (``cpu`` or ``cuda``); plain JSON. Templated
            numbers stay numbers only in a Dag with ``render_template_as_native_obj=True``.
        experiment: MLflow's; by default the Dag's id. It counts for reuse: another pipeline's run is none of this one's.
        predictor: ``module:Class`` in the pipeline's folder. Its module, what that imports and ``files`` become part of the
            model.
    """

    STEP = "train"
    IMAGE = "train"
    template_fields: Sequence[str] = (
        *StepOperator.template_fields, "dataset", "label_column", "time_column", "holdout", "train_params", "task", "experiment",
    )  # fmt: skip
    operator_extra_links: Collection[BaseOperatorLink] = (RunLink(),)

    def __init__(
        self,
        *,
        train: str,
        dataset: Input,
        label_column: str,
        time_column: str | None = None,
        holdout: float | str = 0.2,
        exclude: Sequence[str] = (),
        task: str | None = None,
        train_params: Mapping[str, Any] | None = None,
        experiment: str | None = None,
        predictor: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train = train
        self.dataset = dataset
        self.label_column = label_column
        self.time_column = time_column
        self.holdout = holdout
        self.exclude = list(exclude)
        self.task = task
        if isinstance(task, str) and "{{" not in task:
            _checked(task)
        self.train_params = train_params or {}
        self.experiment = experiment
        self.predictor = predictor
        if predictor is not None and not all(predictor.partition(":")[::2]):
            raise SpecError(f"predictor: expected 'module:Class', got {predictor!r}")

    @property
    def entry_point(self) -> str:
        return self.train

    def step_inputs(self) -> dict[str, Input]:
        return {"dataset": self.dataset}

    def step_files(self) -> Sequence[str]:
        return [*self.files, *self._predictor_code()]

    def step_params(self) -> dict[str, Any]:
        predictor = {"predictor": {"class": self.predictor, "code": self._predictor_code()}} if self.predictor else {}
        return {
            **predictor,
            "params": dict(self.train_params),
            "label": self.label_column,
            "time_column": self.time_column or None,
            "holdout": number("holdout", self.holdout, 0.01, 0.9),
            "exclude": self.exclude,
            "task": _checked(self.task) if self.task else None,
            "experiment": self.experiment or self.dag_id,
        }

    def _predictor_code(self) -> list[str]:
        from tradewind.packaging import used_files

        return used_files(self.folder, self.predictor, self.files) if self.predictor else []

    def finish(self, context: Context, manifest: StepManifest) -> None:
        from tradewind.operators.links import run_url
        from tradewind.settings import Settings

        self.link_url = run_url(
            Settings.load().tracking_uri, str(manifest.metrics["experiment_id"]), str(manifest.metrics["mlflow_run_id"])
        )

    def still_valid(self, manifest: StepManifest) -> bool:
        from tradewind.registry import Registry
        from tradewind.settings import Settings

        settings = Settings.load()
        if settings.profile(self.profile).device == "gpu" and manifest.metrics["device"] != "cuda":
            return False  # there was none: whoever has one now gets what it learns
        with Registry.of(settings) as registry:
            return registry.run_exists(str(manifest.metrics["mlflow_run_id"]))


def _checked(task: str) -> str:
    if task not in TASKS:
        raise SpecError(f"task: expected {', '.join(TASKS)} or None, got {task!r}")
    return task
