"""Where a model comes from, as the store knows it: each step's spec and manifest lie beside what it made.

A manifest that repeats an earlier one names that one's artifacts, so the way back goes by where an artifact lies, and no
task's name is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from tradewind.contract import ArtifactRef, StepManifest, StepSpec
from tradewind.errors import SpecError
from tradewind.store import MANIFEST, SPEC, Store

_LEVELS = 5  # below ``runs``: Dag, run, task, map index, try


@dataclass(frozen=True, kw_only=True)
class Made:
    """One step on the way to a model: what it was told and what it left."""

    spec: StepSpec
    manifest: StepManifest

    @property
    def step(self) -> str:
        return self.spec.step

    @property
    def name(self) -> str:
        """What it is called beside the same step on the way to another model."""
        return self.spec.task_id


def steps_behind(store: Store, model: ArtifactRef) -> list[Made]:
    """The steps that a model was made by, from the data on; those whose traces `tradewind gc` has freed are left out."""
    found: dict[str, Made] = {}

    def follow(ref: ArtifactRef) -> None:
        folder = _try_folder(store, ref.uri)
        if folder is None or folder in found:
            return
        try:
            spec, manifest = store.get_spec(f"{folder}/{SPEC}"), store.get_manifest(f"{folder}/{MANIFEST}")
        except (FileNotFoundError, SpecError):  # gone, or of another version of this package
            return
        for given in spec.inputs.values():
            follow(given)
        found[folder] = Made(spec=spec, manifest=manifest)

    follow(model)
    return list(found.values())


def sources(store: Store, steps: list[Made]) -> dict[str, ArtifactRef]:
    """The data that came from outside, by the task and the name that it has there."""
    return {
        f"{made.name}.{name}": ref
        for made in steps
        for name, ref in made.spec.inputs.items()
        if _try_folder(store, ref.uri) is None and ref.kind == "dataset"
    }


def trained_by(steps: list[Made], model: ArtifactRef) -> Made | None:
    """The step that left this model; None where its traces are gone."""
    return next((made for made in reversed(steps) if any(ref.uri == model.uri for ref in made.manifest.outputs.values())), None)


def trained_on(store: Store, model: ArtifactRef, *, from_outside: bool = True) -> StepSpec | None:
    """What the training of a model was told, where its input ``dataset`` is still there, as it was then.

    Args:
        from_outside: also where that lies outside the store's runs, where it is read once to see that nobody has changed it.
    """
    trained = trained_by(steps_behind(store, model), model)
    dataset = trained.spec.inputs.get("dataset") if trained else None
    if trained is None or dataset is None:
        return None
    ours = _try_folder(store, dataset.uri) is not None
    there = (ours or from_outside) and store.exists(dataset.uri)
    return trained.spec if there and (ours or store.refer(dataset.uri).sha256 == dataset.sha256) else None


def made_from(store: Store, model: ArtifactRef) -> dict[str, str]:
    """From which data and code a model was trained, by hash, and in which run of MLflow, as far as that is known."""
    trained = trained_by(steps_behind(store, model), model)
    if trained is None:
        return {}
    found = {
        "data_sha256": dataset.sha256 if (dataset := trained.spec.inputs.get("dataset")) else None,
        "code_sha256": trained.spec.code.sha256 if trained.spec.code else None,
        "mlflow_run_id": trained.manifest.metrics.get("mlflow_run_id"),
    }
    return {name: str(value) for name, value in found.items() if value}


def _try_folder(store: Store, uri: str) -> str | None:
    """The folder of the try that an artifact lies in; None where it is no step's."""
    prefix = f"{store.root}/runs/"
    names = uri.removeprefix(prefix).split("/")
    return prefix + "/".join(names[:_LEVELS]) if uri.startswith(prefix) and len(names) > _LEVELS else None
