"""What garbage collection keeps and what it frees."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tradewind.collect import collect
from tradewind.contract import ArtifactRef, StepManifest, StepSpec
from tradewind.store import Store

OnDisk = Callable[[str], Path]


class Runs:
    """Runs of one task, each written a day after the one before, the newest a year ago."""

    def __init__(self, store: Store, on_disk: OnDisk) -> None:
        self.store = store
        self.on_disk = on_disk
        self.count = 0

    def add(self, *, dag: str = "dag", reuse: dict[str, ArtifactRef] | None = None) -> dict[str, ArtifactRef]:
        self.count += 1
        folder = self.store.new_try(dag, f"run{self.count}", "task", -1, 1)
        self.store.write(f"{folder}/model/data", b"m" * 1000)
        code = self.store.put_content("code.zip", f"code{self.count}".encode(), "code")
        outputs = reuse or {
            "model": ArtifactRef(uri=f"{folder}/model", sha256=str(self.count), size=1000, kind="model"),
            "report": self.store.put_content("report.html", f"report{self.count}".encode(), "report"),
        }
        spec = StepSpec(
            step="train", dag_id=dag, run_id=f"run{self.count}", task_id="task", map_index=-1, try_number=1, params={},
            inputs={}, code=code, entry_point=None, image="train", outputs_uri=folder, store_uri=self.store.root,
        )  # fmt: skip
        self.store.put_spec(spec)
        manifest = StepManifest(
            status="success", fingerprint=f"{self.count:064d}", outputs=outputs, metrics={}, started_at="", ended_at=""
        )
        self.store.put_manifest(folder, manifest)
        self.store.put_cached(manifest)
        self.age()
        return outputs

    def age(self) -> None:
        for path in self.on_disk(self.store.root).rglob("*"):
            if path.is_file() and path.stat().st_mtime > 1_600_000_000:
                os.utime(path, (1_500_000_000 + self.count * 86400,) * 2)

    def there(self, outputs: dict[str, ArtifactRef]) -> set[str]:
        return {name for name, ref in outputs.items() if self.store.exists(ref.uri)}


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


@pytest.fixture
def runs(store: Store, on_disk: OnDisk) -> Runs:
    return Runs(store, on_disk)


def test_old_runs_go_with_their_cache_entries_and_code(runs: Runs, store: Store) -> None:
    old, new = runs.add(), runs.add()
    freed = collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(old) == set()
    assert runs.there(new) == {"model", "report"}
    assert store.cached(f"{1:064d}") is None
    assert store.cached(f"{2:064d}")
    assert freed.size > 1000
    assert len([f for f in store.files(f"{store.root}/content") if f.uri.endswith("code.zip")]) == 1


def test_what_a_kept_run_reused_stays(runs: Runs, store: Store) -> None:
    first = runs.add()
    runs.add(reuse=first)
    collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(first) == {"model", "report"}


def test_what_a_registered_version_is_made_of_stays(runs: Runs, store: Store) -> None:
    registered, other, _ = runs.add(), runs.add(), runs.add()
    collect(store, held={registered["model"].uri}, keep_runs=1, grace_s=3600)
    assert runs.there(registered) == {"model", "report"}
    assert runs.there(other) == set()


def test_each_dag_keeps_its_own(runs: Runs, store: Store) -> None:
    one, two = runs.add(dag="one"), runs.add(dag="two")
    collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(one) == runs.there(two) == {"model", "report"}


def test_what_is_young_stays(runs: Runs, store: Store) -> None:
    at_work, as_well, old = runs.add(), runs.add(), runs.add()
    young = store.put_content("code.zip", b"of a run that starts now", "code")
    for ref in (at_work["model"], as_well["model"]):
        for path in runs.on_disk(ref.uri).rglob("*"):
            os.utime(path)
    collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(at_work) == runs.there(as_well) == {"model", "report"}
    assert runs.there(old) == set()
    assert store.exists(young.uri)


def test_a_dry_run_frees_nothing_and_says_the_same(runs: Runs, store: Store) -> None:
    old = runs.add()
    runs.add()
    said = collect(store, held=(), keep_runs=1, grace_s=3600, dry_run=True)
    assert runs.there(old) == {"model", "report"}
    assert collect(store, held=(), keep_runs=1, grace_s=3600) == said


def test_a_report_that_lies_beside_an_equal_one_stays(runs: Runs, store: Store) -> None:
    outputs = runs.add()
    runs.store.put_content("other.html", b"report1", "report")
    runs.age()
    collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(outputs) == {"model", "report"}


def test_a_store_may_lie_below_a_folder_named_runs(store: Store, on_disk: OnDisk) -> None:
    store = Store(f"{store.root}/runs/home/store")
    runs = Runs(store, on_disk)
    old, new = runs.add(), runs.add()
    collect(store, held=(), keep_runs=1, grace_s=3600)
    assert runs.there(old) == set()
    assert runs.there(new) == {"model", "report"}


def test_what_a_sweep_noted_of_a_trial_goes_by_its_age(runs: Runs, store: Store) -> None:
    noted = StepManifest(status="success", fingerprint="a" * 64, outputs={}, metrics={"trial": {}}, started_at="", ended_at="")
    store.put_cached(noted)
    assert collect(store, held=(), keep_runs=1, grace_s=3600).uris == []
    runs.age()
    assert collect(store, held=(), keep_runs=1, grace_s=3600).uris == [store.cache_uri("a" * 64)]
