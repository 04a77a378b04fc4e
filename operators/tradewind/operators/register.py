"""Registration in MLflow, with the lineage of what is registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tradewind.errors import GateFailed, SpecError
from tradewind.operators.base import Input, TradewindOperator, manifest_of
from tradewind.operators.links import VersionLink, version_url
from tradewind.serving.base import checked_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterModelOperator(TradewindOperator):
    """Make a trained model that passed its gate a version of a registered model, alias ``challenger``.

    Looks at what is and does what is missing: a model that is a version already is not registered again. A model that is
    the champion already gets no alias.

    Returns ``{"metrics": {"name", "version", "registered", "champion", "data_end", "gate"}}``; ``champion`` is the
    version that the gate compared with.

    Args:
        name: the registered model.
        model: a train task's output.
        gate: the evaluate task's output for it.
    """

    template_fields: Sequence[str] = ("name", "model", "gate")
    operator_extra_links = (VersionLink(),)

    def __init__(self, *, name: str, model: Input, gate: Input, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if "{{" not in name:
            checked_name(name, "name")  # at parse: it becomes part of the endpoint's URL, long after the training
        self.name = name
        self.model = model
        self.gate = gate

    def work(self, context: Context) -> dict[str, Any]:
        from tradewind.registry import CHALLENGER, CHAMPION, Registry, lineage_tags, model_tags
        from tradewind.settings import Settings
        from tradewind.store import Store

        settings = Settings.load()
        store = Store(settings.store_uri)
        model, gate = manifest_of(store, "model", self.model), manifest_of(store, "gate", self.gate)
        if gate.metrics["verdict"] != "PASSED":
            raise GateFailed(f"The gate's verdict on this model is {gate.metrics['verdict']}: it cannot be registered")
        if "model" not in model.outputs:
            raise SpecError(f"model: expected a train task's output, got one with {', '.join(model.outputs) or 'nothing'}")
        judged = gate.metrics.get("model_sha256")
        if judged != model.outputs["model"].sha256:
            raise SpecError(
                f"gate: expected the evaluate task's output for this model, sha256 {model.outputs['model'].sha256}, got one for "
                f"the model {judged}: give the evaluate task and this one the same `model`"
            )
        ref, run_id = model.outputs["model"], str(model.metrics["mlflow_run_id"])
        lineage = lineage_tags(
            dag_id=context["ti"].dag_id, run_id=context["ti"].run_id, trained=self.model["manifest"], gate=self.gate["manifest"],
            data_end=str(model.metrics.get("data_end") or ""),
        )  # fmt: skip
        tags = {**model_tags(ref), **lineage}
        with Registry.of(settings) as registry:
            version, registered = registry.register(self.name, model_id=str(model.metrics["model_id"]), run_id=run_id, tags=tags)
            champion = registry.by_alias(self.name, CHAMPION)
            challenger = registry.by_alias(self.name, CHALLENGER)
            serving = champion is not None and champion.version == version.version
            if not serving and (challenger is None or challenger.version != version.version):
                registry.set_alias(self.name, CHALLENGER, version.version)
        self.link_url = version_url(settings.tracking_uri, version.name, version.version)
        self.log.info("%s version %s %s", self.name, version.version, "registered" if registered else "was registered already")
        return {
            "metrics": {
                "name": self.name,
                "version": version.version,
                "registered": registered,
                "alias": CHAMPION if serving else CHALLENGER,
                "champion": gate.metrics["champion_version"],
                "data_end": model.metrics.get("data_end"),
                "gate": self.gate["manifest"],
                "url": self.link_url,
            }
        }
