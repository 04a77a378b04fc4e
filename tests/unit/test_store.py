"""The store, in a folder and on S3: whole or nothing, first wins, errors that name the place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tradewind.contract import ArtifactRef, StepManifest, StepSpec, to_json
from tradewind.errors import SpecError, StoreError
from tradewind.store import Store, segment


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


def manifest(fingerprint: str | None = None, outputs: dict[str, ArtifactRef] | None = None, **metrics: int) -> StepManifest:
    return StepManifest(
        status="success",
        fingerprint=fingerprint,
        outputs=outputs or {},
        metrics=dict(metrics),
        started_at="2013-01-01",
        ended_at="2013-01-02",
    )


def test_the_first_manifest_wins(store: Store) -> None:
    folder = store.new_try("dag", "run", "task", -1, 1)
    assert store.put_manifest(folder, manifest(n=1)).metrics == {"n": 1}
    assert store.put_manifest(folder, manifest(n=2)).metrics == {"n": 1}


def test_of_many_that_commit_at_once_all_get_the_same(store: Store) -> None:
    folder = store.new_try("dag", "run", "task", -1, 1)
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(store.put_manifest(folder, manifest(n=n)).metrics["n"])) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 16
    assert len(set(got)) == 1
    assert not [name for name in store.names(folder) if name.startswith(".")]


def test_a_try_that_is_counted_again_gets_a_folder_of_its_own(store: Store) -> None:
    first = store.new_try("dag", "run", "task", -1, 1)
    store.put_manifest(first, manifest(n=1))
    second = store.new_try("dag", "run", "task", -1, 1)
    assert second != first
    store.put_manifest(second, manifest(n=2))
    third = store.new_try("dag", "run", "task", -1, 2)
    assert store.latest_manifest("dag", "run", "task") == (f"{second}/manifest.json", manifest(n=2))
    store.put_manifest(third, manifest(n=3))
    found = store.latest_manifest("dag", "run", "task")
    assert found
    assert found[1].metrics == {"n": 3}


def test_an_entry_whose_artifact_is_gone_is_no_hit(store: Store) -> None:
    ref = store.put_content("report.html", b"<p>", "report")
    store.put_cached(manifest("f" * 64, {"report": ref}))
    assert store.cached("f" * 64)
    store.delete(ref.uri)
    assert store.cached("f" * 64) is None
    assert not store.exists(store.cache_uri("f" * 64))


def test_equal_content_is_stored_once(store: Store) -> None:
    assert store.put_content("a.json", b"1", "report") == store.put_content("a.json", b"1", "report")
    assert store.put_content("a.json", b"2", "report").sha256 != store.put_content("a.json", b"1", "report").sha256


@pytest.mark.parametrize("name", ["manual__2013-01-01T00:00:00+00:00", "..", "", "a/b", "ü", "x" * 300])
def test_any_name_is_one_segment_and_names_stay_apart(name: str) -> None:
    found = segment(name)
    assert "/" not in found
    assert found not in ("", ".", "..")
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in found)
    assert segment(name + "x") != found


def test_a_reference_is_to_content_not_to_files(store: Store, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("a\n1\n")
    first = store.refer(str(data))
    os.utime(data, (0, 0))
    assert store.refer(str(data)) == first
    data.write_text("a\n2\n")
    assert store.refer(str(data)).sha256 != first.sha256


def test_a_folder_is_referred_to_without_its_side_files(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(b"x")
    first = store.refer(str(folder))
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").write_bytes(b"c")
    assert store.refer(str(folder)) == first


def test_what_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no file or folder at .*nowhere\.csv"):
        store.refer(str(tmp_path / "nowhere.csv"))
    with pytest.raises(FileNotFoundError):
        store.get_manifest(f"{store.root}/nowhere.json")


def test_a_spec_survives_the_way_and_another_schema_is_refused(store: Store) -> None:
    ref = ArtifactRef(uri="file:///x", sha256="0", size=1, kind="dataset")
    spec = StepSpec(
        step="train", dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, params={"a": [1, None, "ü"]},
        inputs={"x": ref}, code=ref, entry_point="a:b", image="train", outputs_uri=store.run_uri("d"), store_uri=store.root,
    )  # fmt: skip
    uri = store.put_spec(spec)
    assert store.get_spec(uri) == spec
    store.write(uri, store.read(uri).replace(b'"schema":1', b'"schema":99'))
    with pytest.raises(SpecError, match="schema 99, expected 1"):
        store.get_spec(uri)


FULL = """
import resource, signal, sys
from tradewind.store import Store
from tradewind.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = Store(sys.argv[1])
try:
    store.put_content("big.bin", b"0" * 5000, "report")
except StoreError as error:
    print("StoreError", error)
print(store.files(store.root))
"""


def test_a_disk_that_takes_no_more_leaves_nothing_half_written(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert "StoreError file://" in said
    assert "big.bin: File too large" in said
    assert said.splitlines()[-1] == "[]"


def test_a_path_with_spaces_is_the_same_place_as_its_uri(tmp_path: Path) -> None:
    folder = tmp_path / "my data 50%20"
    store = Store(str(folder))
    store.write(f"{store.root}/a b.txt", b"here")
    assert (folder / "a b.txt").read_bytes() == b"here"
    reference = store.refer(str(folder / "a b.txt"))
    assert store.read(reference.uri) == b"here"
    assert store.size(reference.uri) == 4


def test_a_run_made_anew_is_newer_than_all_tries_of_the_one_before(store: Store) -> None:
    for try_number in (1, 2, 10):
        store.put_manifest(store.new_try("dag", "run", "task", -1, try_number), manifest(n=try_number))
    found = store.latest_manifest("dag", "run", "task")
    assert found and found[1].metrics == {"n": 10}
    anew = store.new_try("dag", "run", "task", -1, 1)
    store.put_manifest(anew, manifest(n=11))
    found = store.latest_manifest("dag", "run", "task")
    assert found and found[1].metrics == {"n": 11}
    store.put_manifest(store.new_try("dag", "run", "task", -1, 2), manifest(n=12))
    found = store.latest_manifest("dag", "run", "task")
    assert found and found[1].metrics == {"n": 12}
    assert store.tries(store.run_uri("dag", "run", "task", -1))[1] == anew


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {1: "a", "b": 2}], ids=["nan", "set", "keys"])
def test_what_is_no_json_is_shown(value: Any) -> None:
    with pytest.raises(SpecError, match=r"plain JSON .*, got \{'params': \{'speed':"):
        to_json({"params": {"speed": value}})
