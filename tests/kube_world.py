"""A Kubernetes without nodes for what is decided above it: objects with their rules, controllers that take their time.

It knows resource versions, generations, merge patches, status as a subresource, owners and deletion in the foreground. Seldon's
operator in it is the stand-in that runs on a real cluster, too (`cluster.seldon_standin`). A Deployment's pods come and go as
told. What a real API server, Istio and MLServer do is tested by `make test-seldon`.
"""

from __future__ import annotations

import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.seldon_standin.reconciler import Operator

from tradewind.errors import SpecError, TradewindError
from tradewind.kube import Conflict, Kube

NAMESPACE = "models"
START_S, END_S = 0.05, 0.05
Object = dict[str, Any]


class KubeWorld(Kube):
    """``fails`` is told each write of the client, before and after (with a dot) it took effect, by method and kind."""

    def __init__(self) -> None:
        self.host = "world"
        self.how = "in memory"
        self.objects: dict[str, Object] = {}
        self.writes: list[str] = []
        self.fails: Callable[[str], None] = lambda _: None
        self.broken: set[str] = set()  # predictors whose new pods do not come up
        self.operates = True
        self._version = 0
        self._lock = threading.RLock()
        self._client: Any = None
        self._controllers = _Controllers(self)

    # -- the API --------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, query: Any = None, missing: bool = False) -> Object:
        kind = path.rsplit("/", 2)[-2] if method != "POST" else path.rsplit("/", 1)[-1]
        theirs = threading.current_thread() is self._controllers.thread
        if method != "GET" and not theirs and kind != "leases":
            self.writes.append(f"{method} {kind}")
            self.fails(f"{method} {kind}")
        with self._lock:
            found = self._answered(method, path, copy.deepcopy(body), missing)
        if method != "GET" and not theirs and kind != "leases":
            self.fails(f"{method} {kind}.")
        return found

    def items(self, path: str, **query: str) -> Iterator[Object]:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        with self._lock:
            found = [copy.deepcopy(o) for at, o in self.objects.items() if at.startswith(f"{path}/")]
        yield from (o for o in found if wanted.items() <= (o["metadata"].get("labels") or {}).items())

    def _answered(self, method: str, path: str, body: Any, missing: bool) -> Object:
        at, status = (path[: -len("/status")], True) if path.endswith("/status") else (path, False)
        if method == "POST":
            at = f"{path}/{body['metadata']['name']}"
            if at in self.objects:
                raise Conflict(f"{at} is there")
            body["metadata"] |= {"uid": uuid.uuid4().hex, "generation": 1}
            if body.get("kind") == "Service":
                body["spec"]["clusterIP"] = "10.96.0.9"
            return self._put(at, body)
        found = self.objects.get(at)
        if found is None:
            if missing:
                return {}
            raise SpecError(f"404 {at}")
        if method == "GET":
            return copy.deepcopy(found)
        if method == "DELETE":
            return self._deleted(at, found, body or {})
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict(f"{at} changed")
        if status:
            return self._put(at, {**found, "status": body.get("status", {})})
        after = _merged(found, body) if method == "PATCH" else {**body, "status": found.get("status", {})}
        kept = {name: found["metadata"][name] for name in ("uid", "generation", "deletionTimestamp") if name in found["metadata"]}
        after["metadata"] = {**after["metadata"], **kept}
        if after.get("spec") != found.get("spec"):
            after["metadata"]["generation"] += 1
        return self._put(at, after)

    def _put(self, at: str, body: Object) -> Object:
        if _refused(body):
            raise SpecError(f"422 {_refused(body)}")
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.objects[at] = body
        return copy.deepcopy(body)

    def _deleted(self, at: str, found: Object, options: Object) -> Object:
        if options.get("propagationPolicy") == "Foreground":
            found["metadata"].setdefault("deletionTimestamp", "now")
            found["metadata"]["generation"] += 1
            self._version += 1
            found["metadata"]["resourceVersion"] = str(self._version)
            return copy.deepcopy(found)
        self.objects.pop(at, None)
        for other, thing in list(self.objects.items()):
            if any(owner["uid"] == found["metadata"]["uid"] for owner in thing["metadata"].get("ownerReferences", [])):
                self._deleted(other, thing, {})
        return {}

    # -- what tests do --------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """With controllers that run."""
        self._controllers.thread.start()
        try:
            yield
        finally:
            self._controllers.ended.set()
            self._controllers.thread.join()

    def path(self, kind: str, name: str) -> str:
        return next(at for at in self.objects if at.endswith(f"/{kind}/{name}"))

    def names(self, kind: str) -> set[str]:
        with self._lock:
            return {at.rsplit("/", 1)[1] for at in self.objects if f"/{kind}/" in at}

    def pods(self, predictor: str) -> set[str]:
        with self._lock:
            return {
                o["metadata"]["uid"]
                for at, o in self.objects.items()
                if "/pods/" in at and o["metadata"]["labels"]["version"] == predictor
            }

    def edit(self, kind: str, name: str, change: Callable[[Object], Any]) -> None:
        """By somebody else."""
        with self._lock:
            at = self.path(kind, name)
            body = copy.deepcopy(self.objects[at])
            change(body)
            if body.get("spec") != self.objects[at].get("spec"):
                body["metadata"]["generation"] += 1
            self._put(at, body)


class _Controllers:
    """Kubernetes' and Seldon's, in one thread."""

    def __init__(self, world: KubeWorld) -> None:
        self.world = world
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.operator = Operator(world, NAMESPACE)
        self.began: dict[str, float] = {}

    def _run(self) -> None:
        while not self.ended.wait(0.005):
            try:
                with self.world._lock:
                    self._deployments()
                    if self.world.operates:
                        self.operator.look()
            except TradewindError:
                continue

    def _deployments(self) -> None:
        world, now = self.world, time.monotonic()
        for at, found in [(at, o) for at, o in world.objects.items() if "/deployments/" in at]:
            living = {o["metadata"]["uid"] for o in world.objects.values()}
            if not any(owner["uid"] in living for owner in found["metadata"]["ownerReferences"]):
                world.objects.pop(at)
                continue
            template = json.dumps(found["spec"]["template"], sort_keys=True)
            mine = {p: o for p, o in world.objects.items() if "/pods/" in p and o["owner"] == found["metadata"]["uid"]}
            if found["metadata"].get("deletionTimestamp"):
                self._leave(at, found, mine, now)
                continue
            current = [p for p, o in mine.items() if o["template"] == template]
            if not current:
                current = [self._pod(at, found, template)]
                mine[current[0]] = world.objects[current[0]]
            up = {p for p in mine if self._up(p, now)}
            if up & set(current):
                for old in set(mine) - set(current):
                    world.objects.pop(old)
                mine = {p: mine[p] for p in current}
            status = {
                "observedGeneration": found["metadata"]["generation"], "replicas": len(mine), "updatedReplicas": len(current),
                "readyReplicas": len(up & set(mine)), "availableReplicas": len(up & set(mine)),
                "unavailableReplicas": len(mine) - len(up & set(mine)),
            }  # fmt: skip
            status = {name: count for name, count in status.items() if count}
            if status != found.get("status"):
                world._put(at, {**found, "status": status})

    def _pod(self, at: str, deployment: Object, template: str) -> str:
        spec = deployment["spec"]["template"]
        name = f"{deployment['metadata']['name']}-{uuid.uuid4().hex[:5]}"
        path = f"{at.rsplit('/deployments/', 1)[0].replace('/apis/apps/v1', '/api/v1')}/pods/{name}"
        self.world.objects[path] = {
            "metadata": {"name": name, "uid": uuid.uuid4().hex, "labels": spec["metadata"]["labels"], "resourceVersion": "0"},
            "owner": deployment["metadata"]["uid"], "template": template, "status": {},
            "broken": spec["metadata"]["labels"]["version"] in self.world.broken,
        }  # fmt: skip
        self.began[path] = time.monotonic()
        return path

    def _up(self, path: str, now: float) -> bool:
        pod = self.world.objects[path]
        ready = not pod["broken"] and now - self.began[path] > START_S
        if pod["broken"] and now - self.began[path] > START_S:
            ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "it fell over"}}
            restarted = [{"name": "model", "restartCount": 1, "lastState": ended}]
            pod["status"] = {"containerStatuses": restarted}
        return ready

    def _leave(self, at: str, deployment: Object, mine: dict[str, Object], now: float) -> None:
        began = self.began.setdefault(f"end {deployment['metadata']['uid']}", now)
        if now - began > END_S:
            for path in [*mine, at]:
                self.world.objects.pop(path)


def _merged(known: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(known) if isinstance(known, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _refused(body: Object) -> str | None:
    """As Seldon's webhook does."""
    if body.get("kind") != "SeldonDeployment":
        return None
    predictors = body["spec"]["predictors"]
    plain = [p for p in predictors if not p.get("shadow")]
    total = sum(p.get("traffic") or 0 for p in plain)
    if len(plain) > 1 and total != 100:
        return "Traffic must sum to 100 for multiple predictors"
    if len(predictors) == 1 and (predictors[0].get("shadow") or 0 < total < 100):
        return "Traffic must sum be 100 for a single predictor when set"
    if len({p["name"] for p in predictors}) < len(predictors) or len(predictors) - len(plain) > 1:
        return "Duplicate predictor name, or multiple shadows"
    return None
