"""For the tests of a pipeline's folder: a model with a predictor in the server that a rollout would start for it.

::

    with served(steps["train"].outputs["model"], tmp_path) as url:
        answer = httpx.post(f"{url}/infer", json=request).json()
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, SpecError
from tradewind.runtimes.environments import Environments
from tradewind.serving.local import models, predictor
from tradewind.serving.local.mlserver import environment
from tradewind.serving.local.process import free_port

NAME, VERSION = "tested", "1"
_LIMIT_S = 60.0


@contextmanager
def served(model: ArtifactRef, scratch: Path) -> Iterator[str]:
    """The URL of a model in its predictor's own environment, for the time of the block: ``{url}/infer``.

    Args:
        model: the train step's output.
        scratch: a folder for a copy of it and the server's log.

    Raises:
        SpecError: the model has no predictor.
        RolloutAborted: it cannot be served; carries the end of the log.
    """
    from tradewind.settings import Settings

    folder = models.fetch(scratch / "models", model)
    if not predictor.is_one(folder):
        raise SpecError(f"{model.uri} has no predictor: expected a model that was trained with `predictor=`")
    python = Environments(Settings.load().home / "envs").python(predictor.IMAGE, print)
    port, log = free_port(), scratch / "server.log"
    command = predictor.command(
        python, folder=scratch, port=port, target=NAME, version=VERSION, model=folder, fault=None
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v2/models/{NAME}"
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=scratch, env=environment(), stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        _wait(server, f"{url}/ready", log)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    ended = "is not ready" if server.poll() is None else f"ended with exit code {server.returncode}"
    raise RolloutAborted(f"The predictor's server {ended}: {log.read_text(errors='replace')[-2000:]}")
