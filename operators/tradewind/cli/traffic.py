"""Requests to a model that serves, as its clients would send them: what a canary needs to be judged by."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tradewind.cli import embedded
from tradewind.registry import CHAMPION, Registry, model_of
from tradewind.rollout.smoke import SMOKE
from tradewind.serving.local.client import LocalServing
from tradewind.store import Store

RATE = 40  # requests a second
_CLIENTS = 4


class Traffic:
    """Sends requests of one row each, `RATE` a second, for the time of the block.

    Args:
        url: of the model's endpoint, without ``/infer``.
        requests: sent in turns.
    """

    def __init__(self, url: str, requests: list[dict[str, Any]]) -> None:
        self.answers: Counter[str] = Counter()  # by version; failures by status
        self.rate = RATE
        self.to = (url, requests)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(_CLIENTS)]

    @classmethod
    def to_what_serves(cls, home: Path, name: str) -> Self | None:
        """To the model's endpoint, with rows of the champion's own example; None where nothing serves yet."""
        deployment = LocalServing(folder=home / "serving").observe(name)
        with Registry.of(embedded.settings(home)) as registry:
            champion = registry.by_alias(name, CHAMPION)
        if not deployment.weights or not champion:
            return None
        model = model_of(champion)
        request = json.loads(Store(model.uri).read(f"{model.uri}/{SMOKE}"))["request"]
        return cls(deployment.endpoint_url, rows_of(request))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def ask(self) -> str:
        """Who answers now: the version, or how one request more failed, which `answers` does not count."""
        url, requests = self.to
        with httpx.Client(timeout=30, trust_env=False) as client:
            return self._answer(client, f"{url}/infer", requests[0])

    def _ask(self, number: int) -> None:
        url, requests = self.to
        with httpx.Client(timeout=30, trust_env=False) as client:
            for count in range(number, 1 << 62, _CLIENTS):
                started = time.monotonic()
                self.answers[self._answer(client, f"{url}/infer", requests[count % len(requests)])] += 1
                if self._ended.wait(max(0.0, _CLIENTS / RATE - (time.monotonic() - started))):
                    return

    def _answer(self, client: httpx.Client, url: str, request: dict[str, Any]) -> str:
        try:
            response = client.post(url, json=request)
            return str(response.json()["model_version"]) if response.is_success else f"failed: {response.status_code}"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return f"failed: {type(error).__name__}"


def rows_of(request: dict[str, Any]) -> list[dict[str, Any]]:
    """A request of several rows as one for each."""
    rows = int(request["inputs"][0]["shape"][0])
    return [
        {
            **request,
            "inputs": [{**t, "shape": [1, *t["shape"][1:]], "data": t["data"][row : row + 1]} for t in request["inputs"]],
        }
        for row in range(rows)
    ]
