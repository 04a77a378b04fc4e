"""The serving seam on Seldon: each method looks, writes at most what is missing, and returns when it is so.

Nothing is kept between two calls but the lock: killed anywhere, the next call finds the cluster as it is and goes on.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from tradewind.contract import PREDICTOR, ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable, StoreError, told
from tradewind.kube import Conflict, Kube
from tradewind.serving.base import Deployment, VersionStatistics
from tradewind.serving.seldon import moves
from tradewind.serving.seldon import view as seen
from tradewind.serving.seldon.desired import Options, deployment_name, model_uri, predictor, predictor_name, seldon_deployment
from tradewind.serving.seldon.lease import Hold, held
from tradewind.serving.seldon.metrics import Metrics
from tradewind.serving.seldon.objects import Objects
from tradewind.serving.seldon.statistics import SCRAPE_S
from tradewind.serving.seldon.view import View
from tradewind.store import Store

_LOOK_S = 0.25
_START_S = 600.0  # for a node, an image and a model
_SHIFT_S = 180.0  # a version that got copies is started anew before it gets a share
_MIRROR_S = 300.0  # a version that gets copies, or no more, is started anew: that is Seldon's way
_GONE_S = 3.0  # after which what the operator leaves is taken away here
_PUSH_S = 0.7  # within which Istio has told its gateways what is written
_INFER_S = 60.0
_ROUTED_S = 10.0


class SeldonServing:
    """`Serving` by SeldonDeployments of one namespace.

    Args:
        gateway: the address by which clients reach Istio's gateway: ``http://models.example.org``.
        statistics: who counts the requests of each version.
        options: of the models' pods.
    """

    def __init__(self, *, kube: Kube, namespace: str, gateway: str, statistics: Metrics, options: Options) -> None:
        self._objects = Objects(kube, namespace)
        self._gateway = gateway.rstrip("/")
        self._statistics = statistics
        self._options = options
        # Models' Services and pods, plain HTTP: to read the certificates would take each look at a rollout some 20 ms.
        self._http = httpx.Client(trust_env=False, verify=False)  # noqa: S501
        self._holds: dict[str, Hold] = {}
        self._read: dict[str, str | None] = {}  # records, as they were read or written last

    def observe(self, target: str) -> Deployment:
        name = deployment_name(target)
        url = f"{self._gateway}/seldon/{self._objects.namespace}/{name}/v2/models/{target}"
        return Deployment(target=target, endpoint_url=url, versions=seen.served(self._objects.view(name), target))

    def load(self, target: str, version: str, model: ArtifactRef) -> None:
        self._own(target)
        custom = Store(model.uri).exists(f"{model.uri}/{PREDICTOR}")
        name, wanted = deployment_name(target), predictor(target, version, model, self._options, custom=custom)

        def added(view: View) -> moves.Write | None:
            known = view.predictors.get(version)
            if known and known["graph"].get("modelUri") != model_uri(model):
                digest = seen.served(view, target)[version].digest
                if digest != model.sha256:
                    raise RolloutAborted(
                        f"{target} version {version} is loaded already from another model: expected sha256 {model.sha256}, got "
                        f"{digest}. Register the model as a new version, or unload this one first"
                    )
            return None if known else moves.spec_patch([*view.predictors.values(), wanted])

        before = self._objects.view(name)
        if not before.sdep:
            with suppress(Conflict):
                self._objects.create(seldon_deployment(target, self._objects.namespace, wanted))
        fresh = version not in before.predictors
        self._change(target, added)
        try:
            self._until_loaded(target, version)
        except RolloutAborted:
            # What served before is untouched; a version that was there already is for the planner to take away.
            if fresh or not before.shares.get(predictor_name(version)):
                self._drop(target, version)
            raise

    def infer(self, target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        served = self.observe(target).versions.get(version)
        if not served:
            raise RolloutAborted(f"{target} version {version} is not loaded")
        deadline, first = time.monotonic() + _ROUTED_S, None
        while True:
            try:
                response = self._http.post(f"{served.url}/infer", json=request, timeout=_INFER_S)
                break
            # A Service leads nowhere until every node has heard of its pod, and for a moment still to one that ends.
            except (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
                first = first or error  # what it died of; later nothing listens any more
                if not served.ready or time.monotonic() > deadline:
                    raise RolloutAborted(f"{target} version {version} does not answer: {told(first)}") from error
                time.sleep(_LOOK_S)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise RolloutAborted(f"{target} version {version} does not answer: {told(error)}") from error
        if response.status_code != 200:
            raise RolloutAborted(f"{target} version {version} answered {response.status_code}: {response.text[:2000]}")
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise RolloutAborted(f"{target} version {version} answered no JSON: {response.text[:200]!r}") from error
        return answer

    def mirror(self, target: str, version: str, percent: int) -> None:
        name = deployment_name(target)
        self._own(target)
        view = self._objects.view(name)
        found = seen.served(view, target).get(version)
        if not found and not percent:
            return
        if not found or (percent and not found.ready):
            raise RolloutAborted(f"{target} version {version} cannot get copies of requests: it is not loaded or not ready")
        if percent and found.weight:
            raise RolloutAborted(f"{target} version {version} cannot get copies of requests: it has {found.weight}% of them")
        copies = {predictor_name(version): percent} if percent else {}
        deadline = time.monotonic() + _MIRROR_S
        while view.copies != copies or (percent and not self._well(view, version)) or moves.mirrored(view, version, percent):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"{target} version {version} has no copies of requests yet: {self._why(view)}")
            self._own(target)
            self._change(target, lambda view: moves.mirrored(view, version, percent))
            time.sleep(_LOOK_S)
            view = self._objects.view(name)
        time.sleep(_PUSH_S)

    def shift(self, target: str, weights: dict[str, int], *, even_unready: bool = False) -> None:
        name = deployment_name(target)
        self._own(target)
        view = self._objects.view(name)
        moves.checked_weights(view, target, weights, even_unready=even_unready)
        wanted = {version: weight for version, weight in weights.items() if weight}
        if not wanted and not view.sdep:
            return
        if wanted and moves.in_effect(view, wanted):
            return

        def step(view: View) -> moves.Write | None:
            return moves.towards(view, wanted) if wanted else moves.to_nobody(view)

        def done(view: View) -> bool:
            return moves.in_effect(view, wanted) if wanted else not view.shares

        before, deadline = {p["name"] for p in view.predictors.values()}, time.monotonic() + _SHIFT_S
        while not done(view):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"{self._unmoved(view, target)} after {_SHIFT_S:g} s: {self._why(view)}")
            self._own(target)
            if step(self._change(target, step)) is None:
                time.sleep(_LOOK_S)
            view = self._objects.view(name)
        if gone := before - {p["name"] for p in view.predictors.values()}:
            self._swept(name, gone)
        time.sleep(_PUSH_S)

    def unload(self, target: str, version: str) -> None:
        name = deployment_name(target)
        self._own(target)
        found = seen.served(self._objects.view(name), target).get(version)
        if not found:
            return
        if found.weight or found.mirror:
            gets = f"{found.weight}% of the requests" if found.weight else f"copies of {found.mirror}% of the requests"
            raise RolloutAborted(f"{target} version {version} still gets {gets}: shift them first")
        self._drop(target, version)

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        name = deployment_name(target)
        view = self._objects.view(name)
        if not view.predictors:
            return {}
        predictors = {version: p["name"] for version, p in view.predictors.items()}
        found = self._statistics.read(self._objects.namespace, name, predictors)
        return {version: _with_answers(found[version], self._answers(view, p["name"])) for version, p in view.predictors.items()}

    def record(self, target: str) -> dict[str, Any] | None:
        text = self._read[target] = self._objects.record(deployment_name(target))
        try:
            found: dict[str, Any] | None = json.loads(text) if text else None
        except ValueError as error:
            raise StoreError(f"{self._map(target)} cannot be read ({error}): remove it, then roll out again") from error
        return found

    def keep_record(self, target: str, record: dict[str, Any]) -> None:
        self._own(target)
        if target not in self._read:
            self.record(target)
        text = json.dumps(record)
        self._objects.keep_record(deployment_name(target), text, before=self._read[target])
        self._read[target] = text

    def orders(self, target: str) -> dict[str, dict[str, Any]]:
        try:
            return {key: json.loads(text) for key, text in self._objects.orders(deployment_name(target)).items()}
        except ValueError as error:
            raise StoreError(f"{self._map(target)} has an order that cannot be read ({error}): take it out") from error

    def put_order(self, target: str, key: str, order: dict[str, Any] | None) -> None:
        self._objects.put_order(deployment_name(target), key, order)

    @contextmanager
    def lock(self, target: str, *, holder: str, timeout_s: float) -> Iterator[None]:
        name, what = f"tradewind-rollout-{deployment_name(target)}", f"The rollout of {target}"
        objects = self._objects
        with held(objects.kube, objects.namespace, name, holder=holder, timeout_s=timeout_s, what=what) as hold:
            self._holds[target] = hold
            try:
                yield
            finally:
                self._holds.pop(target, None)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _map(self, target: str) -> str:
        return f"ConfigMap tradewind-rollout-{deployment_name(target)} in {self._objects.namespace}"

    def _own(self, target: str) -> None:
        """Before a write: a lock that could not be renewed may be another's by now."""
        hold = self._holds.get(target)
        if hold and not hold.valid:
            raise RuntimeUnavailable(f"The lock on {target} was lost: Kubernetes did not take its renewal in time")

    def _change(self, target: str, make: Callable[[View], moves.Write | None]) -> View:
        """Where another was faster, what is there now may be the next holder's."""

        def made(view: View) -> moves.Write | None:
            self._own(target)
            return make(view)

        return self._objects.change(deployment_name(target), made)

    def _until_loaded(self, target: str, version: str) -> None:
        name, label = deployment_name(target), predictor_name(version)
        deadline = time.monotonic() + _START_S
        while True:
            view = self._objects.view(name)
            if self._well(view, version) and view.route and _routed(view) >= {p["name"] for p in _plain(view)}:
                return
            reason = seen.hopeless(view, label)
            if not reason and time.monotonic() > deadline:
                reason = f"it is not ready after {_START_S:g} s: {seen.trouble(view, label) or self._why(view)}"
            if reason:
                raise RolloutAborted(f"{target} version {version} cannot be served: {reason}")
            time.sleep(_LOOK_S)

    def _drop(self, target: str, version: str) -> None:
        """Out of the spec, and nothing left of it."""
        name, label = deployment_name(target), predictor_name(version)

        def without(view: View) -> moves.Write | None:
            rest = [p for known, p in view.predictors.items() if known != version]
            if len(rest) == len(view.predictors):
                return None
            if len(plain := [p for p in rest if not p.get("shadow")]) == 1 and int(plain[0].get("traffic") or 0) not in (0, 100):
                rest = [{**p, "traffic": 100} if p is plain[0] else p for p in rest]  # a share of what is routed by hand now
            return moves.spec_patch(rest)

        view = self._objects.view(name)
        if set(view.predictors) <= {version}:
            self._objects.delete(name)
            self._until(name, lambda view: not view.sdep, what=f"{name} is gone", within_s=_SHIFT_S)
            return
        self._change(target, without)
        self._swept(name, {label})

    def _swept(self, name: str, gone: set[str]) -> None:
        """Nothing left of predictors that are out of the spec; their pods end by themselves."""
        with suppress(RuntimeUnavailable):  # where the operator has forgotten them, or waits for others
            what = f"{', '.join(sorted(gone))} leave"
            self._until(name, lambda view: all(_leaving(view, label) for label in gone), what=what, within_s=_GONE_S)
        self._objects.clean(name)

    def _well(self, view: View, version: str) -> bool:
        return version in view.predictors and seen.settled(view, view.predictors[version])

    def _until(self, name: str, done: Callable[[View], bool], *, what: str, within_s: float) -> View:
        deadline = time.monotonic() + within_s
        while not done(view := self._objects.view(name)):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"Waited {within_s:g} s until {what}: {self._why(view)}")
            time.sleep(_LOOK_S)
        return view

    def _why(self, view: View) -> str:
        """What stands in the way, for a message."""
        for version, found in view.predictors.items():
            if not seen.settled(view, found):
                return f"version {version} is not all well: {seen.trouble(view, found['name']) or 'its pods are not ready'}"
        status = view.sdep.get("status", {})
        said = f"{status.get('state', 'nothing')} {status.get('description') or ''}".strip()
        return f"Seldon's operator has not done it; its status says {said}"

    def _unmoved(self, view: View, target: str) -> str:
        return f"The requests to {target} are still shared as {view.shares or 'none'}"

    def _answers(self, view: View, label: str) -> dict[str, int]:
        """What the pods of a version answered with; a pod that does not say is left out."""
        counts: Counter[str] = Counter()
        for pod in view.pods_of(label):
            address = pod.get("status", {}).get("podIP")
            if not address:
                continue
            host = f"[{address}]" if ":" in address else address
            try:
                response = self._http.get(f"http://{host}:9000/tradewind/answers", timeout=SCRAPE_S)
                counts.update(response.json() if response.status_code == 200 else {})
            except (httpx.HTTPError, ValueError):
                continue
        return dict(counts)


def _plain(view: View) -> list[Any]:
    return [p for p in view.predictors.values() if not p.get("shadow")]


def _routed(view: View) -> set[str]:
    routes = view.route.get("spec", {}).get("http") or [{}]
    return {route["destination"].get("subset", "") for route in routes[0].get("route", [])}


def _leaving(view: View, label: str) -> bool:
    deployment = view.deployment(label)
    return label not in view.shares and (deployment is None or bool(deployment["metadata"].get("deletionTimestamp")))


def _with_answers(found: VersionStatistics, answers: dict[str, int]) -> VersionStatistics:
    return dataclasses.replace(found, answers=answers)
