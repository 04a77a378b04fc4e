"""What `tradewind` says to type is what works where it was typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("typed", "path", "said"),
    [
        ([f"{BIN.name}/tradewind"], "", f"{BIN.name}/tradewind"),
        (["tradewind"], f"{BIN}:", "tradewind"),
        ([sys.executable, "-m", "tradewind"], "", f"{sys.executable} -m tradewind"),
    ],
)
def test_the_command_to_run_a_new_pipeline_is_the_one_that_made_it(
    typed: list[str], path: str, said: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "PATH": f"{path}/usr/bin:/bin", "COLUMNS": "300", "AIRFLOW_HOME": str(tmp_path / "airflow")}
    make = [*typed, "init", "mine", "--template", "air_time", "--dags", str(tmp_path / "my dags"), "--home", str(tmp_path)]
    done = subprocess.run(" ".join(f"'{word}'" for word in make), shell=True, cwd=BIN.parent, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Run it with: {said} demo --dag mine --dags '{tmp_path}/my dags' --home {tmp_path}"
