"""The benchmarks run and say what they found; whether a goal is met is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_benchmark_leaves_its_figures_beside_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"handover": {"value": 1.0, "unit": "ratio", "goal": "<= 1.1"}}))
    command = [sys.executable, "-m", "benchmarks", "parse", "--repeat", "1", "--json", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    figures = json.loads(path.read_text())
    assert figures.keys() == {"handover", "parse", "parse.seconds", "parse.empty_seconds"}
    assert figures["parse"]["goal"] == "<= 0.1"
    more = figures["parse.seconds"]["value"] - figures["parse.empty_seconds"]["value"]
    assert figures["parse"]["value"] == pytest.approx(more, abs=0.002), "the difference, each of the three rounded"
