"""A training whose process is killed, on the sample of flights: the task's next try goes on, and the model is the one of an
unbroken run."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from in_process import Dags, Run
from live import copy_template

ALL_COLUMNS = ("colsample_bytree=0.5", "colsample_bytree=1")


def pipeline(dags: Dags, name: str, *change: str) -> str:
    """A copy of the template that tries again at once, with a line of train.py changed."""
    folder = copy_template(dags.folder, name)
    replace(folder / "dag.py", "timedelta(seconds=10)", "timedelta(seconds=1)")
    if change:
        replace(folder / "train.py", *change)
    return name


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@contextmanager
def killed(dags: Dags, times: int, *, after: int = 20) -> Iterator[list[int]]:
    """Ends as many processes of steps by SIGKILL, each when it has saved ``after`` rounds or more; yields their ids."""
    ended, pids = threading.Event(), list[int]()

    def watch() -> None:
        seen = saves(dags)
        while len(pids) < times and not ended.wait(0.01):
            found = saves(dags)
            if any(rounds >= after for key, rounds in found.items() if key not in seen):
                pids.extend(kill_steps(dags))
            seen = found

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield pids
    finally:
        ended.set()
        thread.join()


def saves(dags: Dags) -> dict[tuple[str, float], int]:
    """By file and time, how many rounds are saved."""
    found = {}
    for file in dags.store.files(f"{dags.store.root}/checkpoints"):
        if not file.uri.endswith(".zip"):
            continue  # under its hidden name: whole, it may be, but not in its place yet
        with (
            contextlib.suppress(FileNotFoundError),  # the next one has taken its place
            zipfile.ZipFile(file.uri.removeprefix("file://")) as packed,
        ):
            found[file.uri, file.modified] = json.loads(packed.read("trees.json"))["rounds"]
    return found


def kill_steps(dags: Dags) -> list[int]:
    pids = []
    for child in psutil.Process(dags.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie too: one that was killed just now
            if child.cmdline()[-1:] == ["tradewind_steps"]:
                child.kill()
                pids.append(child.pid)
    return pids


def resumed(run: Run) -> list[int]:
    """The rounds that the tries of a run went on from."""
    return [int(number) for number in re.findall(r"info +\] Resumed from round (\d+)", run.log)]


def none_is_left(dags: Dags) -> bool:
    return not dags.store.files(f"{dags.store.root}/checkpoints")


@pytest.fixture(scope="module")
def unbroken(dags: Dags) -> Run:
    run = dags.run(pipeline(dags, "unbroken", *ALL_COLUMNS), trees=300)
    assert run.state == "success"
    assert resumed(run) == []
    assert none_is_left(dags)
    return run


def test_without_sampling_the_model_is_the_same(dags: Dags, unbroken: Run) -> None:
    """Killed twice: a resumed training saves too."""
    with killed(dags, times=2) as pids:
        run = dags.run(pipeline(dags, "broken", *ALL_COLUMNS), trees=300)
    assert len(pids) == 2
    assert run.state == "success"
    assert run.tasks["train"]["try_number"] == 3
    assert "was ended by SIGKILL" in run.log
    first, second = resumed(run)
    assert 20 <= first < second < 300
    ours, theirs = run.metrics("train"), unbroken.metrics("train")
    assert ours["content_sha256"] == theirs["content_sha256"], "the model's file, byte by byte: trees, learning curve and all"
    assert ours["auc"] == theirs["auc"]
    assert none_is_left(dags)


@pytest.mark.long
def test_with_sampling_it_is_as_good(dags: Dags) -> None:
    """Late in the training: on a sample of flights two that draw other columns from the first tree on differ by more."""
    whole = dags.run(pipeline(dags, "sampled"), trees=100)
    with killed(dags, times=1, after=60) as pids:
        run = dags.run(pipeline(dags, "sampled_broken"), trees=100)
    assert len(pids) == 1
    assert run.state == whole.state == "success"
    assert len(resumed(run)) == 1
    assert run.metrics("train")["content_sha256"] != whole.metrics("train")["content_sha256"], "another sample of columns"
    assert run.metrics("train")["auc"] == pytest.approx(whole.metrics("train")["auc"], abs=0.002)


@pytest.mark.long
def test_what_changes_the_result_starts_afresh(dags: Dags) -> None:
    """A run that failed for good leaves its checkpoint: the next one with the same parameters takes it, no other does."""
    name = pipeline(dags, "afresh")
    replace(dags.folder / name / "dag.py", '"retries": 2', '"retries": 0')
    with killed(dags, times=1):
        failed = dags.run(name, trees=300)
    assert failed.states()["train"] == "failed"
    assert not none_is_left(dags)
    other = dags.run(name, trees=301)
    assert other.state == "success"
    assert resumed(other) == []
    assert not none_is_left(dags), "another's is not removed"
    same = dags.run(name, trees=300)
    assert same.state == "success"
    assert len(resumed(same)) == 1
    assert none_is_left(dags)


@pytest.mark.long
def test_without_reuse_a_run_goes_on_from_its_own_work_only(dags: Dags) -> None:
    name = pipeline(dags, "without_reuse")
    dag = dags.folder / name / "dag.py"
    replace(dag, 'task_id="train",', 'task_id="train", reuse=False,')
    replace(dag, '"retries": 2', '"retries": 1')
    with killed(dags, times=2) as pids:
        failed = dags.run(name, trees=300)
    assert len(pids) == 2
    assert failed.states()["train"] == "failed"
    assert len(resumed(failed)) == 1
    again = dags.run(name, trees=300)
    assert again.state == "success"
    assert resumed(again) == []
