"""Which nodes could run what a profile asks for. Pure: from the API's JSON to a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tradewind.cli.doctor.result import Result, failed, passed, skipped
from tradewind.profiles import PROFILES, Profile
from tradewind.settings import SECTION

GPU = "nvidia.com/gpu"
_MIB = 1 << 20
_KEEPS_OUT = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Cores, MiB, whole devices."""

    cpu: float
    memory_mb: float
    gpus: float = 0

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(cpu=self.cpu - other.cpu, memory_mb=self.memory_mb - other.memory_mb, gpus=self.gpus - other.gpus)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(cpu=self.cpu + other.cpu, memory_mb=self.memory_mb + other.memory_mb, gpus=self.gpus + other.gpus)

    def __str__(self) -> str:
        gpus = f"{self.gpus:.0f} {GPU}, " if self.gpus else ""
        return f"{gpus}{round(self.cpu, 2):g} cores and {self.memory_mb:.0f} MiB"

    def hold(self, other: Amounts) -> bool:
        return self.cpu >= other.cpu and self.memory_mb >= other.memory_mb and self.gpus >= other.gpus


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that takes pods: what it has for them, and what of it nobody has asked for yet."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    allocatable: Amounts
    free: Amounts


def nodes_of(nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The nodes that are ready and not cordoned, less what the pods on them asked for."""
    asked: dict[str, Amounts] = {}
    for pod in pods:
        if name := pod["spec"].get("nodeName"):
            asked[name] = asked.get(name, Amounts(cpu=0, memory_mb=0)) + _asked(pod["spec"])
    found = []
    for node in nodes:
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        if conditions.get("Ready") != "True" or node["spec"].get("unschedulable"):
            continue
        name, allocatable = node["metadata"]["name"], _amounts(node["status"].get("allocatable", {}))
        found.append(
            Node(
                name=name,
                labels=node["metadata"].get("labels", {}),
                taints=node["spec"].get("taints", []),
                allocatable=allocatable,
                free=allocatable - asked.get(name, Amounts(cpu=0, memory_mb=0)),
            )
        )
    return found


def verdict(name: str, profile: Profile, nodes: Sequence[Node]) -> Result:
    """Whether a step of that profile, and an executor where it has any, finds a node. A built-in profile that finds none is
    no failure: no Dag has to name it."""
    line = f"profile {name}"
    step = Amounts(cpu=profile.cpu, memory_mb=profile.memory_mb, gpus=profile.gpus)
    said = [_place(step, profile, nodes)]
    if profile.executors:
        each = Amounts(cpu=profile.executor_cpu or profile.cpu, memory_mb=profile.executor_memory_mb or profile.memory_mb)
        fits, what = _place(each, profile, nodes)
        said.append((fits, f"each of {profile.executors} executors: {what}"))
    detail = "; ".join(what for _, what in said)
    most = Amounts(cpu=profile.most_cpu, memory_mb=profile.most_memory_mb, gpus=profile.gpus)
    if most != step:
        detail += f"; it may use up to {most}"
    if all(fits for fits, _ in said):
        largest = profile.requested_memory_mb(profile.largest_memory_mb)
        if not _place(Amounts(cpu=profile.cpu, memory_mb=largest, gpus=profile.gpus), profile, nodes)[0]:
            detail += f"; out of memory it would ask for {largest} MiB, which no node has (memory_cap_mb)"
        return passed(line, detail)
    if profile == PROFILES.get(name):
        return skipped(line, f"{detail}. It is built in: of no matter if no Dag names it")
    fix = f"Add such a node (or let an autoscaler), or ask for less in [{SECTION}] profiles"
    return failed(line, detail, fix)


def _place(asked: Amounts, profile: Profile, nodes: Sequence[Node]) -> tuple[bool, str]:
    """Whether a node has so much, now or when it is empty; in words."""
    labelled = [node for node in nodes if profile.node_selector.items() <= node.labels.items()]
    if not labelled:
        wanted = ", ".join(f"{key}={value}" for key, value in profile.node_selector.items())
        return False, f"no node has the labels {wanted}" if wanted else "no node is ready"
    open_ = [node for node in labelled if not _repels(node, profile)]
    if not open_:
        taint = _repels(labelled[0], profile)
        return False, f"none of its tolerations fits the taint {taint} of {labelled[0].name}"
    if free := [node for node in open_ if node.free.hold(asked)]:
        return True, f"{asked}: {len(free)} of {len(nodes)} nodes have that free, as {free[0].name}"
    if large := [node for node in open_ if node.allocatable.hold(asked)]:
        return True, f"{asked}: {large[0].name} is large enough, and busy now: pods wait for others to end"
    best = max(open_, key=lambda node: (min(node.free.gpus, asked.gpus), node.free.memory_mb, node.free.cpu))
    return False, f"no node has {asked}; the largest free is {best.free} on {best.name}"


def _repels(node: Node, profile: Profile) -> str:
    """The first taint of a node that keeps the profile's pods out; empty where none does."""
    for taint in node.taints:
        if taint.get("effect") in _KEEPS_OUT and not any(_tolerates(item, taint) for item in profile.tolerations):
            return "".join([taint["key"], f"={taint['value']}" if taint.get("value") else "", f":{taint['effect']}"])
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    return bool(toleration["key"] == taint["key"] and (exists or toleration.get("value", "") == taint.get("value", "")))


def _asked(spec: Mapping[str, Any]) -> Amounts:
    """What the scheduler counts for a pod: its containers together, or its largest init container, and the overhead."""
    total, largest = Amounts(cpu=0, memory_mb=0), Amounts(cpu=0, memory_mb=0)
    for container in spec.get("containers", []):
        total += _amounts(container.get("resources", {}).get("requests", {}))
    for container in spec.get("initContainers", []):
        amounts = _amounts(container.get("resources", {}).get("requests", {}))
        if container.get("restartPolicy") == "Always":
            total += amounts
        else:
            largest = Amounts(
                cpu=max(largest.cpu, amounts.cpu),
                memory_mb=max(largest.memory_mb, amounts.memory_mb),
                gpus=max(largest.gpus, amounts.gpus),
            )
    most = Amounts(
        cpu=max(total.cpu, largest.cpu),
        memory_mb=max(total.memory_mb, largest.memory_mb),
        gpus=max(total.gpus, largest.gpus),
    )
    return most + _amounts(spec.get("overhead", {}))


def _amounts(resources: Mapping[str, str]) -> Amounts:
    from kubernetes.utils.quantity import parse_quantity

    return Amounts(
        cpu=float(parse_quantity(resources.get("cpu", "0"))),
        memory_mb=float(parse_quantity(resources.get("memory", "0"))) / _MIB,
        gpus=float(parse_quantity(resources.get(GPU, "0"))),
    )
