"""What goes into a step's process and what comes out: JSON <-> dataclass, versioned, standard library only.

The operator writes a `StepSpec` to the store and starts a process that is told nothing but its URI. The process writes
artifacts, then a `StepManifest`, last and once: its presence is the commit. Both sides import this module and share
nothing else, so a step can run in any environment that has Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tradewind.errors import SpecError

SCHEMA = 1
SPEC_VARIABLE = "TRADEWIND_SPEC"
# Set where the step must end when its standard input closes: no other supervisor would end it.
LIFELINE_VARIABLE = "TRADEWIND_LIFELINE"
# What `tradewind doctor` asks of a pod, as JSON: see `tradewind_steps.doctor`.
PROBE_VARIABLE = "TRADEWIND_PROBE"
# Set where the step runs in a pod, and only there: what Kubernetes calls it. Spark's driver starts executors beside itself.
POD_NAME_VARIABLE = "TRADEWIND_POD_NAME"
POD_NAMESPACE_VARIABLE = "TRADEWIND_POD_NAMESPACE"
# The kubelet sets it before the container starts; the API server may come to know it seconds after.
POD_IP_VARIABLE = "TRADEWIND_POD_IP"

# How the URI of a database's table begins: data without a content hash.
JDBC = "jdbc:postgresql:"

# In a model's folder, where it has one: it is served by a class of its author's in images/predictor, see
# `tradewind_steps.predictor`.
PREDICTOR = "data/predictor/predictor.json"  # MLflow puts what a model is made of in data/

Kind = Literal["dataset", "model", "report", "code"]
Status = Literal["success", "failed"]


@dataclass(frozen=True, kw_only=True)
class ArtifactRef:
    """A stored thing and the hash of what it says.

    ``sha256`` is the hash of a file's bytes, of a folder's relative names and bytes, or, for a table that a step wrote,
    of its rows and schema: equal tables have equal hashes whatever their files look like. ``size`` is in bytes.
    """

    uri: str
    sha256: str
    size: int
    kind: Kind

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(uri=data["uri"], sha256=data["sha256"], size=data["size"], kind=data["kind"])


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """All that a step's process is told.

    Attributes:
        step: the step's name: ``validate``, ``features``, ``train``, ``evaluate``, ...
        params: the operator's own arguments, rendered; plain JSON.
        inputs: what the step reads.
        code: the bundle of the pipeline's folder, a zip; None where the step runs no user code.
        entry_point: ``module:function`` in the bundle; None likewise.
        image: the name of the environment, as in ``images/<name>``.
        environment: what the runtime says distinguishes it from another of that name: a lock, an image's reference.
        outputs_uri: the folder of this try; artifacts and ``manifest.json`` go there.
        store_uri: the root of the store, for content-addressed artifacts.
        fingerprint: the key under which a success may be reused; None where it may not.
        as_of: ISO 8601 instant; rows at or after it do not exist for this run. None: all rows.
        checkpoint: the key under which the step finds what an earlier try of it saved, see `tradewind.store`; None where it
            saves nothing.
        tracking_uri: MLflow's, for steps that log a run.
        resources: the profile's amounts: ``{"cpu": 2, "memory_mb": 4096, "device": "cpu"}``, with ``executors``,
            ``min_executors``, ``executor_cpu``, ``executor_cpu_limit`` and ``executor_memory_mb`` where Spark is to have
            executors; never in the fingerprint but for the device.
    """

    step: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    params: dict[str, Any]
    inputs: dict[str, ArtifactRef]
    code: ArtifactRef | None
    entry_point: str | None
    image: str
    outputs_uri: str
    store_uri: str
    fingerprint: str | None = None
    as_of: str | None = None
    checkpoint: str | None = None
    environment: str | None = None
    tracking_uri: str | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        return to_json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        data = _versioned(text, "spec")
        data["inputs"] = {name: ArtifactRef.from_dict(ref) for name, ref in data["inputs"].items()}
        data["code"] = ArtifactRef.from_dict(data["code"]) if data["code"] else None
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class StepError:
    """A failure as data: the exception's class name, message and stack, and whether trying again can help."""

    type: str
    message: str
    stack: str
    retryable: bool


@dataclass(frozen=True, kw_only=True)
class StepManifest:
    """What a step left.

    Attributes:
        outputs: named artifacts; the operator's ``PRIMARY_OUTPUT`` is the one the next task reads.
        metrics: key figures, plain JSON, small: they travel in XCom.
        usage: ``seconds``, ``cpu_seconds`` and ``peak_memory_mb`` of the step's process tree.
        started_at, ended_at: ISO 8601, UTC.
        reused_from: URI of the manifest that this one repeats, where no process was started.
    """

    status: Status
    fingerprint: str | None
    outputs: dict[str, ArtifactRef]
    metrics: dict[str, Any]
    started_at: str
    ended_at: str
    usage: dict[str, float] = field(default_factory=dict)
    error: StepError | None = None
    reused_from: str | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        return to_json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        data = _versioned(text, "manifest")
        data["outputs"] = {name: ArtifactRef.from_dict(ref) for name, ref in data["outputs"].items()}
        data["error"] = StepError(**data["error"]) if data["error"] else None
        return cls(**data)


def to_json(data: Any) -> str:
    """Canonical JSON: sorted keys, no NaN or infinity (they are not JSON), UTF-8 kept.

    Raises:
        SpecError: ``data`` holds something else, such as a date or a set.
    """
    try:
        return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        what = "numbers, texts, true, false, null, lists, objects with texts as names"
        raise SpecError(f"Expected plain JSON ({what}), got {str(data)[:1000]}: {error}") from error


def digest(data: Any) -> str:
    """sha256 of the canonical JSON of ``data``, in hex."""
    return hashlib.sha256(to_json(data).encode()).hexdigest()


def _versioned(text: str | bytes, what: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(text)
    if data.get("schema") != SCHEMA:
        raise SpecError(
            f"This {what} has schema {data.get('schema')!r}, expected {SCHEMA}: "
            "the operator and the step's environment are of different versions of airflow-provider-tradewind"
        )
    return data
