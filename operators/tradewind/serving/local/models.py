"""Copies of the models that serve: checked once against their hash, then nobody else's to change or to delete."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, StoreError
from tradewind.store import Store, hash_folder


def fetch(folder: Path, model: ArtifactRef) -> Path:
    """The model as a local folder below ``folder``, named after its hash; copied from the store unless it is there.

    Raises:
        RolloutAborted: it is not in the store, is not what its hash says, or is no MLflow model.
        StoreError: the store cannot be read, or the disk is full.
    """
    path = folder / model.sha256
    if path.is_dir() and hash_folder(path) == model.sha256:
        return path
    shutil.rmtree(path, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            copy = _copy(model, Path(scratch))
            _check(copy, model)
            copy.replace(path)
    except OSError as error:
        raise StoreError(f"The model cannot be copied to {folder}: {error.strerror or error}") from error
    return path


def remove(folder: Path, sha256: str) -> None:
    shutil.rmtree(folder / sha256, ignore_errors=True)


def _copy(model: ArtifactRef, scratch: Path) -> Path:
    try:
        source = Store(model.uri).download(model.uri, scratch)
        if source.is_relative_to(scratch):
            return source
        return Path(shutil.copytree(source, scratch / "model"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RolloutAborted(f"There is no model folder at {model.uri}") from error
    except shutil.Error as error:
        raise StoreError(f"The model cannot be copied from {model.uri}: {error.args[0][0][2]}") from error


def _check(copy: Path, model: ArtifactRef) -> None:
    if (got := hash_folder(copy)) != model.sha256:
        raise RolloutAborted(
            f"The model at {model.uri} is not the one that was trained: expected sha256 {model.sha256}, got {got}. "
            "Its files changed after they were written"
        )
    if not (copy / "MLmodel").is_file():
        raise RolloutAborted(f"{model.uri} is no model in MLflow's format: it has no file MLmodel")
