"""``tradewind demo`` killed, interrupted and robbed of parts of Airflow, and the drill of a bad version.

One story in order, on one home folder.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from demos import PATIENCE, Start, said
from live import gone, until
from processes import environment, of_home, of_step, words

from tradewind.contract import SPEC_VARIABLE

pytestmark = pytest.mark.long


def test_interrupted_midway(start: Start, home: Path, tmp_path: Path) -> None:
    """Killed while a step runs, a demo can end nothing: the next one does, and does not wait for the run that was cut off.
    Ctrl-C while a step runs leaves nothing."""
    killed = start("--conf", '{"trees": 7}')
    learning(killed, home)
    left = [p for p in of_home(home) if p.pid != killed.pid]
    killed.kill()
    killed.wait(10)
    assert len([p for p in left if p.is_running()]) > 8, "nobody was there to end them"

    stopped = start("--exit", "--conf", '{"trees": 8}')
    learning(stopped, home, but=left)
    gone(left, within_s=5)
    tree = [p for p in of_home(home) if p.pid != stopped.pid]
    assert len(tree) > 8
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    gone(tree, within_s=5)
    assert of_home(home) == []

    again = start("--exit", "--json", str(tmp_path / "figures.json"))
    assert again.wait(PATIENCE) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert sorted(name for name, task in figures["tasks"].items() if task["reused"]) == ["features", "validate"]
    assert figures["prediction"]["version"] == "1"
    assert of_home(home) == []


def test_a_drill_shows_how_a_bad_version_is_taken_back(start: Start, home: Path, tmp_path: Path) -> None:
    process = start("--exit", "--canary-fault", "errors", "--json", str(tmp_path / "figures.json"))
    assert process.wait(PATIENCE) == 0
    drill = json.loads((tmp_path / "figures.json").read_text())["drill"]
    assert (drill["fault"], drill["version"], drill["champion"]) == ("errors", "2", "1")
    assert drill["reason"].startswith("errors: ")
    assert drill["canary_errors"] > 0 and drill["canary_requests"] >= drill["canary_errors"]
    assert drill["champion_requests"] > 0 and drill["champion_errors"] == 0, "the champion never stopped serving"
    assert 0 <= drill["seconds_to_zero"] < 10 and drill["seconds_to_detect"] > 0
    output = said(tmp_path)
    assert "A drill: the next version is a bad one (errors)" in output
    assert drill["reason"].split(":")[0] in output
    assert of_home(home) == []


def test_parts_of_airflow_that_die_are_started_again(start: Start, home: Path, tmp_path: Path) -> None:
    """In the middle of a training: the run goes on to its end."""
    process = start("--exit", "--conf", '{"trees": 110}', "--json", str(tmp_path / "figures.json"))
    learning(process, home)
    for part in ("airflow scheduler", "airflow api_server"):
        [found] = [p for p in psutil.Process(process.pid).children() if part in " ".join(words(p))]
        found.kill()
    assert process.wait(PATIENCE) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["tasks"]["train"] | {"seconds": 0} == {"seconds": 0, "state": "success", "reused": False}
    for part in ("scheduler", "api-server"):
        assert f"airflow-{part} ended with exit code -9 and is started again" in said(tmp_path)
    assert of_home(home) == []


def learning(process: subprocess.Popen[str], home: Path, *, but: Sequence[psutil.Process] = ()) -> None:
    """Wait until a process of this home's train step runs that is none of ``but``."""

    def look() -> bool:
        assert process.poll() is None, "the demo has ended"
        specs = [environment(p).get(SPEC_VARIABLE, "") for p in of_step("flight_delay") if p not in but]
        return any("/train/" in spec and str(home) in spec for spec in specs)

    until(look, within_s=PATIENCE, what="the train step")
