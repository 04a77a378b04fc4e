"""The user's function in several processes, one for each GPU, started and watched by PyTorch's elastic agent as ``torchrun``
does: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and the rest are in their environment.

What the first one returns is the model. What one raises is raised here; the others are ended. All that is unpickled was
pickled by the same step.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tradewind.errors import StepFailed
from tradewind_steps.checkpoint import Checkpoint
from tradewind_steps.dataset import Dataset
from tradewind_steps.process import configure_logging
from tradewind_steps.step import load_function

log = logging.getLogger("tradewind")
_MODEL = "model.pkl"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each process is given.

    Attributes:
        folder: where the first one leaves the model, and each its error.
        mlflow_run_id: the run that the first one logs to.
    """

    entry_point: str
    dataset: Dataset
    params: dict[str, Any]
    folder: Path
    mlflow_run_id: str


def count(resources: dict[str, Any], gpus: int) -> int:
    """How many processes learn: as many as the profile asks for and there are GPUs, one where there is no PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return 1
    return max(1, min(int(resources.get("gpus") or 1), gpus))


def run(work: Work, number: int) -> Any:
    """Run the function in ``number`` processes; what the first one returned.

    Raises:
        StepFailed: one was ended from outside, by a signal.
        whatever the function raised, with its own stack as a note.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    work.folder.mkdir()
    packed = work.folder / "work.pkl"
    packed.write_bytes(pickle.dumps(work))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=number, run_id="train", rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1", max_restarts=0, start_method="spawn",
    )  # fmt: skip
    log.info("Learning in %d processes, one for each GPU", number)
    try:
        elastic_launch(config, _learn)(str(packed))
    except ChildFailedError as error:
        raise _cause(work.folder, error) from None
    return pickle.loads((work.folder / _MODEL).read_bytes())  # noqa: S301


def _learn(packed: str) -> None:
    """In each process."""
    configure_logging()
    rank = int(os.environ["RANK"])
    work: Work = pickle.loads(Path(packed).read_bytes())  # noqa: S301
    dataset = work.dataset
    if rank == 0:
        os.environ["MLFLOW_RUN_ID"] = work.mlflow_run_id
    elif dataset.checkpoint:
        dataset = replace(dataset, checkpoint=Checkpoint(dataset.checkpoint.folder))  # all read it, the first one keeps it
    try:
        returned = load_function(work.entry_point)(dataset, dict(work.params))
        if rank == 0:
            (work.folder / _MODEL).write_bytes(pickle.dumps(returned))
    except Exception as error:
        error.add_note(f"In process {rank}:\n{traceback.format_exc()}")
        (work.folder / f"error{rank}.pkl").write_bytes(_dumped(error))
        raise


def _dumped(error: Exception) -> bytes:
    try:
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301
    except Exception:
        data = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return data


def _cause(folder: Path, failed: Any) -> Exception:
    """What ended the processes: the error of the one that failed first, for the others then fail as they wait for it."""
    rank, failure = failed.get_first_failure()
    left = folder / f"error{rank}.pkl"
    if left.exists():
        error: Exception = pickle.loads(left.read_bytes())  # noqa: S301
        return error
    return StepFailed(f"Process {rank} of the training was ended by {failure.signal_name() or failure.exitcode}")
