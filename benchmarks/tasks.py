"""What the pack's tasks cost beside tasks that do nothing, in one Airflow."""

from __future__ import annotations

import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import ROOT, Figure, compared, in_turns
from benchmarks.stack import FILES, Stack

_AT_ONCE = 8  # as many tasks as the embedded Airflow runs at once


def rerun(made: Stack, repeat: int) -> list[Figure]:
    """All six steps reused, from trigger to end, beside six no-op tasks."""
    made.run("flight_delay")
    ours, theirs = in_turns(lambda: _reused(made), lambda: made.run("noop_chain")[0], 2 * repeat + 1)
    return compared("rerun", "no_op", ours, theirs, "<= 1.5")


def fan_out(made: Stack, repeat: int) -> list[Figure]:
    """A hundred mapped steps that are reused beside a hundred mapped no-ops; before, steps that start a process beside
    bare processes that do the same validation, as many at once."""
    processes = made.run("fan_out_processes")[0] / FILES
    bare = _bare(made) / FILES
    per_step = [
        Figure(name="fanout_process", value=round(processes / bare, 3), unit="ratio"),
        Figure(name="fanout_process.seconds_per_step", value=round(processes, 3), unit="s"),
        Figure(name="fanout_process.bare_seconds_per_step", value=round(bare, 3), unit="s"),
    ]
    ours, theirs = in_turns(lambda: made.run("fan_out")[0], lambda: made.run("noop_fan_out")[0], repeat)
    # The barest task that Airflow can run: no argument rendered, no value handed on.
    bare_task = statistics.median(made.run("bare_fan_out")[0] for _ in range(repeat))
    barest = Figure(name="fanout_reused.bare_operator_seconds", value=round(bare_task, 3), unit="s")
    return [*compared("fanout_reused", "no_op", ours, theirs, "<= 1.3"), barest, *per_step]


def _reused(made: Stack) -> float:
    seconds, run_id = made.run("flight_delay")
    for step in ("validate", "features", "train", "evaluate"):
        assert made.api.result("flight_delay", run_id, step)["reused"], f"{step} was not reused"
    assert not made.api.result("flight_delay", run_id, "rollout")["metrics"]["changed"]
    return seconds


def _bare(made: Stack) -> float:
    """Seconds for as many plain processes that validate one of the files each, as many at once as Airflow runs."""
    files = sorted((made.home / "data" / "fanout").iterdir())
    suite = ROOT / "benchmarks" / "dags" / "fanout" / "expectations.json"
    script = ROOT / "benchmarks" / "plain" / "validate.py"

    def one(number: int) -> None:
        out = made.home / "bare" / str(number)
        subprocess.run([made.python("data"), script, files[number], suite, out, "0"], check=True, capture_output=True)

    started = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, range(len(files))))
    return time.monotonic() - started
