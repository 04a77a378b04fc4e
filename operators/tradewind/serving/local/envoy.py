"""The one Envoy: its process, its files, and proof that it took up what was written."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from tradewind.errors import RuntimeUnavailable, told
from tradewind.serving.local import envoy_config as config
from tradewind.serving.local.files import write_json
from tradewind.serving.local.process import ServerProcess

_ADMIN_SOCKET = "admin.sock"
_TAKE_UP_LIMIT = 10.0  # seconds


class Envoy:
    """Envoy in front of all versions.

    Args:
        binary: Envoy itself.
        folder: for its configuration and log.
        runtime: a folder with a short path for the admin socket: a Unix socket's path has at most 107 bytes.
        port: the endpoint's, on loopback.
        changed, say: see `ServerProcess`.
    """

    def __init__(
        self,
        *,
        binary: Path,
        folder: Path,
        runtime: Path,
        port: int,
        changed: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        self._dynamic = folder / "dynamic"
        self._number = 0
        self._bootstrap = folder / "bootstrap.json"
        self._binary = binary
        self._configuration = config.bootstrap(port=port, admin_socket=runtime / _ADMIN_SOCKET, dynamic=self._dynamic)
        transport = httpx.AsyncHTTPTransport(uds=str(runtime / _ADMIN_SOCKET))
        self._admin = httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=5, trust_env=False)
        self._socket = runtime / _ADMIN_SOCKET
        self.process = ServerProcess(
            name="Envoy",
            prepare=self._prepare,
            probe=self._is_ready,
            folder=folder,
            log=folder / "envoy.log",
            environment={name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH", "TMPDIR")},
            limit_s=20,
            changed=changed,
            say=say,
        )

    async def start(self, upstreams: list[config.Upstream]) -> None:
        self._write(config.CLUSTERS, config.clusters(upstreams, number=self._next()))
        self._write(config.ROUTES, config.routes(upstreams, number=self._next()))
        await self.process.start()

    async def stop(self) -> None:
        await self.process.stop(grace_s=2)
        await self._admin.aclose()

    async def put_clusters(self, upstreams: list[config.Upstream]) -> None:
        """Make Envoy know these servers, and return when it does."""
        number = self._next()
        self._write(config.CLUSTERS, config.clusters(upstreams, number=number))
        await self._taken_up("cluster_manager.cds", number)

    async def put_routes(self, upstreams: list[config.Upstream]) -> None:
        """Make Envoy share requests between these servers by weight, and return when it does."""
        number = self._next()
        self._write(config.ROUTES, config.routes(upstreams, number=number))
        await self._taken_up("http.endpoint.rds.targets", number)

    async def active(self, cluster: str) -> int:
        """Requests that a server has not answered yet."""
        name = f"cluster.{cluster}.upstream_rq_active"
        answer = await self._get("/stats", format="json", filter=f"^{re.escape(name)}$")
        return sum(entry["value"] for entry in answer["stats"] if entry.get("name") == name)

    async def statistics(self, target: str, clusters: dict[str, str]) -> dict[str, dict[str, Any]]:
        """`read_statistics` of each version's cluster; RuntimeUnavailable where Envoy does not tell its counts."""
        pattern = config.statistics_filter(target)
        try:
            answer = await self._get("/stats", format="json", filter=pattern, histogram_buckets="detailed")
        except httpx.HTTPError as error:
            raise RuntimeUnavailable(f"Envoy does not tell its counts: {told(error)}") from error
        return {version: config.read_statistics(answer, cluster) for version, cluster in clusters.items()}

    def _prepare(self) -> list[str]:
        self._socket.unlink(missing_ok=True)
        write_json(self._bootstrap, self._configuration)
        return [str(self._binary), "-c", str(self._bootstrap), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]

    def _next(self) -> str:
        self._number += 1
        return str(self._number)

    def _write(self, name: str, data: dict[str, Any]) -> None:
        write_json(self._dynamic / name, data)

    async def _is_ready(self) -> bool:
        try:
            return (await self._admin.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def _taken_up(self, scope: str, number: str) -> None:
        """Wait until Envoy reports the configuration with that number; one that is restarting reads it as it starts."""
        deadline = time.monotonic() + _TAKE_UP_LIMIT
        while True:
            try:
                if await self._version(scope) == number:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                words = self.process.last_words()
                raise RuntimeUnavailable(f"Envoy did not take up new settings in {_TAKE_UP_LIMIT:g} s: {words}")
            await asyncio.sleep(0.005)

    async def _version(self, scope: str) -> str | None:
        name = f"{scope}.version_text"
        answer = await self._get("/stats", format="json", filter=f"^{re.escape(name)}$")
        return next((str(entry["value"]) for entry in answer["stats"] if entry.get("name") == name), None)

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        response = await self._admin.get(path, params=query)
        response.raise_for_status()
        data: dict[str, Any] = response.json()
        return data
