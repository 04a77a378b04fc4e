"""The local serving as operators see it: the seam's methods, asked of the supervisor over loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable, StoreError, named, told
from tradewind.serving.base import Deployment, ServedVersion, VersionStatistics, checked_name
from tradewind.serving.local.files import STATE, TOKEN, owned, write_json

_ANSWER_LIMIT = 10.0  # seconds
_LOAD_LIMIT = 300.0
_INFER_LIMIT = 60.0


class LocalServing:
    """`Serving` on this machine.

    Args:
        folder: the supervisor's; holds its address and token.
    """

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder
        self._http = httpx.Client(trust_env=False, verify=False)  # noqa: S501 (loopback, plain HTTP)

    def observe(self, target: str) -> Deployment:
        data = self._ask("GET", target)
        versions = {version: ServedVersion(**fields) for version, fields in data["versions"].items()}
        return Deployment(target=data["target"], endpoint_url=data["endpoint_url"], versions=versions)

    def load(self, target: str, version: str, model: ArtifactRef) -> None:
        self._ask("PUT", target, f"/versions/{checked_name(version, 'Version')}", dataclasses.asdict(model), limit_s=_LOAD_LIMIT)

    def infer(self, target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        served = self.observe(target).versions.get(version)
        if not served:
            raise RolloutAborted(f"{target} version {version} is not loaded")
        try:
            response = self._http.post(f"{served.url}/infer", json=request, timeout=_INFER_LIMIT)
        except httpx.HTTPError as error:
            raise RolloutAborted(f"{target} version {version} does not answer: {told(error)}") from error
        if response.status_code != 200:
            raise RolloutAborted(f"{target} version {version} answered {response.status_code}: {response.text[:2000]}")
        answer: dict[str, Any] = response.json()
        return answer

    def mirror(self, target: str, version: str, percent: int) -> None:
        self._ask("PUT", target, f"/versions/{checked_name(version, 'Version')}/mirror", percent, limit_s=30)

    def shift(self, target: str, weights: dict[str, int], *, even_unready: bool = False) -> None:
        self._ask("PUT", target, f"/weights{'?even_unready' if even_unready else ''}", weights, limit_s=30)

    def unload(self, target: str, version: str) -> None:
        self._ask("DELETE", target, f"/versions/{checked_name(version, 'Version')}", limit_s=60)

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        return {version: VersionStatistics(**fields) for version, fields in self._ask("GET", target, "/statistics").items()}

    def record(self, target: str) -> dict[str, Any] | None:
        path = self._record(target)
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"{path} cannot be read ({error}): remove it, then roll out again") from error
        return found

    def keep_record(self, target: str, record: dict[str, Any]) -> None:
        write_json(self._record(target), record)

    def orders(self, target: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path in self._orders(target).glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # taken up meanwhile
                try:
                    found[path.stem] = json.loads(path.read_bytes())
                except ValueError as error:
                    raise StoreError(f"{path} cannot be read ({error}): remove it, then order again") from error
        return found

    def put_order(self, target: str, key: str, order: dict[str, Any] | None) -> None:
        path = self._orders(target) / f"{key}.json"
        if order is not None:
            write_json(path, order)
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error

    def _orders(self, target: str) -> Path:
        return self._folder / "orders" / checked_name(target, "Target")

    def _record(self, target: str) -> Path:
        return self._folder / "records" / f"{checked_name(target, 'Target')}.json"

    def lock(self, target: str, *, holder: str, timeout_s: float) -> AbstractContextManager[None]:
        path = self._folder / "locks" / f"{checked_name(target, 'Target')}.lock"
        return owned(path, holder=holder, timeout_s=timeout_s, what=f"The rollout of {target}")

    def _ask(self, method: str, target: str, path: str = "", body: Any = None, *, limit_s: float = _ANSWER_LIMIT) -> Any:
        path = f"/targets/{checked_name(target, 'Target')}{path}"
        url, token = self._address()
        headers = {"Authorization": f"Bearer {token}"}
        try:
            response = self._http.request(method, f"{url}{path}", json=body, headers=headers, timeout=limit_s)
            answer = response.json()
        except httpx.ConnectError as error:
            raise self._absent() from error
        except (httpx.HTTPError, ValueError) as error:
            what = f"The serving supervisor at {url} does not answer: {told(error)}"
            raise RuntimeUnavailable(what) from error
        if response.is_error and not (isinstance(answer, dict) and {"type", "message"} <= answer.keys()):
            raise RuntimeUnavailable(
                f"Expected the serving supervisor at {url}, got another program: {response.status_code} {response.text[:200]!r}. "
                f"The address is in {self._folder / STATE}"
            )
        if response.is_error:
            raise (named(answer["type"]) or RuntimeUnavailable)(answer["message"])
        return answer

    def _address(self) -> tuple[str, str]:
        try:
            url: str = json.loads((self._folder / STATE).read_bytes())["control_url"]
            token = (self._folder / TOKEN).read_text()
        except FileNotFoundError as error:
            raise self._absent() from error
        if not url:
            raise self._absent()
        return url, token

    def _absent(self) -> RuntimeUnavailable:
        start = f"tradewind serve --home {self._folder.parent}"
        return RuntimeUnavailable(f"No serving supervisor runs on {self._folder}: start it with `{start}`")
