"""What a person should see before a version serves, and the hashes of all of it.

Gathered from what the run, the registry and the store have; nothing is measured here. It is gathered again when the answer
has come, and once more when the rollout begins: `Dossier.pins` says by its hashes whether all is as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tradewind.approval.changes import Change, FileDiff, changes, code_changes, files_of, flat, packages
from tradewind.approval.lineage import Made, sources, steps_behind, trained_by
from tradewind.contract import ArtifactRef, StepManifest, digest
from tradewind.errors import ApprovalRefused, SpecError
from tradewind.registry import CHAMPION, TRAINED_TAG, ModelVersion, Registry, model_of
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Serving
from tradewind.store import Store

NONE = "none"
_ENVIRONMENT = "environment"  # the train step's output: its packages
_REQUIREMENTS = "requirements.txt"  # in a model's folder: what it cannot do without


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two versions, with what is known of how it came about.

    Attributes:
        trained: what its training left; None where that is gone.
        code: the files of its pipeline's folder; None where the bundle is gone.
        packages: of the process that trained it, by name.
        columns: types by name, of the table it was trained on.
    """

    version: str
    model: ArtifactRef
    trained: StepManifest | None
    steps: list[Made]
    code: dict[str, bytes] | None
    packages: dict[str, str]
    columns: dict[str, str]

    def made(self, step: str) -> list[Made]:
        return [made for made in self.steps if made.step == step]


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """All that a person is shown.

    Attributes:
        name: the registered model.
        gate: what the gate measured; ``verdict`` is its document with the slices.
        replay: figures of a replay against the champion, where an earlier attempt has made one.
        rollout: what shall be done, where the Dag says so here too.
        pins: hash or identity of everything shown, by what it is of.
    """

    name: str
    challenger: Side
    champion: Side | None
    gate: StepManifest
    verdict: dict[str, Any]
    replay: dict[str, Any] | None
    rollout: RolloutSpec | None
    pins: dict[str, str] = field(default_factory=dict)

    @cached_property
    def code(self) -> list[FileDiff] | None:
        """None where there is nothing to compare with."""
        if self.champion is None or self.champion.code is None or self.challenger.code is None:
            return None
        return code_changes(self.champion.code, self.challenger.code)

    @cached_property
    def packages(self) -> list[Change] | None:
        if self.champion is None or not self.champion.packages or not self.challenger.packages:
            return None
        return changes(self.champion.packages, self.challenger.packages)

    @cached_property
    def columns(self) -> list[Change] | None:
        if self.champion is None or not self.champion.columns or not self.challenger.columns:
            return None
        return changes(self.champion.columns, self.challenger.columns)

    @cached_property
    def settings(self) -> list[Change] | None:
        """Arguments of the steps; of a step that only one side has, all."""
        if self.champion is None or not self.champion.steps:
            return None
        return changes(_settings(self.champion), _settings(self.challenger))


def gather(
    asked: Mapping[str, Any], *, registry: Registry, store: Store, serving: Serving, rollout: RolloutSpec | None = None
) -> Dossier:
    """The dossier of the version that a register task's metrics name.

    Raises:
        SpecError: what its gate left is gone, or the gate is another model's.
    """
    name = str(asked["name"])
    version = registry.version(name, str(asked["version"]))
    serves = registry.by_alias(name, CHAMPION)
    gate_uri = str(asked.get("gate") or "")
    try:
        gate_bytes = store.read(gate_uri)
    except FileNotFoundError as error:
        raise SpecError(f"The gate's manifest {gate_uri} is gone: clear the evaluate task") from error
    gate = StepManifest.from_json(gate_bytes)
    challenger = _side(store, version)
    if gate.metrics.get("model_sha256") != challenger.model.sha256:
        raise SpecError(
            f"The gate judged the model with sha256 {gate.metrics.get('model_sha256')}, version {version.version} of {name} is "
            f"the one with {challenger.model.sha256}: clear the evaluate and the register task"
        )
    champion = _side(store, serves) if serves and serves.version != version.version else None
    replay = _replay(serving, name, version.version)
    verdict = _json(store, gate.outputs.get("verdict")) or dict(gate.metrics)
    pins = {
        "version": version.version,
        "gate": hashlib.sha256(gate_bytes).hexdigest(),
        **_pins(store, challenger, version),
        "champion": serves.version if serves else NONE,
        "champion's model": champion.model.sha256 if champion else NONE,
        **({"replay": digest(replay)} if replay else {}),
        **({"rollout": digest(rollout.to_dict())} if rollout else {}),
    }
    return Dossier(
        name=name, challenger=challenger, champion=champion, gate=gate, verdict=verdict, replay=replay, rollout=rollout, pins=pins
    )


def check_compared(asked: Mapping[str, Any], dossier: Dossier) -> None:
    """Before a person is asked: the figures must be of the champion that there is. The rollout wants the same.

    Raises:
        ApprovalRefused: the gate compared with another one.
    """
    if dossier.champion and dossier.champion.version != asked.get("champion"):
        raise ApprovalRefused(
            f"The champion of {dossier.name} is version {dossier.champion.version}, but the gate compared with "
            f"{asked.get('champion') or 'none'}: it changed meanwhile (clear the evaluate task to compare again), or its "
            f"model_name is not {dossier.name!r}"
        )


def differences(pinned: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was when the question was asked, a phrase each."""
    return [f"{change.name} was {_short(change.before)}, is {_short(change.after)}" for change in changes(pinned, now)]


def _side(store: Store, version: ModelVersion) -> Side:
    model = model_of(version)
    steps = steps_behind(store, model)
    trained = trained_by(steps, model)
    profile = next(
        (_json(store, made.manifest.outputs.get("profile")) for made in reversed(steps) if made.step == "features"), {}
    )
    return Side(
        version=version.version,
        model=model,
        trained=trained.manifest if trained else None,
        steps=steps,
        code=_code(store, trained),
        packages=_packages(store, model, trained),
        columns={name: str(column.get("type")) for name, column in ((profile or {}).get("columns") or {}).items()},
    )


def _pins(store: Store, side: Side, version: ModelVersion) -> dict[str, str]:
    """Of the version: its model, what the registry says it was trained by, and all that the steps before it left."""
    try:
        trained = hashlib.sha256(store.read(version.tags[TRAINED_TAG])).hexdigest()
    except (KeyError, FileNotFoundError):
        trained = NONE
    return {
        "model": side.model.sha256,
        "training": trained,
        **{f"code of {made.name}": made.spec.code.sha256 for made in side.steps if made.spec.code},
        **{f"environment of {made.name}": made.spec.environment for made in side.steps if made.spec.environment},
        **{
            f"{output} of {made.name}": ref.sha256
            for made in side.steps
            for output, ref in made.manifest.outputs.items()
            if ref.kind in ("dataset", "report") or output == _ENVIRONMENT
        },
        **{f"source {name}": ref.sha256 for name, ref in sources(store, side.steps).items()},
    }


def _code(store: Store, trained: Made | None) -> dict[str, bytes] | None:
    if trained is None or trained.spec.code is None:
        return None
    try:
        return files_of(store.read(trained.spec.code.uri))
    except FileNotFoundError:
        return None


def _packages(store: Store, model: ArtifactRef, trained: Made | None) -> dict[str, str]:
    """All of the training's environment; of a model that is older than this list what it cannot do without."""
    listed = trained.manifest.outputs.get(_ENVIRONMENT) if trained else None
    try:
        return packages(store.read(listed.uri if listed else f"{model.uri}/{_REQUIREMENTS}").decode())
    except FileNotFoundError:
        return {}


def _replay(serving: Serving, name: str, version: str) -> dict[str, Any] | None:
    found = serving.record(name)
    record = Record.from_dict(found) if found else None
    return record.replay if record and record.version == version else None


def _settings(side: Side) -> dict[str, Any]:
    return flat({made.name: made.spec.params for made in side.steps})


def _json(store: Store, ref: ArtifactRef | None) -> dict[str, Any]:
    if ref is None:
        return {}
    try:
        found = json.loads(store.read(ref.uri))
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def _short(value: str | None) -> str:
    return "not there" if value is None else value if len(value) <= 24 else f"{value[:12]}..."
