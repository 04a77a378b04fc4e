"""The Java that Spark runs on: is there one, and is it new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tradewind.errors import SpecError

OLDEST = 17
_ADVICE = f"Spark needs Java {OLDEST} or later: install one (apt-get install openjdk-17-jre-headless) or set JAVA_HOME"


def check_java() -> str:
    """The version of the Java that Spark's scripts take: JAVA_HOME's, else the one on the path.

    Raises:
        SpecError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if not program:
        raise SpecError(f"There is no Java {f'in JAVA_HOME={home}' if home else 'on the path'}. {_ADVICE}")
    real = Path(program).resolve()
    version = _version(real)
    if int(version.split(".")[0]) < OLDEST:
        raise SpecError(f"{real} is Java {version}. {_ADVICE}")
    return version


def _version(program: Path) -> str:
    """From the file ``release`` where there is one: asking Java itself costs as much as a small job."""
    release = program.parents[1] / "release"
    text = release.read_text() if release.is_file() else ""
    found = re.search(r'^JAVA_VERSION="(\d[\d.]*)', text, re.MULTILINE)
    if not found:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
        found = re.search(r'version "(\d[\d.]*)', said)
        if not found:
            raise SpecError(f"{program} does not say its version: {said[:200]!r}. {_ADVICE}")
    version = found[1].rstrip(".")
    return version.removeprefix("1.")  # Java 8 calls itself 1.8
