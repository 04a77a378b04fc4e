"""What a rollout's task leaves for the tasks after it: where the model serves, an example of a request, what was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradewind.rollout.record import Record
    from tradewind.serving.base import Serving
    from tradewind.settings import Settings
    from tradewind.store import Store


def task_result(
    settings: Settings, asked: dict[str, Any], record: Record | None, *, changed: bool, replaced: str | None
) -> dict[str, Any]:
    """What `SeldonRolloutOperator` returns.

    Args:
        record: of the rollout, ended; None where there was nothing to do, or another's is in its place by now.
        changed: whether a rollout was done.
        replaced: the version that served before, if one did.
    """
    from tradewind.registry import Registry, model_of
    from tradewind.serving import serving_for
    from tradewind.store import Store

    name, version = str(asked["name"]), str(asked["version"])
    with Registry.of(settings) as registry:
        model = model_of(registry.version(name, version))
    metrics = {
        "name": name,
        "version": version,
        "changed": changed,
        "replaced": [replaced] if replaced else [],
        "endpoint_url": serving_for(settings).observe(name).endpoint_url,
        "smoke_difference": record.smoke["difference"] if record and record.smoke else None,
        "seconds": round(record.updated_at - record.started_at, 3) if record else 0.0,
        "example": _example(Store(settings.store_uri), model.uri),
        "replay": _short(record.replay) if record else None,
        "canary": _canary(record) if record else None,
    }
    return {"metrics": metrics}


def last_record(serving: Serving, name: str, version: str) -> Record | None:
    """How the version that serves came there; None where another rollout was later."""
    from tradewind.rollout.record import Record

    found = serving.record(name)
    record = Record.from_dict(found) if found else None
    return record if record and record.version == version and record.ended else None


def _canary(record: Record) -> dict[str, Any] | None:
    """What the versions did with the requests of a canary; None where there was none."""
    if not record.spec.steps or not record.stable:
        return None
    new, old = record.of(record.version), record.of(record.stable)
    return {
        "requests": new.requests,
        "errors": new.errors,
        "champion_requests": old.requests,
        "champion_errors": old.errors,
        "evidence": record.evidence,
        "steps": [step.weight for step in record.spec.steps],
    }


def _short(replay: dict[str, Any] | None) -> dict[str, Any] | None:
    names = ("verdict", "reasons", "rows", "disagreement", "psi", "ks", "errors", "latency_ratio")
    return {name: replay[name] for name in names} if replay else None


def _example(store: Store, model_uri: str) -> dict[str, Any] | None:
    """The first row of the model's smoke request as a request of its own; None where the model has none."""
    from tradewind.rollout.smoke import SMOKE

    try:
        request = json.loads(store.read(f"{model_uri}/{SMOKE}"))["request"]
    except FileNotFoundError:
        return None
    inputs = [{**tensor, "shape": [1, *tensor["shape"][1:]], "data": tensor["data"][:1]} for tensor in request["inputs"]]
    return {**request, "inputs": inputs}
