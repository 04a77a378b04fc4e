"""The rollout: make a registered version the one that serves, and the champion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tradewind.errors import RolloutAborted, SpecError
from tradewind.operators.base import Input, TradewindOperator, number
from tradewind.operators.links import VersionLink, version_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.registry import ModelVersion, Registry
    from tradewind.store import Store


class SeldonRolloutOperator(TradewindOperator):
    """Load a version where it will serve, compare its answers with the trained model's own, switch, give it the alias.

    Looks at what is and does what is missing, which is nothing the second time. On any failure the old version serves on
    and keeps the alias.

    Skipped where the champion was trained on newer data. Fails without retry where the champion is not the one that the
    gate compared with: that comparison says nothing about today's.

    Returns ``{"metrics": {"name", "version", "changed", "replaced", "endpoint_url", "smoke_difference", "seconds",
    "example"}}``; ``example`` is a request of one row by the Open Inference Protocol.

    Args:
        version: the register task's output.
        smoke_tolerance: the largest relative difference of a served from a trained prediction.
    """

    template_fields: Sequence[str] = ("version", "smoke_tolerance")
    operator_extra_links = (VersionLink(),)

    def __init__(self, *, version: Input, smoke_tolerance: float | str = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.smoke_tolerance = smoke_tolerance

    def work(self, context: Context) -> dict[str, Any]:
        from tradewind.registry import Registry, model_of
        from tradewind.rollout.release import release
        from tradewind.serving import serving_for
        from tradewind.settings import Settings
        from tradewind.store import Store

        asked = _asked(self.version)
        settings = Settings.load()
        store, ti = Store(settings.store_uri), context["ti"]
        with Registry.of(settings) as registry:
            name, number_ = str(asked["name"]), str(asked["version"])
            model = model_of(registry.version(name, number_))
            self.link_url = version_url(settings.tracking_uri, name, number_)
            released = release(
                serving=serving_for(settings),
                store=store,
                target=name,
                version=number_,
                model=model,
                champion=lambda: self._replaceable(registry, asked),
                set_champion=lambda version: registry.promote(name, version),
                holder=f"{ti.dag_id} / {ti.run_id} / {ti.task_id}",
                smoke_tolerance=number("smoke_tolerance", self.smoke_tolerance, 0, 1),
                say=lambda line: self.log.info("%s", line),
            )
        metrics = {
            "name": name,
            "version": number_,
            "changed": released.changed,
            "replaced": released.replaced,
            "endpoint_url": released.endpoint_url,
            "smoke_difference": released.smoke_difference,
            "seconds": released.seconds,
            "example": example(store, model.uri),
        }
        return {"metrics": metrics}

    def _replaceable(self, registry: Registry, asked: dict[str, Any]) -> str | None:
        """The champion's version, if the asked version may take its place. Called under the target's lock."""
        from tradewind.registry import CHAMPION, DATA_END_TAG

        champion: ModelVersion | None = registry.by_alias(str(asked["name"]), CHAMPION)
        if champion is None or champion.version == asked["version"]:
            return champion.version if champion else None
        ours, theirs = asked.get("data_end"), champion.tags.get(DATA_END_TAG)
        if ours and theirs and _instant(str(ours)) < _instant(theirs):
            self.skip(
                f"Version {champion.version} serves and was trained on data until {theirs}, version {asked['version']} on data "
                f"until {ours}: older data never replaces newer"
            )
        if champion.version != asked.get("champion"):
            raise RolloutAborted(
                f"The champion is version {champion.version}, but the gate compared with {asked.get('champion') or 'none'}: "
                f"it changed meanwhile (clear the evaluate task to compare again), or its model_name is not {asked['name']!r}"
            )
        return champion.version


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _asked(value: Any) -> dict[str, Any]:
    metrics = value.get("metrics") if isinstance(value, dict) else None
    if not isinstance(metrics, dict) or not {"name", "version"} <= metrics.keys():
        raise SpecError(f"version: expected a register task's output, got {value!r}")
    return metrics


def example(store: Store, model_uri: str) -> dict[str, Any] | None:
    """The first row of the model's smoke request as a request of its own; None where the model has none."""
    from tradewind.rollout.release import SMOKE

    try:
        request = json.loads(store.read(f"{model_uri}/{SMOKE}"))["request"]
    except FileNotFoundError:
        return None
    inputs = [{**tensor, "shape": [1, *tensor["shape"][1:]], "data": tensor["data"][:1]} for tensor in request["inputs"]]
    return {**request, "inputs": inputs}
