"""What is there behind a target, as the API server tells it, and what that means: pure functions of plain objects.

The SeldonDeployment's status is not asked. It never says of which generation it speaks, so ``Available`` after a change may
be of before it, and ``Failed`` may pass. What counts is what it is made from: each predictor's Deployment, its pods, and the
VirtualService, which alone splits requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tradewind.serving.base import ServedVersion
from tradewind.serving.seldon.desired import DARK, GRAPH, HTTP, VERSION, digest_of

Object = Mapping[str, Any]
_ROUTINE = ("INFO", "DEBUG", "WARNING:")  # of a server that starts: why it ended is elsewhere
_BAD_WAITING = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull")


@dataclass(frozen=True, kw_only=True)
class View:
    """The objects of one target.

    Attributes:
        sdep: the SeldonDeployment; empty where there is none.
        route: the VirtualService; empty likewise.
    """

    sdep: Object = field(default_factory=dict)
    deployments: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    route: Object = field(default_factory=dict)

    @property
    def predictors(self) -> dict[str, Object]:
        """The predictors of the spec by the version that each serves."""
        return {version_of(predictor): predictor for predictor in self.sdep.get("spec", {}).get("predictors", [])}

    def deployment(self, predictor: str) -> Object | None:
        """A predictor's Deployment. By label: a name that is too long is a hash."""
        return next((d for d in self.deployments if label(d, "version") == predictor), None)

    def pods_of(self, predictor: str) -> list[Object]:
        """Those that serve or will: how one ends that is taken away, or was by its node, evicted, say, tells nothing of the
        version."""
        mine = [pod for pod in self.pods if label(pod, "version") == predictor]
        there = [pod for pod in mine if not pod["metadata"].get("deletionTimestamp")]
        return [pod for pod in there if pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")]

    def address(self, predictor: str) -> str:
        """Where a predictor answers, past the split; empty before its Service is there."""
        name = f"{self.sdep.get('metadata', {}).get('name')}-{predictor}"
        service = next((s for s in self.services if s["metadata"]["name"] == name), None)
        ip = str(service["spec"].get("clusterIP") or "") if service else ""
        return f"http://{f'[{ip}]' if ':' in ip else ip}:{HTTP}" if ip and ip != "None" else ""

    @property
    def shares(self) -> dict[str, int]:
        """The predictors that requests go to, in percent; by the VirtualService, whatever the spec says."""
        spec = self.route.get("spec", {})
        if not spec or spec.get("hosts") == [DARK]:
            return {}
        found = {r["destination"].get("subset", ""): int(r.get("weight") or 0) for r in _http(spec).get("route", [])}
        if len(found) == 1:  # a single destination gets all, whatever its weight says
            return dict.fromkeys(found, 100)
        return {name: weight for name, weight in found.items() if weight}

    @property
    def copies(self) -> dict[str, int]:
        """The predictor that gets copies of requests, in percent."""
        route = _http(self.route.get("spec", {}))
        if not route.get("mirror"):
            return {}
        return {route["mirror"].get("subset", ""): int((route.get("mirrorPercentage") or {}).get("value", 100))}


def served(view: View, target: str) -> dict[str, ServedVersion]:
    """The versions as `Serving.observe` has them: those of the spec, and what is left of others."""
    names = {predictor["name"]: version for version, predictor in view.predictors.items()}
    for deployment in leftovers(view):
        names.setdefault(str(label(deployment, "version")), _version_in(deployment))
    return {version: _one(view, target, name) for name, version in names.items()}


def _one(view: View, target: str, name: str) -> ServedVersion:
    predictor = next((p for p in view.predictors.values() if p["name"] == name), None)
    deployment = view.deployment(name)
    digest = digest_of(predictor["graph"].get("modelUri", "")) if predictor else _digest_in(deployment)
    address = view.address(name)
    return ServedVersion(
        ready=bool(predictor and deployment and available(deployment) and _digest_in(deployment) == digest and address),
        digest=digest,
        weight=view.shares.get(name, 0),
        mirror=view.copies.get(name, 0),
        url=f"{address}/v2/models/{target}",
        restarts=restarts(view, name),
        error=trouble(view, name),
    )


def leftovers(view: View) -> list[Object]:
    """Deployments that no predictor stands for and that nobody is taking away: the operator only cleans up what its status
    knows, and that is what once had a pod."""
    wanted = {predictor["name"] for predictor in view.predictors.values()}
    return [d for d in view.deployments if label(d, "version") not in wanted and not d["metadata"].get("deletionTimestamp")]


def available(deployment: Object) -> bool:
    """Whether a pod of it answers, of whichever revision."""
    return not deployment["metadata"].get("deletionTimestamp") and deployment.get("status", {}).get("availableReplicas", 0) >= 1


def settled(view: View, predictor: Object) -> bool:
    """Whether a predictor's Deployment is what the spec says, all of it, and all of its pods answer."""
    deployment = view.deployment(predictor["name"])
    if deployment is None or deployment["metadata"].get("deletionTimestamp"):
        return False
    status, replicas = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return (
        status.get("observedGeneration") == deployment["metadata"].get("generation")
        and counts == [replicas] * 3
        and _digest_in(deployment) == digest_of(predictor["graph"].get("modelUri", ""))
        and _shadow(deployment) == bool(predictor.get("shadow"))
    )


def converged(view: View) -> bool:
    """Whether the cluster is what the spec says: every predictor settled, the split and the copies as they should be, nothing
    left over."""
    predictors = list(view.predictors.values())
    plain = [p for p in predictors if not p.get("shadow")]
    wanted = {p["name"]: int(p.get("traffic") or 0) for p in plain}
    # The operator gives a shadow without a number all copies.
    copies = {p["name"]: int(p.get("traffic") or 100) for p in predictors if p.get("shadow")}
    shares = dict.fromkeys(wanted, 100) if len(wanted) == 1 else {name: weight for name, weight in wanted.items() if weight}
    routed = {r["destination"].get("subset") for r in _http(view.route.get("spec", {})).get("route", [])}
    dark = view.route.get("spec", {}).get("hosts") == [DARK]
    return (
        bool(predictors)
        and all(settled(view, predictor) for predictor in predictors)
        and routed == set(wanted)
        and (dark or view.shares == shares)
        and view.copies == copies
        and not leftovers(view)
    )


def restarts(view: View, predictor: str) -> int:
    """How often the servers of the pods that are there ended by themselves."""
    statuses = [s for pod in view.pods_of(predictor) for s in pod.get("status", {}).get("containerStatuses", [])]
    return sum(int(s.get("restartCount", 0)) for s in statuses)


def trouble(view: View, predictor: str) -> str | None:
    """Why a version does not answer, in the words of its pods or of the API server; None where nothing is known."""
    deployment = view.deployment(predictor)
    conditions = deployment.get("status", {}).get("conditions", []) if deployment else []
    for condition in conditions:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message", "its pods cannot be made"))
    found = None
    for pod in view.pods_of(predictor):
        for condition in pod.get("status", {}).get("conditions", []):
            if condition.get("reason") == "Unschedulable":
                found = f"no node takes it: {condition.get('message')}"
        for status in _containers(pod):
            if words := _ended(status):
                return words
            waiting = status.get("state", {}).get("waiting") or {}
            if waiting.get("reason") in _BAD_WAITING:
                return f"{waiting['reason']}: {waiting.get('message', '')}"
    return found or _refused(view, predictor)


def _refused(view: View, predictor: str) -> str | None:
    """Why a node did not keep the last of a version's pods that none kept."""
    failed = [p for p in view.pods if label(p, "version") == predictor and p.get("status", {}).get("phase") == "Failed"]
    if not failed:
        return None
    status = max(failed, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))["status"]
    return f"{status['reason']}: {status.get('message', '')}" if status.get("reason") else None


def hopeless(view: View, predictor: str) -> str | None:
    """Why a version that is being started will not come: its model's loader or its server ended; None while it still may."""
    for pod in view.pods_of(predictor):
        for status in _containers(pod):
            ended = _terminated(status)
            if ended is None:
                continue
            # What may pass next time says so by its exit code (EX_TEMPFAIL), and is tried again by the kubelet.
            if ended.get("exitCode") != 75 or int(status.get("restartCount", 0)) >= 5:
                return _ended(status)
    return None


def _containers(pod: Object) -> Iterator[Object]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _terminated(status: Object) -> Object | None:
    """How a container ended; None where it has not, or was to: a loader that is done."""
    found: Object | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    return found if found and (found.get("exitCode") != 0 or status["name"] == GRAPH) else None


def _ended(status: Object) -> str | None:
    """An ended container's last words: the last line that is no routine first, which is an exception's message."""
    ended = _terminated(status)
    if ended is None:
        return None
    lines = [line.rstrip() for line in str(ended.get("message") or "").splitlines()]
    telling = [line for line in lines if line and not any(word in line[:60] for word in _ROUTINE)]
    how = f"its container {status['name']} ended with exit code {ended.get('exitCode')} ({ended.get('reason', 'Error')})"
    return "\n".join([telling[-1], f"{how}, and said:", *telling]) if telling else how


def version_of(predictor: Object) -> str:
    """The version that a predictor serves; somebody else's goes by its name."""
    for component in predictor.get("componentSpecs") or []:
        for container in component.get("spec", {}).get("containers", []):
            if found := _variable(container, VERSION):
                return found
    return str(predictor["name"])


def label(thing: Object, name: str) -> str | None:
    found: str | None = (thing["metadata"].get("labels") or {}).get(name)
    return found


def _http(spec: Object) -> Object:
    """The route of REST requests; the second one is gRPC's, with the same weights."""
    routes = spec.get("http") or [{}]
    found: Object = routes[0]
    return found


def _pod_spec(deployment: Object | None) -> Object:
    return deployment["spec"]["template"]["spec"] if deployment else {}


def _digest_in(deployment: Object | None) -> str:
    for container in _pod_spec(deployment).get("initContainers", []):
        if arguments := container.get("args"):
            return digest_of(str(arguments[0]))
    return ""


def _version_in(deployment: Object) -> str:
    containers = [c for c in _pod_spec(deployment).get("containers", []) if c["name"] == GRAPH]
    found = _variable(containers[0], VERSION) if containers else None
    return found or str(label(deployment, "version"))


def _shadow(deployment: Object) -> bool:
    return bool((deployment["spec"]["template"]["metadata"].get("labels") or {}).get("seldon.io/shadow"))


def _variable(container: Object, name: str) -> str | None:
    return next((str(v.get("value", "")) for v in container.get("env", []) if v["name"] == name), None)
