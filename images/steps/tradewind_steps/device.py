"""Which device there is to learn on. Nothing pretends: who asked for a GPU is told when there is none."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Any

from tradewind.errors import RuntimeUnavailable

log = logging.getLogger("tradewind")


def choose(resources: dict[str, Any], *, require_gpu: bool = False) -> str:
    """``cuda`` where the profile asks for a GPU and there is one, else ``cpu``; also says so in the log.

    Raises:
        RuntimeUnavailable: a GPU is required and there is none.
    """
    wanted = require_gpu or resources.get("device") == "gpu"
    gpus = count_gpus() if wanted else 0
    if require_gpu and not gpus:
        raise RuntimeUnavailable("require_gpu is set and there is no GPU here: CUDA's driver is missing or sees no device")
    if wanted and not gpus:
        log.warning("The profile asks for a GPU and there is none here: training on the CPU")
        return "cpu"
    log.info("Training on %s", f"the GPU ({gpus} there)" if gpus else "the CPU")
    return "cuda" if gpus else "cpu"


def used(learned_on: str | None, chosen: str, *, require_gpu: bool = False) -> str:
    """The device that a model was learned on, ``cuda`` or ``cpu``; also warns where it is not the GPU that was chosen.

    Args:
        learned_on: what the model itself says (`tradewind_steps.flavors.learned_on`); None where it says nothing, and the chosen
            one is taken for granted.

    Raises:
        RuntimeUnavailable: a GPU is required and was not used.
    """
    if learned_on is None or learned_on == chosen or chosen == "cpu":
        return learned_on or chosen
    why = "XGBoost learned on the CPU: it can use no GPU here, or the train function did not pass it params['device']"
    if require_gpu:
        raise RuntimeUnavailable(f"require_gpu is set, and {why}")
    log.warning("The profile asks for a GPU, and %s", why)
    return "cpu"


def count_gpus() -> int:
    """How many devices CUDA's driver sees; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def limit_threads(resources: dict[str, Any]) -> None:
    """No more threads than the profile has cores; before numerical libraries are imported, which read this once.
    Threads that wait sleep: spinning, they take from each other what cores there are."""
    cores = int(resources.get("cpu") or 0)
    if cores:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(cores, os.cpu_count() or cores))))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
