"""200 MB of table from one step to the next, beside a bare Parquet file written and read."""

from __future__ import annotations

import json
import subprocess

from benchmarks.measure import BUILD, ROOT, Figure, compared
from tradewind.runtimes.environments import Environments


def handover(repeat: int) -> list[Figure]:
    """In the environment that the steps have; see `handover_step`."""
    python = Environments(ROOT / ".tradewind" / "envs").python("data")
    script = ROOT / "benchmarks" / "handover_step.py"
    done = subprocess.run(
        [python, script, BUILD / "handover", str(3 * repeat)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    megabytes = Figure(name="handover.megabytes", value=found["megabytes"], unit="MB")
    return [*compared("handover", "parquet", found["ours"], found["theirs"], "<= 1.1"), megabytes]
