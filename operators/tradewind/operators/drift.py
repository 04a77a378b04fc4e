"""Whether new data are still what the model that serves was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradewind.errors import SpecError
from tradewind.operators.base import Input, StepOperator, as_of, number
from tradewind.operators.evaluate import texts
from tradewind.operators.links import ReportLink
from tradewind.rules import parse_rules
from tradewind.serving.base import checked_name

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.notifier import BaseNotifier

    from tradewind.contract import ArtifactRef, StepManifest
    from tradewind.registry import ModelVersion
    from tradewind.settings import Settings
    from tradewind.store import Store


class DetectDriftOperator(StepOperator):
    """Hold a dataset against the one that the champion of a registered model was trained on, column by column.

    Output: ``columns`` (JSON) and ``report`` (HTML). The task succeeds whatever comes of it: ``metrics`` has ``verdict``
    (``STEADY``, ``DRIFTED``, ``INCONCLUSIVE`` for too few rows, or ``NO CHAMPION``), ``drifted``, ``reasons``, ``worst`` and
    ``columns``, the furthest first.

    Args:
        dataset: a features task's output, made as the training's was. A scheduled run sees the rows before its data interval's
            end, where the training had a time column.
        name: the registered model.
        rules: what must hold of every column. ``psi``: the population stability index, by tenths of the numbers and by the
            most frequent texts, missing and new values having bins of their own; ``ks``: the largest distance of two
            distributions of numbers; ``unseen``: the share of rows whose number lies beyond all that there were, or whose text is
            new; ``missing``: the share of rows without a value less what it was. A column that is missing or of another type is
            drift whatever they say.
        exclude: columns that are not compared, such as the month. Neither are those that the training excluded.
        min_rows: rows on either side below which shares decide nothing.
        notifiers: told of a drift; see `tradewind.notifications`.
    """

    STEP = "drift"
    IMAGE = "train"
    template_fields: Sequence[str] = (*StepOperator.template_fields, "dataset", "name", "rules", "exclude", "min_rows")
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        dataset: Input,
        name: str,
        rules: Sequence[str] | str = ("psi <= 0.25",),
        exclude: Sequence[str] | str = (),
        min_rows: int | str = 200,
        notifiers: Sequence[BaseNotifier] | BaseNotifier = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if "{{" not in name:
            checked_name(name, "name")
        if not isinstance(rules, str):
            parse_rules([rule for rule in rules if "{{" not in str(rule)], "drift")
        self.dataset = dataset
        self.name = name
        self.rules = rules
        self.exclude = exclude
        self.min_rows = min_rows
        self.notifiers = list(notifiers) if isinstance(notifiers, Sequence) else [notifiers]
        self._champion: ModelVersion | None = None
        self._trained: dict[str, Any] = {}

    def step_inputs(self) -> dict[str, Input]:
        return {"dataset": self.dataset}

    def step_as_of(self, context: Context) -> str | None:
        return as_of(context)  # the champion's training says by which column

    def resolved_inputs(self, store: Store, settings: Settings) -> dict[str, ArtifactRef]:
        from tradewind.approval.lineage import trained_on
        from tradewind.registry import CHAMPION, Registry, model_of

        inputs = super().resolved_inputs(store, settings)
        with Registry.of(settings) as registry:
            self._champion = champion = registry.by_alias(self.name, CHAMPION)
        if champion is None:
            return inputs
        trained = trained_on(store, model_of(champion))
        if trained is None:
            raise SpecError(
                f"Expected the dataset that version {champion.version} of {self.name} was trained on, and it is gone from the "
                "store, or is another by now: release a version that is trained anew"
            )
        params = trained.params.get("train", trained.params)  # a sweep's trainings are told by one of its own
        self._trained = {
            "label": params["label"],
            "time_column": params["time_column"],
            "left_out": params["exclude"],
            "reference_as_of": trained.as_of,
        }
        return {**inputs, "reference": trained.inputs["dataset"]}

    def step_params(self) -> dict[str, Any]:
        rules = texts("rules", self.rules)
        parse_rules(rules, "drift")
        trained = dict(self._trained)
        return {
            "rules": rules,
            "exclude": [*texts("exclude", self.exclude), *trained.pop("left_out", ())],
            "min_rows": int(number("min_rows", self.min_rows, 1, 1e12)),
            "name": self.name,
            "champion_version": self._champion.version if self._champion else None,
            **trained,
        }

    def finish(self, context: Context, manifest: StepManifest) -> None:
        found = manifest.metrics
        if found["drifted"]:
            from tradewind.notifications import drift, tell

            tell(self.notifiers, context, drift(context["ti"], reasons=found["reasons"]))
