"""What the runtime ``kubernetes`` needs of its cluster, and whether it is there."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from urllib.parse import quote

import tradewind
from tradewind.cli.doctor import crds, nodes, pods
from tradewind.cli.doctor.result import Check, Result, failed, passed, skipped
from tradewind.cli.itself import command
from tradewind.cli.kube import Forbidden, Kube
from tradewind.profiles import PROFILES
from tradewind.settings import SECTION, Settings

STEP_IMAGES = ("data", "train")  # every pipeline's
OPTIONAL = {
    "torch": 'only a task with image="torch" needs it',
    "predictor": "only a model that answers through a predictor of its author's needs it",
}
# What Airflow's operator and trigger ask of the API, and what finds a pod again.
RIGHTS = (
    ("pods", ("create", "get", "list", "watch", "delete", "patch")),
    ("pods/log", ("get",)),
    ("events", ("list",)),
)
# What Spark's driver does about its executors.
SPARK_RIGHTS = (
    ("pods", ("create", "get", "list", "watch", "patch", "delete", "deletecollection")),
    ("pods/log", ("get",)),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Cluster:
    """The checks; they share one connection, made by the first that needs it.

    Args:
        with_pods: pods of the steps' images are started, too.
    """

    def __init__(self, settings: Settings, conn_id: str, *, with_pods: bool) -> None:
        self.settings = settings
        self.namespace = quote(settings.namespace, safe="")
        self._conn_id = conn_id
        self._with_pods = with_pods

    @cached_property
    def kube(self) -> Kube:
        return Kube(self._conn_id)

    def connection(self) -> Iterator[Result]:
        version = self.kube.ask("GET", "/version")["gitVersion"]
        yield passed("Kubernetes", f"{self.kube.host} answers, version {version}, {self.kube.how}")

    def rights(self) -> Iterator[Result]:
        missing = 0
        for resource, verbs in RIGHTS:
            if refused := [verb for verb in verbs if not self.kube.allowed(self.namespace, verb, resource)]:
                missing += 1
                where = self.settings.namespace
                fix = f"Give Airflow's service account a Role in {where} with these verbs on {resource}"
                yield failed(f"right: {resource}", f"Airflow may not {', '.join(refused)} in {where}", fix)
        if not missing:
            listed = "; ".join(f"{resource} {', '.join(verbs)}" for resource, verbs in RIGHTS)
            yield passed("rights", f"in {self.settings.namespace}: {listed}")

    def place(self) -> Iterator[Result]:
        """The namespace, and how strict it is."""
        name = self.settings.namespace
        found = self.kube.ask("GET", f"/api/v1/namespaces/{self.namespace}", missing=True)
        if not found:
            yield failed("namespace", f"there is no namespace {name!r}", f"kubectl create namespace {name}")
            return
        level = found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
        said = f"Pod Security {level}" if level else "no Pod Security level: steps comply with `restricted`, others need not"
        yield passed("namespace", f"{name}: {said}")

    def account(self) -> Iterator[Result]:
        """The steps' service account, and whether Spark's driver may start executors as it."""
        account, namespace = self.settings.service_account, self.settings.namespace
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{quote(account, safe='')}"
        try:
            if not self.kube.ask("GET", path, missing=True):
                fix = f"kubectl -n {namespace} create serviceaccount {account}"
                yield failed("service account", f"there is no service account {account!r} in {namespace}", fix)
                return
            yield passed("service account", f"{account} is in {namespace}")
        except Forbidden:
            look = f"kubectl -n {namespace} get serviceaccount {account}"
            yield skipped("service account", "this account may not look, and need not", f"Look with: {look}")
        named = [name for name, profile in self.settings.profiles.items() if profile.executors]
        if not named:
            return
        refused: list[str] = []
        try:
            for resource, verbs in SPARK_RIGHTS:
                may_not = [verb for verb in verbs if not self.kube.allowed_to(account, self.namespace, verb, resource)]
                refused += [f"{verb} {resource}" for verb in may_not]
        except Forbidden:
            ask = f"kubectl -n {namespace} auth can-i create pods --as=system:serviceaccount:{namespace}:{account}"
            yield skipped("Spark executors", "this account may not ask what another may, and need not", f"Ask with: {ask}")
            return
        asking = f"profiles {', '.join(named)}"
        if not refused:
            yield passed("Spark executors", f"{account} may start them ({asking})")
        elif all(self.settings.profiles[name] == PROFILES.get(name) for name in named):
            yield skipped("Spark executors", f"{account} may not {', '.join(refused)}; only built-in {asking} ask for executors")
        else:
            fix = f"Give {account} a Role in {namespace} with these verbs"
            yield failed("Spark executors", f"{account} may not {', '.join(refused)} ({asking})", fix)

    def secret(self) -> Iterator[Result]:
        """The names of its keys against what the store and MLflow need. Its values are never shown."""
        name, namespace = self.settings.step_secret, self.settings.namespace
        needed = self._needed()
        if not name:
            if needed:
                fix = f"Set [{SECTION}] step_secret, unless the service account has a role of its own in the cloud"
                yield skipped("step secret", f"none is named; steps are given no {', '.join(sorted(needed))}", fix)
            return
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{quote(name, safe='')}"
        found = self.kube.ask("GET", path, missing=True)
        if not found:
            given = " ".join(f"--from-literal={key}=..." for key in sorted(needed))
            fix = f"kubectl -n {namespace} create secret generic {name} {given}".strip()
            yield failed("step secret", f"there is no Secret {name!r} in {namespace}: no step can start", fix)
            return
        keys = sorted(found.get("data") or {})
        if lacking := sorted(needed - set(keys)):
            fix = "Add them, unless steps get them otherwise (a role of the service account, `pod`)"
            yield failed("step secret", f"{name} has {', '.join(keys) or 'no keys'}; lacks {', '.join(lacking)}", fix)
        elif useless := [key for key in keys if not _VARIABLE.fullmatch(key)]:
            fix = "Name them as environment variables are named"
            yield failed("step secret", f"{name}: {', '.join(useless)} can be no environment variable: no step sees it", fix)
        else:
            yield passed("step secret", f"{name} has {', '.join(keys) or 'no keys'}")

    def _needed(self) -> set[str]:
        needed = (
            {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} if self.settings.store_uri.startswith(("s3://", "s3a://")) else set()
        )
        return needed | ({"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"} if self.settings.tracking_username else set())

    def kinds(self) -> Iterator[Result]:
        yield from crds.seldon(self.kube, self.settings)
        yield from crds.queues(self.kube, self.settings)

    def capacity(self) -> Iterator[Result]:
        """Every profile against the nodes, which only a right on the whole cluster shows."""
        listed = list(self.kube.items("/api/v1/nodes"))
        running = "status.phase!=Succeeded,status.phase!=Failed"
        try:
            there = list(self.kube.items("/api/v1/pods", fieldSelector=running))
        except Forbidden:
            there = []
            yield skipped("capacity in use", "this account may not list all pods: every node is taken to be empty")
        able = nodes.nodes_of(listed, there)
        for name, profile in self.settings.profiles.items():
            yield nodes.verdict(name, profile, able)

    def priorities(self) -> Iterator[Result]:
        named = sorted({profile.priority_class for profile in self.settings.profiles.values()} - {""})
        for name in named:
            if self.kube.ask("GET", f"/apis/scheduling.k8s.io/v1/priorityclasses/{quote(name, safe='')}", missing=True):
                yield passed(f"priority class {name}", "is there")
            else:
                fix = f"Make it, or name another in [{SECTION}] profiles: no pod of such a profile can be made"
                yield failed(f"priority class {name}", "there is none of that name", fix)

    def images(self) -> Iterator[Result]:
        """Which nodes list an image; a node tells its largest fifty or so."""
        listed = list(self.kube.items("/api/v1/nodes"))
        serving = ("serve", "predictor") if self.settings.serving == "seldon" else ()
        for image in (*STEP_IMAGES, "torch", *serving):
            reference = reference_of(self.settings, image)
            having = [node["metadata"]["name"] for node in listed if _has(node["status"].get("images", []), reference)]
            if having:
                yield passed(f"image {image}", f"{reference}: on {len(having)} of {len(listed)} nodes")
            else:
                when = OPTIONAL.get(image, "it will be pulled")
                yield skipped(f"image {image}", f"{reference}: not on any node yet; {when}", self._how_to_look(image, reference))

    def _how_to_look(self, image: str, reference: str) -> str:
        if image not in STEP_IMAGES:
            return f"Look whether the registry has it: docker manifest inspect {reference}"
        return "" if self._with_pods else f"Look whether nodes may pull it: {command()} doctor --pods starts a pod of it"


def checks(settings: Settings, conn_id: str, *, with_pods: bool) -> list[Check]:
    """The cluster's, in the order in which one thing needs another."""
    cluster = Cluster(settings, conn_id, with_pods=with_pods)
    connect = (
        f"See Airflow's connection {conn_id!r}, or KUBECONFIG, or the pod's service account; and that the API server answers"
    )

    def check(name: str, look: Callable[[], Iterator[Result]], hint: str = "") -> Check:
        return Check(name=name, look=look, hint=hint)

    cluster_wide = "Only a ClusterRole that may list nodes and pods shows it; the operators need none"
    found = [
        Check(name="Kubernetes", look=cluster.connection, limit_s=60, hint=connect, needed=True),
        check("rights", cluster.rights),
        check("namespace", cluster.place, "Only a ClusterRole shows it; the operators need none"),
        check("service account", cluster.account),
        check(
            "step secret", cluster.secret, f"Look with: kubectl -n {settings.namespace} describe secret {settings.step_secret}"
        ),
        check("kinds", cluster.kinds),
        check("capacity", cluster.capacity, cluster_wide),
        check("priority classes", cluster.priorities, "Only a ClusterRole shows them; the operators need none"),
        check("images", cluster.images, f"{cluster_wide}; {command()} doctor --pods tries the images"),
    ]
    return [*found, *(pod_check(cluster, image) for image in STEP_IMAGES if with_pods)]


def pod_check(cluster: Cluster, image: str) -> Check:
    stop = threading.Event()
    reference = reference_of(cluster.settings, image)
    return Check(
        name=f"pod {image}",
        look=lambda: pods.look(cluster.kube, cluster.settings, image, reference, stop),
        limit_s=pods.PATIENCE_S + 30,
        stop=stop,
    )


def reference_of(settings: Settings, image: str) -> str:
    return settings.image.format(image=image, version=tradewind.__version__)


def _has(images: list[dict[str, list[str]]], reference: str) -> bool:
    wanted = _full(reference)
    return any(_full(name) == wanted for image in images for name in image.get("names") or [])


def _full(reference: str) -> str:
    """A reference with the registry and repository that are left out of it, as a node tells them."""
    first, _, rest = reference.partition("/")
    if not rest:
        return f"docker.io/library/{reference}"
    return reference if "." in first or ":" in first or first == "localhost" else f"docker.io/{reference}"
