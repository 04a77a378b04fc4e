"""The serve image in a pod of Seldon's: the one image both fetches a model and serves it (but for custom predictors).

``fetch``, the init container, is started as Seldon starts every such image: with the model's URI and a folder. The URI ends
with the hash that the model must have. ``serve``, the model's container, is MLServer, told by its environment what to serve.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from tradewind.errors import RolloutAborted, StoreError, TradewindError
from tradewind.store import Store, hash_folder

log = logging.getLogger("tradewind")
SERVE = "serve"
AGAIN = 75  # EX_TEMPFAIL: it may work next time, unlike with any other code
# Seldon has Envoy keep an idle connection for 60 s. MLServer would close it after 5, perhaps while a request is on its way.
_KEEP_ALIVE_S = 75
_LAST_WORDS = Path("/dev/termination-log")
_MOST = 3000  # characters: the kubelet keeps 4 KiB


def run(arguments: list[str]) -> int:
    if arguments == [SERVE]:
        return serve()
    if len(arguments) != 2:
        log.error("Expected `%s`, or a model's URI and a folder, got %s", SERVE, arguments)
        return 2
    try:
        fetch(arguments[0], Path(arguments[1]))
    except TradewindError as error:
        log.error("%s", error)
        _leave(str(error))
        return AGAIN if error.retryable else 1
    return 0


def serve() -> int:
    """Be MLServer. It starts in an empty folder: what it serves is in its environment, whatever lies beside the model."""
    import uvicorn
    from mlserver.cli import main

    from tradewind_steps.serve.runtime import Runtime

    load, plain = Runtime.load, uvicorn.Config.__init__

    async def or_end(self: Runtime) -> bool:
        """MLServer goes on without a model that it cannot load, says for a moment that it is ready, and ends with exit code 0."""
        try:
            return await load(self)
        except Exception:
            words = traceback.format_exc()
            log.error("%s", words)
            _leave(words[-_MOST:])
            os._exit(1)

    def patient(self: uvicorn.Config, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **{"timeout_keep_alive": _KEEP_ALIVE_S, **options})

    Runtime.load = or_end  # type: ignore[method-assign]
    uvicorn.Config.__init__ = patient  # type: ignore[method-assign]
    sys.argv = ["mlserver", "start", tempfile.mkdtemp(prefix="mlserver-")]
    main()
    return 0


def fetch(uri: str, folder: Path) -> None:
    """Put a model into ``folder``.

    Raises:
        RolloutAborted: it is not there, not what its hash says, or no MLflow model.
        StoreError: the store cannot be read.
    """
    source, _, sha256 = uri.partition("#sha256=")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        try:
            found = Store(source).download(source, Path(scratch))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RolloutAborted(f"There is no model folder at {source}") from error
        if not found.is_dir():
            raise RolloutAborted(f"There is no model folder at {source}")
        if (got := hash_folder(found)) != sha256:
            raise RolloutAborted(
                f"The model at {source} is not the one that was trained: expected sha256 {sha256 or 'in its URI'}, got {got}. "
                "Its files changed after they were written"
            )
        if not (found / "MLmodel").is_file():
            raise RolloutAborted(f"{source} is no model in MLflow's format: it has no file MLmodel")
        try:
            _place(found, folder)
        except (OSError, shutil.Error) as error:
            raise StoreError(f"The model cannot be copied to {folder}: {error}") from error


def _place(found: Path, folder: Path) -> None:
    """Entry by entry, in place of what an attempt before left: the folder itself is the kubelet's."""
    for entry in found.iterdir():
        target = folder / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        if found.is_relative_to(folder):  # a copy already
            entry.replace(target)
        elif entry.is_dir():
            shutil.copytree(entry, target)
        else:
            shutil.copyfile(entry, target)


def _leave(words: str) -> None:
    """For whoever asks the pod why: the kubelet shows what is in that file."""
    try:
        _LAST_WORDS.write_text(words)
    except OSError:
        log.debug("There is no %s: this is no pod", _LAST_WORDS)
