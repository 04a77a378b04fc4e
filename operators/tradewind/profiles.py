"""Resource profiles: named amounts of compute, and where on the cluster they are to be had.

The platform team writes them in one place, ``[tradewind] profiles``; a Dag or its form only names one.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tradewind.errors import SpecError

DEVICES = ("cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a step may use, and, on Kubernetes, on which nodes. A process of this machine heeds ``cpu``, ``memory_mb`` (Spark's
    heap) and ``device``.

    Attributes:
        cpu: cores, requested; fractions are allowed.
        cpu_limit: cores that it may use where a node has some to spare, at least ``cpu``; by default that.
        memory_mb: MiB, requested.
        memory_limit_mb: MiB that it may use while the node has them, at least ``memory_mb``; by default that. Beyond what it
            requested a pod may be evicted.
        memory_cap_mb: a step that ran out of memory gets twice its limit once, up to this; by default twice the limit. What it
            requests grows in proportion.
        gpus: ``nvidia.com/gpu``, whole devices of one pod.
        shared_memory_mb: ``/dev/shm``, which PyTorch's data loaders and NCCL use; 0: the container runtime's 64 MiB.
        executors: Spark's executor pods, at most; 0: Spark runs inside the step's pod.
        min_executors: fewer than ``executors``: Spark asks for more as it has tasks, and gives them back.
        executor_cpu, executor_memory_mb: of each of them, requested; by default as the step.
        executor_cpu_limit: cores that each may use where a node has some to spare, at least what it requests; by default that.
        node_selector: labels that a node must have.
        tolerations: as in a pod's spec.
        priority_class: the pod's ``priorityClassName``.
        queue: Kueue's local queue, which admits the pod.
        spot: the nodes may go at any time: a pod lost with its node is replaced up to 20 times in one try, else 3 times.
    """

    cpu: float
    memory_mb: int
    cpu_limit: float = 0
    memory_limit_mb: int = 0
    memory_cap_mb: int = 0
    gpus: int = 0
    shared_memory_mb: int = 0
    executors: int = 0
    min_executors: int = 0
    executor_cpu: float = 0
    executor_cpu_limit: float = 0
    executor_memory_mb: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str = ""
    queue: str = ""
    spot: bool = False

    @property
    def device(self) -> str:
        """The kind, ``cpu`` or ``gpu``; part of a step's fingerprint, unlike the amounts."""
        return "gpu" if self.gpus else "cpu"

    @property
    def most_cpu(self) -> float:
        return self.cpu_limit or self.cpu

    @property
    def most_memory_mb(self) -> int:
        return self.memory_limit_mb or self.memory_mb

    @property
    def largest_memory_mb(self) -> int:
        """Of a step that ran out of it."""
        return self.memory_cap_mb or 2 * self.most_memory_mb

    def requested_memory_mb(self, limit_mb: int) -> int:
        """For a step that may use so much."""
        return limit_mb * self.memory_mb // self.most_memory_mb

    def to_dict(self) -> dict[str, Any]:
        """What it may use, as a step's spec carries it."""
        amounts: dict[str, Any] = {
            "cpu": self.most_cpu, "memory_mb": self.most_memory_mb, "device": self.device, "gpus": self.gpus,
        }  # fmt: skip
        if self.executors:
            amounts |= {
                "executors": self.executors,
                "min_executors": self.min_executors or self.executors,
                "executor_cpu": self.executor_cpu or self.cpu,
                "executor_cpu_limit": self.executor_cpu_limit or self.executor_cpu or self.cpu,
                "executor_memory_mb": self.executor_memory_mb or self.memory_mb,
            }
        return amounts


PROFILES: Mapping[str, Profile] = {
    "cpu-small": Profile(cpu=2, memory_mb=4096),
    "cpu-large": Profile(cpu=8, memory_mb=16384),
    "spark-small": Profile(cpu=2, memory_mb=4096),
    "spark-large": Profile(cpu=2, memory_mb=4096, executors=8, min_executors=2, executor_cpu=4, executor_memory_mb=16384),
    "gpu-1": Profile(cpu=4, memory_mb=16384, gpus=1, shared_memory_mb=4096),
}


def read_profiles(text: str) -> dict[str, Profile]:
    """Profiles from JSON: an object of name to object, whose names are `Profile`'s attributes.

    Raises:
        SpecError: it is something else; names profile, attribute, expected and got.
    """
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"expected JSON ({error}), got {text!r}") from error
    if not isinstance(table, dict):
        raise SpecError(f"expected a JSON object of name to profile, got {text!r}")
    return {name: _profile(name, given) for name, given in table.items()}


def _profile(name: str, given: object) -> Profile:
    known = {f.name for f in fields(Profile)}
    if not isinstance(given, dict):
        raise SpecError(f"profile {name!r}: expected an object with cpu and memory_mb, got {given!r}")
    given = dict(given)
    device = given.pop("device", None)  # what needs no number: one GPU, or none
    if device not in (None, *DEVICES):
        raise SpecError(f"device of {name!r}: expected one of: {', '.join(DEVICES)}, got {device!r}")
    if device:
        given.setdefault("gpus", 1 if device == "gpu" else 0)
        if (device == "gpu") != bool(given["gpus"]):
            raise SpecError(f"device of {name!r}: expected what gpus ({given['gpus']!r}) says, or no device, got {device!r}")
    for attribute in sorted(given.keys() - known):
        near = difflib.get_close_matches(attribute, known, 1)
        may_be = f"may it be {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise SpecError(f"profile {name!r}: a profile has no {attribute!r}; {may_be}")
    if not {"cpu", "memory_mb"} <= given.keys():
        raise SpecError(
            f"profile {name!r}: expected cpu, memory_mb and more as needed, got {', '.join(sorted(given)) or 'nothing'}"
        )
    for attribute, value in given.items():
        if not _fits(attribute, value):
            raise SpecError(f"{attribute} of {name!r}: expected {_EXPECTED[attribute]}, got {value!r}")
    if isinstance(given.get("tolerations"), list):
        given["tolerations"] = tuple(given["tolerations"])
    profile = Profile(**given)
    if profile.min_executors > profile.executors:
        raise SpecError(
            f"min_executors of {name!r}: expected at most executors ({profile.executors}), got {profile.min_executors}"
        )
    memory = "memory_limit_mb" if profile.memory_limit_mb else "memory_mb"
    executor = "executor_cpu" if profile.executor_cpu else "cpu"
    for attribute, least in (
        ("cpu_limit", "cpu"), ("memory_limit_mb", "memory_mb"), ("memory_cap_mb", memory), ("executor_cpu_limit", executor),
    ):  # fmt: skip
        value, floor = getattr(profile, attribute), getattr(profile, least)
        if 0 < value < floor:
            raise SpecError(f"{attribute} of {name!r}: expected {least} ({floor}) or more, got {value}")
    return profile


_CORES, _MIB, _COUNT = "a number of cores above 0", "a whole number of MiB above 0", "a whole number, 0 or more"
_EXPECTED = {
    "cpu": _CORES,
    "memory_mb": _MIB,
    "cpu_limit": _CORES,
    "memory_limit_mb": _MIB,
    "memory_cap_mb": _MIB,
    "gpus": _COUNT,
    "shared_memory_mb": _COUNT,
    "executors": _COUNT,
    "min_executors": _COUNT,
    "executor_cpu": _CORES,
    "executor_cpu_limit": _CORES,
    "executor_memory_mb": _MIB,
    "node_selector": "an object of label to value, both texts",
    "tolerations": "a list of objects",
    "priority_class": "a name",
    "queue": "a name",
    "spot": "true or false",
}


def _fits(attribute: str, value: object) -> bool:
    expected = _EXPECTED[attribute]
    if expected == _CORES:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    if expected == _MIB:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    if expected == _COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if attribute == "node_selector":
        return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)
    if attribute == "tolerations":
        return isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return isinstance(value, bool if attribute == "spot" else str)
