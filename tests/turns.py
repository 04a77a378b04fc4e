"""One cluster, that of KUBECONFIG, for tests of several processes: side by side, but for one that takes a part away from all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLUSTER = hashlib.sha256(os.environ.get("KUBECONFIG", "").encode()).hexdigest()[:8]
PLACE = Path(tempfile.gettempdir(), f"tradewind-test-{CLUSTER}-{os.getuid()}")


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Hold the cluster with others or, once they have let it go, ``alone``. Who waits to be alone lets nobody past."""
    with PLACE.with_suffix(".door").open("w") as door, PLACE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
