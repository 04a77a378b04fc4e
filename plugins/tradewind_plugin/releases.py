"""What a Dag's runs made of its models: versions, release records, what serves now, the rollout under way."""

from __future__ import annotations

import re
from typing import Any

from tradewind.errors import SpecError, TradewindError
from tradewind.registry import CHAMPION, DAG_TAG, DATA_END_TAG, GATE_TAG, RUN_TAG, TRAINED_TAG, ModelVersion, Registry
from tradewind.rollout import orders
from tradewind.rollout.analysis import quantile
from tradewind.rollout.driver import RolloutOver
from tradewind.rollout.hands import decide, driver
from tradewind.rollout.record import ORDERS, Record
from tradewind.serving import serving_for
from tradewind.settings import Settings
from tradewind.store import Store
from tradewind_plugin.reports import Unavailable
from tradewind_plugin.results import Results

# A person's browser, and a thread of the API server, do not wait for a replay; but a dead holder's Lease is free after 15 s only.
_BUSY_S = 17.0
_DAG_ID = re.compile(r"[\w.\-]+")  # Airflow's own rule; what else comes is no Dag's


class Releases:
    """Reads the registry and the serving for one Dag.

    Args:
        settings: where they are.
        registry: open for the time of a request.
        dag_id: whose models; the caller has checked that its reader may.
    """

    def __init__(self, settings: Settings, registry: Registry, dag_id: str) -> None:
        if not _DAG_ID.fullmatch(dag_id):
            raise Unavailable(404, "There is no Dag of that name.")
        self._settings = settings
        self._registry = registry
        self._dag_id = dag_id

    def models(self) -> list[str]:
        """The names of the models that its last versions belong to."""
        return self._registry.models_of(self._dag_id)

    def versions(self, *, limit: int, page: str, search: str) -> dict[str, Any]:
        """``{"versions": [...], "next": page}``, each with its aliases and what its training and its gate measured."""
        found, following = self._registry.of_dag(self._dag_id, limit=limit, page=page, search=search)
        aliases = {name: self._registry.aliases(name) for name in {version.name for version in found}}
        results = Results(Store(self._settings.store_uri))
        rows = results.each(lambda version: _version(results, version, aliases[version.name]), found)
        return {"versions": rows, "next": following}

    def history(self, *, limit: int, page: str, search: str) -> dict[str, Any]:
        """``{"releases": [...], "next": page}``: release records of its versions, the latest first."""
        found, following = self._registry.log.page(dag_id=self._dag_id, limit=limit, page=page, search=search)
        return {"releases": found, "next": following}

    def serving(self) -> list[dict[str, Any]]:
        """What serves behind each of its models, and the last rollout. An unreachable serving is said, not raised: the
        page has more to show."""
        return [self._served(name) for name in self.models()]

    def decide(self, model: str, rollout: str, do: str, *, by: str, why: str) -> dict[str, Any]:
        """A person's word on the rollout that they saw; what came of it.

        Raises:
            Unavailable: 404 where the model, or the version that is rolled out, is not this Dag's; 409 where that rollout is
                over, whether or not another has begun.
            SpecError: there is no such order, it is not possible in the rollout's phase, or no reason is given.
        """
        order = next((known for known in ORDERS if known == do), None)
        if order is None:
            raise SpecError(f"do: expected one of {', '.join(ORDERS)}, got {do!r}")
        who = f"{by}, in Airflow's UI"
        with driver(model, settings=self._settings, holder=who, say=lambda _: None, lock_timeout_s=_BUSY_S) as hands:
            record = hands.record() if model in self.models() else None
            if record is None or self._registry.version(model, record.version).tags.get(DAG_TAG) != self._dag_id:
                raise Unavailable(404, f"No rollout of a model {model!r} is this Dag's.")
            try:
                return _rollout(decide(hands, order, by=by, why=why, attempt=rollout))
            except RolloutOver as error:  # what they saw may end while they write
                raise Unavailable(409, f"That rollout is over. {error}") from error

    def _served(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"model": name, "champion": None, "versions": [], "rollout": None, "trouble": None}
        try:
            champion = self._registry.by_alias(name, CHAMPION)
            found["champion"] = champion.version if champion else None
            serving = serving_for(self._settings)
            deployment, statistics = serving.observe(name), serving.statistics(name)
            found["endpoint_url"] = deployment.endpoint_url
            found["versions"] = [
                {
                    "version": version, "ready": served.ready, "weight": served.weight, "mirror": served.mirror,
                    "restarts": served.restarts, "error": served.error,
                    **({"requests": seen.requests, "errors": seen.errors, "latency_ms": seen.latency_ms}
                       if (seen := statistics.get(version)) else {}),
                }
                for version, served in sorted(deployment.versions.items())
            ]  # fmt: skip
            record = orders.read(serving, name)
            found["rollout"] = _rollout(record) if record else None
        except TradewindError as error:
            found["trouble"] = str(error)
        return found


def _version(results: Results, version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    trained, gate = (results.at(version.tags.get(tag, "")) for tag in (TRAINED_TAG, GATE_TAG))
    return {
        "model": version.name,
        "version": version.version,
        "created": version.created,
        "aliases": [alias for alias, has in aliases.items() if has == version.version],
        "run_id": version.tags.get(RUN_TAG),
        "data_end": version.tags.get(DATA_END_TAG),
        "metrics": (gate.metrics.get("challenger") if gate else None) or {},
        "verdict": gate.metrics.get("verdict") if gate else None,
        "seconds": trained.usage.get("seconds") if trained else None,
    }


def _rollout(record: Record) -> dict[str, Any]:
    """A record as the live page draws it: counts, latencies and the evidence, look by look, with its limit."""
    versions = [version for version in (record.version, record.stable) if version]
    return {
        "id": record.id,
        "target": record.target,
        "version": record.version,
        "stable": record.stable,
        "phase": record.phase,
        "ended": record.ended,
        "reason": record.reason,
        "by": record.by,
        "why": record.why,
        "run_id": record.lineage.get("run_id"),
        "started_at": record.started_at,
        "updated_at": record.updated_at,
        "order": record.order,
        "step": record.step,
        "steps": [step.weight for step in record.spec.steps],
        "min_requests": record.spec.min_requests,
        "step_requests": record.of(record.version).requests - record.step_requests,
        "evidence": record.evidence,
        "limit": 1 / record.spec.alpha,
        "traffic": {
            version: {
                "requests": record.of(version).requests,
                "errors": record.of(version).errors,
                **{name: quantile(record.of(version).latency, q) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))},
            }
            for version in versions
        },
        "samples": record.samples,
        "events": record.events,
    }
