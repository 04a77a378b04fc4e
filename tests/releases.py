"""Registered versions without a training: what the steps of a chain leave, written as they write it, in a real registry."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from tradewind.contract import ArtifactRef, StepManifest, StepSpec
from tradewind.registry import Registry, lineage_tags, model_tags
from tradewind.store import MANIFEST, Store, hash_names

CODE = {"train.py": b"def train(dataset, params):\n    return dataset\n", "data.bin": b"\xff\0"}
COLUMNS = {"carrier": "string", "distance": "double", "late": "bool"}
AT = {"started_at": "2026-01-01T00:00:00.000+00:00", "ended_at": "2026-01-01T00:00:05.000+00:00"}


class Releases:
    """Makes versions of one model.

    Args:
        registry: where they are registered; None: only the store has them.
    """

    def __init__(self, store: Store, registry: Registry | None, name: str) -> None:
        self.store = store
        self.registry = registry
        self.name = name

    def make(
        self,
        run: str,
        *,
        auc: float = 0.7,
        champion: str | None = None,
        champion_auc: float | None = None,
        code: Mapping[str, bytes] = CODE,
        columns: Mapping[str, str] = COLUMNS,
        packages: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        slices: Mapping[str, float] | None = None,
        rows: int = 1000,
        beside: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A version, as the register task says it: its metrics. ``beside``: what the gate found of the champion's answers and
        data beside its own."""
        store = self.store
        bundle = store.put_content("code.zip", _zip(code), "code")
        source = ArtifactRef(uri="file:///data/flights.csv", sha256=f"{rows:064d}", size=rows, kind="dataset")
        valid = self._step(
            run, "validate", inputs={"data": source}, code=bundle, folder="dataset", content={"rows": str(rows)},
            metrics={"rows_checked": rows, "rows_quarantined": 3, "quarantined_share": 0.003, "verdict": "PASSED"},
            reports={"report": f"<h1>{rows}</h1>"},
        )  # fmt: skip
        profile = {"rows": rows, "columns": {name: {"type": kind} for name, kind in columns.items()}}
        features = self._step(
            run, "features", inputs={"flights": valid}, code=bundle, folder="dataset", content={"columns": json.dumps(columns)},
            metrics={"rows": rows, "columns": len(columns), "data_end": "2026-01-01"}, reports={"profile": json.dumps(profile)},
        )  # fmt: skip
        listed = "".join(f"{name}=={version}\n" for name, version in (packages or {"xgboost": "3.2.0"}).items())
        model = self._step(
            run, "train", inputs={"dataset": features}, code=bundle, folder="model", content={"model": f"{run} {auc}"},
            metrics={"auc": auc, "rows_train": rows, "model_mb": 0.1, "data_end": "2026-01-01"},
            params={"params": dict(params or {"trees": 10})},
            more={"environment": store.put_content("environment.txt", listed.encode(), "code")},
        )  # fmt: skip
        gate = self._gate(run, model, auc, champion, champion_auc, slices or {"UA": auc}, beside or {})
        trained = f"{store.run_uri(self.name, run, 'train', -1, 1)}/{MANIFEST}"
        lineage = lineage_tags(dag_id=self.name, run_id=run, trained=trained, gate=gate, data_end="2026-01-01")
        version = self._registered(run, {**model_tags(model), **lineage}) if self.registry else "1"
        return {
            "name": self.name, "version": version, "registered": True, "alias": "challenger", "champion": champion,
            "data_end": "2026-01-01", "gate": gate, "url": "",
        }  # fmt: skip

    def _step(
        self, run: str, step: str, *, inputs: dict[str, ArtifactRef], folder: str, content: dict[str, str],
        metrics: dict[str, Any], code: ArtifactRef | None = None, params: dict[str, Any] | None = None,
        reports: Mapping[str, str] | None = None, more: Mapping[str, ArtifactRef] | None = None,
    ) -> ArtifactRef:  # fmt: skip
        """A step's try: its spec, what it made, its manifest. What it made."""
        store, place = self.store, self.store.run_uri(self.name, run, step, -1, 1)
        for name, text in content.items():
            store.write(f"{place}/{folder}/{name}", text.encode())
        kind: Any = "model" if folder == "model" else "dataset"
        made = ArtifactRef(uri=f"{place}/{folder}", sha256=hash_names(sorted(content.items())), size=100, kind=kind)
        store.put_spec(
            StepSpec(
                step=step, dag_id=self.name, run_id=run, task_id=step, map_index=-1, try_number=1, params=params or {},
                inputs=inputs, code=code, entry_point=None, image="train", outputs_uri=place, store_uri=store.root,
                environment="lock-1",
            )
        )  # fmt: skip
        outputs = {folder: made, **(more or {})}
        outputs |= {name: store.put_content(f"{name}.html", text.encode(), "report") for name, text in (reports or {}).items()}
        usage = {"seconds": 5.0, "cpu_seconds": 4.0, "peak_memory_mb": 300.0}
        store.put_manifest(
            place, StepManifest(status="success", fingerprint=run, outputs=outputs, metrics=metrics, usage=usage, **AT)
        )
        return made

    def _gate(
        self,
        run: str,
        model: ArtifactRef,
        auc: float,
        champion: str | None,
        champion_auc: float | None,
        slices: Mapping[str, float],
        beside: Mapping[str, Any],
    ) -> str:
        rule = {"rule": "auc >= 0.6", "expected": ">= 0.6", "value": auc, "verdict": "PASSED"}
        facts = {
            "verdict": "PASSED", "reasons": [], "model_sha256": model.sha256, "rows": 500, "challenger": {"auc": auc},
            "champion": {"auc": champion_auc} if champion_auc is not None else None, "champion_version": champion,
            "rules": [rule], "data_end": "2026-01-01", "differences": beside.get("differences"),
        }  # fmt: skip
        parts = [{"value": value, "rows": 100, "auc": found} for value, found in slices.items()]
        apart = {"differences": {"carrier": beside["slices"]}} if "slices" in beside else {}
        document = {**facts, "slices": {"challenger": {"carrier": parts}, **apart}, "data": beside.get("data")}
        self._step(
            run, "evaluate", inputs={"model": model}, folder="requests", content={"requests": "[]"}, metrics=facts,
            reports={"verdict": json.dumps(document), "report": "<h1>gate</h1>"},
        )  # fmt: skip
        return f"{self.store.run_uri(self.name, run, 'evaluate', -1, 1)}/{MANIFEST}"

    def _registered(self, run: str, tags: dict[str, str]) -> str:
        assert self.registry
        call = self.registry._call
        found = call("GET", "experiments/get-by-name", {"experiment_name": self.name}, missing="RESOURCE_DOES_NOT_EXIST")
        experiment = (
            found["experiment"]["experiment_id"]
            if found
            else call("POST", "experiments/create", {"name": self.name})["experiment_id"]
        )
        run_id = call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        asked = {"experiment_id": experiment, "name": "model", "source_run_id": run_id}
        model_id = call("POST", "logged-models", asked)["model"]["info"]["model_id"]
        return self.registry.register(self.name, model_id=model_id, run_id=run_id, tags=tags)[0].version


def _zip(code: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in code.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()
