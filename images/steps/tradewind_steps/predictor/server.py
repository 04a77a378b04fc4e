"""The server of one version of a custom predictor: seldon-core's wrapper, with the Open Inference Protocol in front of it.

``python -m tradewind_steps.predictor.server SETTINGS``: a JSON file with ``host``, ``port``, ``name``, ``version``, ``model``
(the model's folder) and, in a drill, ``fault``. With ``serve`` for it, in a pod of Seldon's, they are in the environment, as they
are for MLServer.

The wrapper's own code asks the author's class, keeps its metrics and answers by Seldon's protocol (``/api/v1.0/predictions``).
Its command ``seldon-core-microservice`` is not used: it speaks no V2, listens on all addresses, and starts three more processes,
one of which, for gRPC, outlives it. Here it is one process, which ends when it is told to and whose end is its crash.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tradewind.contract import PREDICTOR
from tradewind_steps.predictor import v2
from tradewind_steps.predictor.bundle import Predictor
from tradewind_steps.serve.answers import FORWARDED, Answers
from tradewind_steps.serve.faults import Fault
from tradewind_steps.serve.model import SERVE

log = logging.getLogger("tradewind")
# The author's class answers one request at a time; looks for its health, its metrics and its answers do not wait, as long as
# fewer requests than these do.
_THREADS = 64
_LAST_REQUESTS_S = 8.0


def main(settings: dict[str, Any]) -> None:
    """Serve until SIGTERM; requests under way are answered first."""
    name, version = str(settings["name"]), str(settings["version"])
    # The labels of the author's metrics; the wrapper reads them when it is imported.
    os.environ |= {
        "SELDON_DEPLOYMENT_ID": name,
        "PREDICTIVE_UNIT_ID": name,
        "PREDICTIVE_UNIT_IMAGE": f"{name}:{version}",
        "PREDICTOR_ID": version,
        "PREDICTOR_LABELS": json.dumps({"version": version}),
    }
    import waitress

    sys.dont_write_bytecode = True  # whatever of the author's is imported late: the model's folder stays what its hash says
    predictor = Predictor((Path(settings["model"]) / PREDICTOR).parent, alone=True)
    front = Front(predictor, name=name, version=version, fault=Fault.named(settings.get("fault")))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=front.end).start())
    listen = " ".join(f"{settings['host']}:{port}" for port in {settings["port"], settings.get("metrics_port", settings["port"])})
    app = front.application()
    waitress.create_server(app, listen=listen, threads=_THREADS, ident=None, clear_untrusted_proxy_headers=True).run()


def in_pod(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings by which Seldon's operator and `tradewind.serving.seldon` have a model served."""
    return {
        "host": "0.0.0.0",  # noqa: S104 - the gateway's requests come from outside of the pod
        "port": environment["MLSERVER_HTTP_PORT"],
        "metrics_port": environment["MLSERVER_METRICS_PORT"],
        "name": environment["MLSERVER_MODEL_NAME"],
        "version": environment["MLSERVER_MODEL_VERSION"],
        "model": environment["MLSERVER_MODEL_URI"],
    }


class Front:
    """The V2 routes of one version."""

    def __init__(self, predictor: Predictor, *, name: str, version: str, fault: Fault) -> None:
        self._predictor = predictor
        self._name = name
        self._version = version
        self._fault = fault
        self._answers = Answers()
        self._metrics = _metrics()
        # Tags and metrics are asked of the object after its answer: they must be those of the same request.
        self._turn = threading.Lock()
        self._counting, self._active = threading.Lock(), 0

    def application(self) -> Any:
        """The wrapper's WSGI application with these routes and the author's metrics for Prometheus."""
        from seldon_core import wrapper
        from werkzeug.exceptions import HTTPException

        app = wrapper.get_rest_microservice(self._predictor, self._metrics)
        app.after_request_funcs.clear()  # headers that let any web page read the answers
        model = f"/v2/models/{self._name}"
        for path in ("/v2/health/live", "/v2/health/ready", f"{model}/ready"):
            app.add_url_rule(path, path, lambda: {"name": self._name, "ready": True})
        app.add_url_rule(model, "model", self.metadata)
        app.add_url_rule(f"{model}/infer", "infer", self.infer, methods=["POST"])
        app.add_url_rule("/tradewind/answers", "answers", self._answers.bins)
        # To the wrapper whatever is raised is a server's error, a path that there is not, too: a client's mistake is none.
        app.register_error_handler(HTTPException, lambda error: ({"error": error.description}, error.code))
        metrics = wrapper.get_metrics_microservice(self._metrics).view_functions["Metrics"]
        for path in ("/metrics", "/prometheus"):  # where Seldon's pods say that they are
            app.add_url_rule(path, path, metrics)
        return self._in_turn(app)

    def metadata(self) -> dict[str, Any]:
        inputs = [{"name": n, "datatype": kind, "shape": [-1, 1]} for n, kind in self._predictor.statement.inputs.items()]
        return {"name": self._name, "versions": [self._version], "platform": "seldon-core", "inputs": inputs, "outputs": []}

    def infer(self) -> Any:
        from flask import request

        try:
            asked = request.get_json(force=True, silent=True)
            question = v2.question(asked, self._predictor.statement.inputs)
        except v2.BadRequest as error:
            return {"error": f"{self._name}: {error}"}, 400
        except RecursionError:
            return {"error": f"{self._name}: expected a request by the Open Inference Protocol, got JSON too deep to read"}, 400
        try:
            return self._answered(asked, question, live=FORWARDED in request.headers)
        except Exception as error:
            log.exception("A request failed")
            return {"error": f"{type(error).__name__}: {_said(error)}"}, _status(error)

    def end(self) -> None:
        """End the process once nothing is under way."""
        deadline = time.monotonic() + _LAST_REQUESTS_S
        while self._active and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # what was answered last is on its way
        os._exit(0)

    def _answered(self, asked: dict[str, Any], question: dict[str, Any], *, live: bool) -> dict[str, Any]:
        from seldon_core import seldon_methods

        if live:
            time.sleep(self._fault.before())
        with self._turn:
            reply = seldon_methods.predict(self._predictor, question, self._metrics)
        found = v2.answer(reply, name=self._name, version=self._version, request=asked)
        if live:
            tensor = found["outputs"][0]
            tensor["data"] = self._fault.after(tensor["data"], tensor["shape"])
            self._answers.count(tensor["data"], tensor["shape"])
        return found

    def _in_turn(self, app: Any) -> Any:
        """Seldon's own routes ask the author's class, too: one request at a time."""
        inner = app.wsgi_app

        def answer(environment: dict[str, Any], start: Any) -> Any:
            ours = environment["PATH_INFO"].startswith(("/v2/", "/tradewind/", "/metrics", "/prometheus"))
            self._count(1)
            try:
                with contextlib.nullcontext() if ours else self._turn:
                    return inner(environment, start)
            finally:
                self._count(-1)

        app.wsgi_app = answer
        return app

    def _count(self, change: int) -> None:
        with self._counting:
            self._active += change


def _said(error: Exception) -> str:
    return str(error) or str(getattr(error, "message", ""))  # the wrapper's own errors


def _status(error: Exception) -> int:
    """What the author says it is. The wrapper calls whatever it cannot use a client's mistake, an answer of the author's too:
    what clients may get wrong has been looked at before."""
    said = None if type(error).__module__.startswith("seldon_core") else getattr(error, "status_code", None)
    return said if isinstance(said, int) and 400 <= said < 600 else 500


def _metrics() -> Any:
    """The wrapper's metrics of this one process: without the process that would share them between several."""
    from seldon_core.metrics import SeldonMetrics

    class Metrics(SeldonMetrics):  # type: ignore[misc]
        def __init__(self) -> None:
            self._lock = threading.Lock()
            self.data: dict[int, Any] = {}
            self.worker_id_func = os.getpid
            self._extra_default_labels: dict[str, str] = {}

        def __del__(self) -> None:
            """There is nothing to end."""

    return Metrics()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m tradewind_steps.predictor.server FILE|serve: JSON with host, port, name, version and model")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    main(in_pod(os.environ) if sys.argv[1] == SERVE else json.loads(Path(sys.argv[1]).read_bytes()))
