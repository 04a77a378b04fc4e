"""The loop: look at everything in the namespace several times a second, make what is missing."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config

from tradewind.errors import TradewindError
from tradewind.kube import Conflict, Kube

from . import made

LOOK_S = 0.15
_APPLIED = "seldon.io/last-applied"

Object = dict[str, Any]


class Operator:
    """One namespace's."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        at = f"namespaces/{namespace}"
        self._paths = {
            "sdep": f"/apis/machinelearning.seldon.io/v1/{at}/seldondeployments",
            "Deployment": f"/apis/apps/v1/{at}/deployments",
            "Service": f"/api/v1/{at}/services",
            "VirtualService": f"/apis/networking.istio.io/v1/{at}/virtualservices",
            "DestinationRule": f"/apis/networking.istio.io/v1/{at}/destinationrules",
        }

    def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.look()
            except Conflict:
                pass  # at the next look
            except TradewindError as error:
                sys.stderr.write(f"{error}\n")
            time.sleep(max(0.0, LOOK_S - (time.monotonic() - began)))

    def look(self) -> None:
        for sdep in self._all("sdep").values():
            if not sdep["metadata"].get("deletionTimestamp"):
                self.reconcile(sdep)

    def reconcile(self, sdep: Object) -> None:
        status: Object = json.loads(json.dumps(sdep.get("status") or {}))
        services = {s["metadata"]["name"]: s for s in made.services(sdep)}
        there = self._all("Service")
        missing = [name for name in services if name not in there]
        for name in missing:
            self._create(services[name])
        known = status.setdefault("serviceStatus", {})
        known.update({name: {"svcName": name} for name in services})
        ready = self._deployments(sdep, status)
        if ready:
            self._complete(sdep, status, services)
        ready = ready and not status.pop("stale", False)
        status["conditions"] = _conditions(status, ready)
        first = made.key(sdep, sdep["spec"]["predictors"][0])
        path = f"/v2/models/{sdep['spec']['predictors'][0]['graph']['name']}/infer"
        status["address"] = {"url": f"http://{first}.{sdep['metadata']['namespace']}.svc.cluster.local:9000{path}"}
        status.pop("stale", None)
        status["state"] = "Available" if ready and not missing else ("Failed" if status.pop("stuck", False) else "Creating")
        status.pop("stuck", None)
        status["description"] = ""
        if status != (sdep.get("status") or {}):
            name = sdep["metadata"]["name"]
            now = self._kube.ask("GET", f"{self._paths['sdep']}/{name}", missing=True)
            if now:  # whichever generation that is: it does not say
                self._kube.ask("PUT", f"{self._paths['sdep']}/{name}/status", {**now, "status": status})

    def _deployments(self, sdep: Object, status: Object) -> bool:
        """Make or change them; whether all that are wanted are ready, as far as their status says."""
        there, ready = self._all("Deployment"), True
        for wanted in made.deployments(sdep):
            name, mark = wanted["metadata"]["name"], hashlib.sha256(json.dumps(wanted["spec"]).encode()).hexdigest()
            wanted["metadata"]["annotations"][_APPLIED] = mark
            found = there.get(name)
            if found is None:
                self._create(wanted)
                ready = False
                continue
            # One that is on its way out is written like any other; whether it is ready its status says.
            if found["metadata"].get("annotations", {}).get(_APPLIED) != mark:
                names = ("labels", "annotations")
                metadata = {**found["metadata"], **{name: wanted["metadata"][name] for name in names}}
                body = {**found, "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": wanted["spec"]}
                self._kube.ask("PUT", f"{self._paths['Deployment']}/{name}", body)
                status["stale"] = True  # what follows is made of the status of before the change, as the operator does
            counts = found.get("status", {})
            now = {k: counts[k] for k in ("replicas", "availableReplicas") if counts.get(k)}
            if now or name in status.get("deploymentStatus", {}):
                status.setdefault("deploymentStatus", {})[name] = now
            if not counts.get("readyReplicas") or counts.get("unavailableReplicas"):
                ready = False
                progressing = {c["type"]: c["status"] for c in counts.get("conditions", [])}
                status["stuck"] = progressing.get("Progressing") == progressing.get("Available") == "False"
        return ready

    def _complete(self, sdep: Object, status: Object, services: Object) -> None:
        """What the operator does while all predictors are ready, and at no other time."""
        self._routes(sdep)
        wanted = {d["metadata"]["name"] for d in made.deployments(sdep)}
        there, old = self._all("Deployment"), set(status.get("deploymentStatus", {})) - wanted
        for name in old:
            if name not in there:
                del status["deploymentStatus"][name]
            elif not there[name]["metadata"].get("deletionTimestamp"):
                self._kube.ask("DELETE", f"{self._paths['Deployment']}/{name}", {"propagationPolicy": "Foreground"}, missing=True)
        if not old:
            ours = [s for s in self._all("Service").values() if _of(s, sdep)]
            for service in ours:
                if service["metadata"]["name"] not in services:
                    self._kube.ask("DELETE", f"{self._paths['Service']}/{service['metadata']['name']}", missing=True)
            status["serviceStatus"] = {name: known for name, known in status["serviceStatus"].items() if name in services}

    def _routes(self, sdep: Object) -> None:
        for wanted in [made.virtual_service(sdep), *made.destination_rules(sdep)]:
            path = f"{self._paths[wanted['kind']]}/{wanted['metadata']['name']}"
            found = self._kube.ask("GET", path, missing=True)
            if not found:
                self._create(wanted)
            elif found["spec"] != wanted["spec"]:
                wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
                self._kube.ask("PUT", path, wanted)

    def _create(self, wanted: Object) -> None:
        self._kube.ask("POST", self._paths[wanted["kind"]], wanted)

    def _all(self, kind: str) -> dict[str, Object]:
        return {found["metadata"]["name"]: found for found in self._kube.items(self._paths[kind])}


def _of(thing: Object, sdep: Object) -> bool:
    return any(o["uid"] == sdep["metadata"]["uid"] for o in thing["metadata"].get("ownerReferences", []))


def _conditions(status: Object, ready: bool) -> list[Object]:
    before = {c["type"]: c for c in status.get("conditions", [])}
    word = "True" if ready else "False"
    names = {"HpasReady": "True", "KedaReady": "True", "PdbsReady": "True", "DeploymentsReady": word, "ServicesReady": word,
             "Ready": word}  # fmt: skip
    if ready or "istioVirtualServicesReady" in before:
        names |= {"AmbassadorMappingsReady": "True", "istioVirtualServicesReady": "True"}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        before[name] if name in before and before[name]["status"] == value
        else {"type": name, "status": value, "lastTransitionTime": now}
        for name, value in sorted(names.items())
    ]  # fmt: skip


def main() -> None:
    config.load_kube_config()
    Operator(Kube.of(client.Configuration.get_default_copy()), sys.argv[1]).run()
