"""The gate before release: challenger against champion, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradewind.errors import GateFailed, SpecError, StoreError
from tradewind.operators.base import Input, StepOperator, as_of, number
from tradewind.operators.links import ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import ArtifactRef, StepManifest, StepSpec
    from tradewind.registry import ModelVersion, Registry
    from tradewind.settings import Settings
    from tradewind.store import Store


class EvaluateModelOperator(StepOperator):
    """Measure the challenger, and the champion where there is one, on the holdout rows, and hold them against rules.

    Output: ``verdict`` (JSON) and ``report`` (HTML): how far the two models' answers and the data that they learned from are
    apart is in them too, and no rule is about it. PASSED lets the run go on; FAILED and INCONCLUSIVE fail the task
    without retry and say by how much.

    Args:
        model: the challenger: a train task's output.
        dataset: the table that it was trained on; the holdout is taken from it again, as it was then.
        rules: what must hold, e.g. ``auc >= 0.6``, ``auc >= champion - 0.005``; rules about a champion do not apply where
            there is none.
        slices: columns whose every value is measured apart.
        min_rows: holdout rows below which the verdict is INCONCLUSIVE.
        min_slice_rows: rows of a slice below which a rule about slices does not judge it.
        model_name: the registered model whose champion it is; by default the Dag's id.
    """

    STEP = "evaluate"
    IMAGE = "train"
    template_fields: Sequence[str] = (
        *StepOperator.template_fields,
        "model",
        "dataset",
        "rules",
        "slices",
        "min_rows",
        "min_slice_rows",
        "model_name",
    )
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        model: Input,
        dataset: Input,
        rules: Sequence[str] | str,
        slices: Sequence[str] | str = (),
        min_rows: int | str = 1000,
        min_slice_rows: int | str = 200,
        model_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.dataset = dataset
        self.rules = rules
        self.slices = slices
        self.min_rows = min_rows
        self.min_slice_rows = min_slice_rows
        self.model_name = model_name
        self._champion: ModelVersion | None = None
        self._reference_as_of: str | None = None
        if isinstance(rules, (list, tuple)):
            _checked(rules)

    def step_inputs(self) -> dict[str, Input]:
        return {"model": self.model, "dataset": self.dataset}

    def step_as_of(self, context: Context) -> str | None:
        return as_of(context)  # the model says by which column: the holdout ends where the training's rows did

    def resolved_inputs(self, store: Store, settings: Settings) -> dict[str, ArtifactRef]:
        from tradewind.registry import CHAMPION, Registry, model_of

        inputs = super().resolved_inputs(store, settings)
        with Registry.of(settings) as registry:
            champion = registry.by_alias(self.model_name or self.dag_id, CHAMPION)
            if champion and model_of(champion).sha256 == inputs["model"].sha256:
                champion = _predecessor(registry, store, champion)
        if champion:
            self._champion = champion
            inputs["champion"] = model_of(champion)
            if trained := self._training(store, inputs["champion"]):
                inputs["reference"], self._reference_as_of = trained.inputs["dataset"], trained.as_of
        return inputs

    def _training(self, store: Store, champion: ArtifactRef) -> StepSpec | None:
        """What the champion's training was told, where the store keeps the data that it read: a file from outside may be written
        over while the step reads it. None too where the store does not answer: what is told for information fails nothing."""
        from tradewind.approval.lineage import trained_on

        try:
            return trained_on(store, champion, from_outside=False)
        except (OSError, StoreError) as error:
            self.log.warning("What the champion was trained on is not compared: %s", error)
            return None

    def step_params(self) -> dict[str, Any]:
        return {
            "rules": _checked(texts("rules", self.rules)),
            "slices": texts("slices", self.slices),
            "min_rows": int(number("min_rows", self.min_rows, 1, 1e12)),
            "min_slice_rows": int(number("min_slice_rows", self.min_slice_rows, 1, 1e12)),
            # Not only the champion's content: the rollout asks for this version by name, and another registered model may
            # have the same model under another one.
            "champion_version": self._champion.version if self._champion else None,
            "reference_as_of": self._reference_as_of,
        }

    def finish(self, context: Context, manifest: StepManifest) -> None:
        verdict = manifest.metrics["verdict"]
        if verdict != "PASSED":
            raise GateFailed(f"{verdict}: {'; '.join(manifest.metrics['reasons'])}")


def _predecessor(registry: Registry, store: Store, champion: ModelVersion) -> ModelVersion | None:
    """The version that a champion was compared with when it was let through: no model is its own rival, and with nothing
    changed the comparison is the one that was made then. None where it had no rival, or nobody knows any more."""
    from tradewind.registry import GATE_TAG

    try:
        compared = store.get_manifest(champion.tags[GATE_TAG]).metrics["champion_version"]
        return registry.version(champion.name, str(compared)) if compared else None
    except (KeyError, FileNotFoundError, SpecError):
        return None


def _checked(rules: Sequence[str]) -> list[str]:
    from tradewind.rules import parse_rules

    parse_rules([rule for rule in rules if "{{" not in str(rule)])
    return list(rules)


def texts(name: str, value: Any) -> list[str]:
    """A templated list: Jinja gives it as a list where the Dag renders native objects, else as its text."""
    if isinstance(value, str):
        import ast

        try:
            value = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            value = [part.strip() for part in value.splitlines() if part.strip()]
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)
    raise SpecError(f"{name}: expected a list of texts, got {value!r}")
