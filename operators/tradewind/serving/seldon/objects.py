"""The objects of a target in the cluster: read together, written by merge patches that name what they were made from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tradewind.errors import RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.kube import Conflict, Forbidden, Kube
from tradewind.serving.seldon.moves import Write
from tradewind.serving.seldon.view import View, leftovers

_TRIES = 20  # of a write that others are faster than
RECORD = "record.json"
_ORDER = "order."


class Objects:
    """What one namespace serves."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        within = f"namespaces/{quote(namespace, safe='')}"
        self._sdeps = f"/apis/machinelearning.seldon.io/v1/{within}/seldondeployments"
        self._deployments = f"/apis/apps/v1/{within}/deployments"
        self._core = f"/api/v1/{within}"
        self._istio = f"/apis/networking.istio.io/v1/{within}"

    def view(self, name: str) -> View:
        sdep = self.kube.ask("GET", f"{self._sdeps}/{name}", missing=True)
        mine = {"labelSelector": f"seldon-deployment-id={name}"}
        return View(
            sdep=sdep,
            deployments=tuple(self.kube.items(self._deployments, **mine)),
            pods=tuple(self.kube.items(f"{self._core}/pods", **mine)),
            services=tuple(self.kube.items(f"{self._core}/services", **mine)),
            route=self.kube.ask("GET", f"{self._istio}/virtualservices/{name}", missing=True),
        )

    def change(self, name: str, make: Callable[[View], Write | None]) -> View:
        """Write what ``make`` says of what is there; once more where that changed meanwhile. The view that it was made from.

        Raises:
            RolloutAborted: Seldon's webhook will not have it.
            RuntimeUnavailable: others take it away, or are always faster.
        """
        for again in range(_TRIES):
            view = self.view(name)
            write = make(view)
            if write is None:
                return view
            read, path = view.sdep, f"{self._sdeps}/{name}"
            if write.kind == "route":
                read, path = view.route, f"{self._istio}/virtualservices/{name}"
            if not read:
                what = "SeldonDeployment" if write.kind == "spec" else "VirtualService"
                raise RuntimeUnavailable(f"{what} {name} in {self.namespace} is gone: somebody else deletes it")
            metadata = {**write.body.get("metadata", {}), "resourceVersion": read["metadata"]["resourceVersion"]}
            try:
                self.kube.ask("PATCH", path, {**write.body, "metadata": metadata})
                return view
            except Conflict:
                time.sleep(min(0.05 * 2**again, 1.0))
            except SpecError as error:
                raise _refused(error) from error
        raise RuntimeUnavailable(f"SeldonDeployment {name} in {self.namespace} was changed by others {_TRIES} times in a row")

    def create(self, body: dict[str, Any]) -> None:
        """Raises Conflict where it is there already, RolloutAborted where Seldon will not have it."""
        try:
            self.kube.ask("POST", self._sdeps, body)
        except Forbidden:
            raise
        except SpecError as error:
            raise _refused(error) from error

    def delete(self, name: str) -> None:
        """The SeldonDeployment, and with it all that the operator made for it."""
        self.kube.ask("DELETE", f"{self._sdeps}/{name}", missing=True)

    def clean(self, name: str) -> None:
        """Take away what the operator leaves of predictors that are gone from the spec: their DestinationRules, always; their
        Deployments, where these never had a pod."""
        view = self.view(name)
        wanted = {f"{name}-{predictor['name']}" for predictor in view.predictors.values()}
        for rule in self.kube.items(f"{self._istio}/destinationrules"):
            found = rule["metadata"]["name"]
            owners = {owner["name"] for owner in rule["metadata"].get("ownerReferences", [])}
            if name in owners and found not in wanted and found.removeprefix(f"{name}-") not in view.shares:
                self.kube.ask("DELETE", f"{self._istio}/destinationrules/{found}", missing=True)
        for deployment in leftovers(view):
            metadata = deployment["metadata"]
            body = {"preconditions": {"uid": metadata["uid"]}}
            self.kube.ask("DELETE", f"{self._deployments}/{metadata['name']}", body, missing=True)

    # -- the record -----------------------------------------------------------------------------------------------

    def record(self, name: str) -> str | None:
        return self._kept(name).get(RECORD)

    def keep_record(self, name: str, text: str, *, before: str | None) -> None:
        """In place of the one that was read before; orders that come meanwhile are left alone.

        Raises:
            RuntimeUnavailable: another one is there: whoever wrote it has taken the lock over.
        """
        maps, data = f"{self._core}/configmaps", {RECORD: text}
        for _ in range(_TRIES):
            found = self.kube.ask("GET", f"{maps}/{_map(name)}", missing=True)
            there = (found.get("data") or {}).get(RECORD)
            if there not in (before, text):
                raise RuntimeUnavailable(f"Another has carried on the rollout that {_map(name)} in {self.namespace} is about")
            try:
                if found:
                    metadata = {"resourceVersion": found["metadata"]["resourceVersion"]}
                    self.kube.ask("PATCH", f"{maps}/{_map(name)}", {"metadata": metadata, "data": data})
                else:
                    metadata = {"name": _map(name), "labels": {"app.kubernetes.io/managed-by": "tradewind"}}
                    self.kube.ask("POST", maps, {"metadata": metadata, "data": data})
                return
            except Conflict:
                continue
        raise RuntimeUnavailable(f"ConfigMap {_map(name)} in {self.namespace} was changed by others {_TRIES} times in a row")

    def orders(self, name: str) -> dict[str, str]:
        return {key.removeprefix(_ORDER): text for key, text in self._kept(name).items() if key.startswith(_ORDER)}

    def put_order(self, name: str, key: str, order: dict[str, Any] | None) -> None:
        """A merge patch of this one key: whoever keeps the record meanwhile writes another."""
        body = {"data": {f"{_ORDER}{key}": None if order is None else json.dumps(order)}}
        self.kube.ask("PATCH", f"{self._core}/configmaps/{_map(name)}", body, missing=order is None)

    def _kept(self, name: str) -> dict[str, str]:
        found = self.kube.ask("GET", f"{self._core}/configmaps/{_map(name)}", missing=True)
        return (found.get("data") or {}) if found else {}


def _map(name: str) -> str:
    return f"tradewind-rollout-{name}"


def _refused(error: SpecError) -> SpecError | RolloutAborted:
    return error if isinstance(error, Forbidden) else RolloutAborted(f"Seldon refuses it: {error}")
