"""One server for one model version: MLServer, or, where the model says so, its author's predictor."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from tradewind.serving.local import predictor
from tradewind.serving.local.files import write_json
from tradewind.serving.local.process import ServerProcess, free_port

_READY_LIMIT = 120.0  # seconds: a cold disk and a busy machine took 42
_IMAGE = "serve"
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "MLFLOW_TRACKING_URI")
# Settings of ours that a model's server has no business with.
_PREFIXES = ("AIRFLOW", "_AIRFLOW", "MLSERVER_", "SELDON_", "FLASK_")


class ModelServer:
    """A model version that answers V2 requests on a port of its own, on loopback.

    Args:
        pythons: by image, the interpreter of its environment.
        target, version: as which the model answers; responses name both.
        model: the model's folder.
        fault: what is wrong with it, in a drill.
        folder: for its configuration and log.
        http: for the look whether it is ready.
        changed, say: see `ServerProcess`.
    """

    def __init__(
        self,
        *,
        pythons: Callable[[str], Path],
        target: str,
        version: str,
        model: Path,
        fault: str | None,
        folder: Path,
        http: httpx.AsyncClient,
        changed: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        self._pythons = pythons
        self._target = target
        self._version = version
        self._model = model
        self._fault = fault
        self._folder = folder
        self._http = http
        self.port = 0
        self.process = ServerProcess(
            name=f"MLServer of {target} version {version}",
            prepare=self._prepare,
            probe=self._is_ready,
            folder=folder,
            log=folder / "server.log",
            environment=environment(),
            limit_s=_READY_LIMIT,
            changed=changed,
            say=say,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/models/{self._target}"

    async def answers(self) -> dict[str, int]:
        """What it answered with; see `VersionStatistics`. Empty while it does not answer."""
        try:
            response = await self._http.get(f"http://127.0.0.1:{self.port}/tradewind/answers")
            found: dict[str, int] = response.json() if response.status_code == 200 else {}
        except (httpx.TransportError, ValueError):
            return {}
        return found

    def _prepare(self) -> list[str]:
        self.port = free_port(self.port)
        python = self._pythons(image_of(self._model))
        if predictor.is_one(self._model):
            self.process.name = f"{predictor.NAME} of {self._target} version {self._version}"
            return predictor.command(
                python, folder=self._folder, port=self.port, target=self._target, version=self._version, model=self._model,
                fault=self._fault,
            )  # fmt: skip
        # No worker processes: with some event loops one crashes and MLServer still ends with exit code 0.
        settings = {"host": "127.0.0.1", "http_port": self.port, "grpc_port": 0, "metrics_endpoint": None, "parallel_workers": 0}
        write_json(self._folder / "settings.json", {**settings, "debug": False})
        parameters = {"uri": str(self._model), "version": self._version, "extra": {"fault": self._fault}}
        model = {"name": self._target, "implementation": "tradewind_steps.serve.runtime.Runtime", "parameters": parameters}
        write_json(self._folder / "model-settings.json", model)
        return [str(python), str(python.with_name("mlserver")), "start", str(self._folder)]

    async def _is_ready(self) -> bool:
        try:
            return (await self._http.get(f"{self.url}/ready")).status_code == 200
        except httpx.TransportError:
            return False


def image_of(model: Path) -> str:
    """In whose environment a model is served, by the files of its folder."""
    return predictor.IMAGE if predictor.is_one(model) else _IMAGE


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED and not name.startswith(_PREFIXES)}
    # One thread a model: requests come one row at a time, and versions share the cores.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
