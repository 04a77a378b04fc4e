"""A Kubernetes API of pods without nodes: over HTTP, for the real clients of operator and trigger. What a real one does with
pods is tested by `make test-cluster`; here it refuses, and pods end, as a test says."""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Pod = dict[str, Any]
_LOOKS = 4
_EVENT: dict[str, Any] = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}}


class PodServer:
    """Pods by their names.

    Attributes:
        refuses: by method and resource (``POST pods``, ``GET pods/log``, ...), the status and what it says; may be changed.
        made: each pod as it was asked for, the first first.
        comes_to: makes a new pod's status; ``then`` makes the next one, when the pod has been looked at three times.
        log: of every pod, each line with its time before it.
        events: of every pod, reason and message.
        url: of the server.
    """

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.made: list[Pod] = []
        self.refuses: dict[str, tuple[int, str]] = {}
        self.comes_to: Callable[[Pod], Pod] = lambda _: {"phase": "Pending"}
        self.then: Callable[[Pod], Pod] | None = None
        self._looks: Counter[str] = Counter()
        self.log: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.url = ""
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def kubeconfig(self, folder: Path) -> str:
        """The path of one that leads here."""
        file = folder / "kubeconfig"
        named = {"name": "here"}
        file.write_text(
            json.dumps(
                {
                    "apiVersion": "v1", "kind": "Config", "current-context": "here",
                    "clusters": [{**named, "cluster": {"server": self.url}}], "users": [{**named, "user": {"token": "t"}}],
                    "contexts": [{**named, "context": {"cluster": "here", "user": "here"}}],
                }
            )
        )  # fmt: skip
        return str(file)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Status, and the object or text."""
        *_, namespace, _pods, name, below = [*path.strip("/").split("/")[3:], "", ""][:4]
        resource = "pods/log" if below == "log" else "pods"
        if refused := self.refuses.get(f"{method} {resource}"):
            return refused[0], _status(*refused)
        if _pods == "events":
            items = [{"reason": reason, "message": message, **_EVENT} for reason, message in self.events]
            return 200, {"kind": "EventList", "apiVersion": "v1", "items": items}
        with self._lock:
            if method == "POST":
                return 201, self._created(namespace, body)
            if not name:
                return 200, {"kind": "PodList", "apiVersion": "v1", "items": self._listed(query)}
            found = self.pods.get(name)
            if found is None:
                return 404, _status(404, f'pods "{name}" not found')
            if below == "log":
                return 200, "".join(f"{line}\n" for line in self.log)
            if method == "GET":
                self._looks[name] += 1
                if self.then and self._looks[name] == _LOOKS:
                    found["status"] = self.then(found)
            if method == "PATCH":
                for part in ("annotations", "labels"):
                    found["metadata"][part] = {**found["metadata"].get(part, {}), **body["metadata"].get(part, {})}
            if method == "DELETE":
                del self.pods[name]
            return 200, copy.deepcopy(found)

    def _created(self, namespace: str, body: Pod) -> Pod:
        self.made.append(copy.deepcopy(body))
        body["metadata"] |= {"uid": uuid.uuid4().hex, "namespace": namespace, "creationTimestamp": datetime.now(UTC).isoformat()}
        body["status"] = self.comes_to(body)
        self.pods[body["metadata"]["name"]] = body
        return copy.deepcopy(body)

    def _listed(self, query: dict[str, str]) -> list[Pod]:
        wanted = [part.partition("=")[::2] for part in query.get("labelSelector", "").split(",") if part]
        return [
            copy.deepcopy(pod)
            for pod in self.pods.values()
            if all(pod["metadata"]["labels"].get(name) == value for name, value in wanted)
        ]


def terminated(code: int, reason: str = "Completed") -> dict[str, Any]:
    """The status of a pod whose step's container has ended."""
    state = {"terminated": {"exitCode": code, "reason": reason}}
    phase = "Succeeded" if code == 0 else "Failed"
    return {"phase": phase, "containerStatuses": [_container(state)]}


def running() -> dict[str, Any]:
    return {"phase": "Running", "containerStatuses": [_container({"running": {}})]}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "step", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _handler(server: PodServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            at = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {name: values[0] for name, values in parse_qs(at.query).items()}
            status, found = server.answer(self.command, at.path, query, body)
            data = (found if isinstance(found, str) else json.dumps(found)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
