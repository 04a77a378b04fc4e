"""Kinds of objects that others bring to a cluster: Seldon's and Kueue's. That they are served, anybody may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from tradewind.cli.doctor.result import Result, failed, passed, skipped
from tradewind.cli.kube import Forbidden, Kube
from tradewind.settings import SECTION, Settings

SELDON, SELDON_2, KUEUE = "machinelearning.seldon.io", "mlops.seldon.io", "kueue.x-k8s.io"
LICENCE = (
    "Seldon Core v1 up to 1.17.1 and v2 up to 2.6 are under Apache-2.0, later ones under BSL 1.1 (no production use without a "
    "subscription)"
)
_LAST_FREE = (1, 17, 1)


def seldon(kube: Kube, settings: Settings) -> Iterator[Result]:
    """SeldonDeployment v1: needed where models serve by it. What its controller's image is called tells the licence."""
    used = settings.serving == "seldon"
    versions = served(kube, SELDON)
    if "v1" not in versions:
        there = f"only {', '.join(versions)}" if versions else "none"
        other = ", though there is Core v2's" if served(kube, SELDON_2) else ""
        detail = f"of SeldonDeployment v1 there is {there} here{other}. {LICENCE}"
        if used:
            yield failed("Seldon", detail, f"Install Seldon Core 1.17.1, or set [{SECTION}] serving to another")
        else:
            yield skipped("Seldon", f"{detail}. Not used: serving is {settings.serving!r}")
        return
    running = _controller(kube)
    if running and running > _LAST_FREE:
        text = ".".join(map(str, running))
        fix = f"{LICENCE}. Without one, install 1.17.1"
        yield (failed if used else skipped)("Seldon", f"SeldonDeployment v1, controller {text}: it wants a subscription", fix)
    else:
        text = f", controller {'.'.join(map(str, running))}" if running else ""
        yield passed("Seldon", f"SeldonDeployment v1 is served{text}. {LICENCE}")


def queues(kube: Kube, settings: Settings) -> Iterator[Result]:
    """Kueue's local queues that profiles name."""
    named = {profile.queue: name for name, profile in settings.profiles.items() if profile.queue}
    if not named:
        return
    versions = served(kube, KUEUE)
    if not versions:
        fix = f"Install Kueue, or take `queue` out of [{SECTION}] profiles"
        yield failed("Kueue", f"profile {next(iter(named.values()))} names a queue, and Kueue is not here", fix)
        return
    for queue, profile in sorted(named.items()):
        path = f"/apis/{KUEUE}/{versions[0]}/namespaces/{quote(settings.namespace, safe='')}/localqueues/{quote(queue, safe='')}"
        try:
            there = bool(kube.ask("GET", path, missing=True))
        except Forbidden:
            look = f"kubectl -n {settings.namespace} get localqueue {queue}"
            yield skipped(f"queue {queue}", "this account may not look, and need not", f"Look with: {look}")
            continue
        if there:
            yield passed(f"queue {queue}", f"a LocalQueue in {settings.namespace} ({versions[0]})")
        else:
            fix = f"Make it: pods of profile {profile} would wait for ever"
            yield failed(f"queue {queue}", f"there is no LocalQueue of that name in {settings.namespace}", fix)


def served(kube: Kube, group: str) -> list[str]:
    """The versions of an API group, the preferred one first; none where the cluster does not know it."""
    found = kube.ask("GET", f"/apis/{group}", missing=True)
    if not found:
        return []
    first = found["preferredVersion"]["version"]
    return [first, *(v["version"] for v in found["versions"] if v["version"] != first)]


def _controller(kube: Kube) -> tuple[int, ...]:
    """The version in the name of Seldon's controller's image; empty where it cannot be seen."""
    try:
        for deployment in kube.items("/apis/apps/v1/deployments", labelSelector="control-plane=seldon-controller-manager"):
            for container in deployment["spec"]["template"]["spec"]["containers"]:
                if found := re.search(r":v?(\d+)\.(\d+)\.(\d+)", container["image"]):
                    return tuple(map(int, found.groups()))
    except Forbidden:
        pass
    return ()
