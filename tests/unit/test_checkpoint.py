"""What a training saves is found by its next try, whole, and by nobody else."""

from __future__ import annotations

import itertools
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live import again_and_again

from tradewind.collect import collect
from tradewind.store import Store
from tradewind_steps.checkpoint import Checkpoint

KEY, OTHER = "a" * 64, "b" * 64


class Tries:
    """Tries of a step, each with a folder of its own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder

    def begin(self, name: str, key: str = KEY) -> Checkpoint:
        scratch = self.folder / name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        return Checkpoint(scratch / "checkpoint", store=self.store, key=key, writer=f"file:///runs/{name}")

    def age(self) -> None:
        """What is saved after this is newer by the store's clock."""
        time.sleep(0.02)


@pytest.fixture(params=["file", "memory"])
def tries(request: pytest.FixtureRequest, tmp_path: Path) -> Tries:
    """On a local store, and on one that is not."""
    root = str(tmp_path / "store") if request.param == "file" else f"memory://{tmp_path.name}"
    return Tries(Store(root), tmp_path / "scratch")


def save(checkpoint: Checkpoint, **files: str) -> None:
    for name, text in files.items():
        path = checkpoint.folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    checkpoint.saved()


def killed_while_writing(path: Path) -> None:
    """A process writes the file and is ended by SIGKILL when half of it is there."""
    code = (
        "import os, pathlib, sys; from tradewind.files import _placed\n"
        "with _placed(pathlib.Path(sys.argv[1])) as file: file.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9


def contents(checkpoint: Checkpoint) -> dict[str, str]:
    files = (path for path in checkpoint.folder.rglob("*") if path.is_file())
    return {path.relative_to(checkpoint.folder).as_posix(): path.read_text() for path in files}


def test_a_fresh_start_has_an_empty_folder(tries: Tries) -> None:
    first = tries.begin("1")
    assert contents(first) == {}
    assert first.resumed_from is None


def test_the_next_try_has_what_was_saved_last(tries: Tries) -> None:
    first = tries.begin("1")
    save(first, model="20 rounds", rank0__state="x")
    save(first, model="40 rounds")
    (first.folder / "model").write_text("half of 60 rou")  # killed while it wrote
    second = tries.begin("2")
    assert contents(second) == {"model": "40 rounds", "rank0/state": "x"}
    assert second.resumed_from


def test_what_the_training_removed_is_gone(tries: Tries) -> None:
    first = tries.begin("1")
    save(first, old="1", new="2")
    (first.folder / "old").unlink()
    first.saved()
    assert contents(tries.begin("2")) == {"new": "2"}


def test_another_key_finds_nothing(tries: Tries) -> None:
    save(tries.begin("1"), model="40 rounds")
    assert contents(tries.begin("2", OTHER)) == {}


def test_a_success_leaves_nothing(tries: Tries) -> None:
    """However many tries it took."""
    for name in ("1", "2", "3"):
        save(tries.begin(name), model=name)
        tries.age()
    last = tries.begin("4")
    assert contents(last) == {"model": "3"}
    last.remove()
    assert tries.store.checkpoints(KEY) == []


def test_two_that_do_the_same_at_once_do_not_meet(tries: Tries) -> None:
    one = tries.begin("one")
    save(one, model="one 20")
    tries.age()
    two = tries.begin("two")
    assert contents(two) == {"model": "one 20"}
    save(two, model="two 40")
    tries.age()
    save(one, model="one 60")
    assert contents(one) == {"model": "one 60"}
    assert contents(tries.begin("three")) == {"model": "one 60"}, "the newest"
    one.remove()
    assert contents(tries.begin("three")) == {"model": "two 40"}, "the other's stays, until it has done its work"
    two.remove()
    assert tries.store.checkpoints(KEY) == []


def test_a_pod_that_takes_another_ones_place_goes_on(tries: Tries) -> None:
    """It is of the same try, so it writes where it reads."""
    save(tries.begin("1"), model="20")
    again = tries.begin("1")
    save(again, model="40")
    assert contents(tries.begin("1")) == {"model": "40"}


def test_one_that_is_broken_is_left_out(tries: Tries, caplog: pytest.LogCaptureFixture) -> None:
    save(tries.begin("one"), model="whole")
    tries.age()
    save(tries.begin("two", OTHER), model="x" * 1000)
    broken = tries.store.read(tries.store.checkpoints(OTHER)[0].uri).replace(b"x" * 500, b"y" * 500, 1)
    tries.store.write(tries.store.checkpoint_uri(KEY, "two"), broken)
    with caplog.at_level(logging.WARNING):
        assert contents(tries.begin("three")) == {"model": "whole"}
    assert "cannot be read and is left out" in caplog.text


def test_a_store_that_takes_nothing_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries = Tries(Store(str(tmp_path / "store")), tmp_path / "scratch")
    first = tries.begin("1")
    save(first, model="20")
    where = tmp_path / "store" / "checkpoints" / KEY[:2]
    kept = where.with_name("kept")
    where.rename(kept)
    where.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        save(first, model="40")
    assert "could not be kept" in caplog.text
    where.unlink()
    kept.rename(where)
    assert contents(tries.begin("2")) == {"model": "20"}


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    """While one saves all the time, whoever starts finds one state or the next."""
    tries = Tries(Store(str(tmp_path / "store")), tmp_path / "scratch")
    first, digits, seen = tries.begin("1"), itertools.cycle("0123456789"), set()

    def save_next() -> None:
        digit = next(digits)
        save(first, a=digit * 100_000, b=digit * 100_000)

    save_next()
    with again_and_again(save_next, every_s=0):
        for number in range(30):
            found = contents(tries.begin(f"reader{number}"))
            assert found["a"] == found["b"]
            assert len(set(found["a"])) == 1
            seen.add(found["a"][0])
    assert len(seen) > 1, "it was saved meanwhile"


def test_one_that_is_killed_before_it_removes_the_one_before_leaves_nothing(
    tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tries.begin("1"), model="20")
    tries.age()
    second = tries.begin("2")
    with monkeypatch.context() as killed:
        killed.setattr(tries.store, "delete", lambda uri, **how: None)
        save(second, model="40")
    assert len(tries.store.checkpoints(KEY)) == 2
    third = tries.begin("3")
    assert contents(third) == {"model": "40"}
    third.remove()
    assert tries.store.checkpoints(KEY) == []


def test_what_a_killed_one_left_half_written_goes_with_it(tmp_path: Path) -> None:
    tries = Tries(Store(str(tmp_path / "store")), tmp_path / "scratch")
    first = tries.begin("1")
    save(first, model="20")
    killed_while_writing(Path(tries.store.checkpoints(KEY)[0].uri.removeprefix("file://")))
    assert len(tries.store.files(tries.store.root)) == 2
    tries.begin("2").remove()
    assert tries.store.files(tries.store.root) == []


def test_without_a_key_nothing_is_kept(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    save(checkpoint, model="20")
    checkpoint.remove()
    assert contents(checkpoint) == {"model": "20"}


def test_garbage_collection_frees_old_ones(tries: Tries) -> None:
    save(tries.begin("1"), model="20")
    assert collect(tries.store, held=(), keep_runs=1, grace_s=3600).uris == []
    said = collect(tries.store, held=(), keep_runs=1, grace_s=-1, dry_run=True)
    assert len(said.uris) == 1
    assert contents(tries.begin("2")) == {"model": "20"}
    assert collect(tries.store, held=(), keep_runs=1, grace_s=-1) == said
    assert contents(tries.begin("2")) == {}


@pytest.mark.parametrize("kind", ["cache", "checkpoints"])
def test_garbage_collection_frees_what_is_half_written(tmp_path: Path, kind: str) -> None:
    store = Store(str(tmp_path / "store"))
    killed_while_writing(Path(store.root.removeprefix("file://")) / kind / "aa" / "some.json")
    (left,) = store.files(store.root)
    assert collect(store, held=(), keep_runs=1, grace_s=3600).uris == []
    assert collect(store, held=(), keep_runs=1, grace_s=-1).uris == [left.uri]
    assert store.files(store.root) == []
