"""The supervisor's HTTP interface, on loopback, for holders of the token; and the process around it."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tradewind.contract import ArtifactRef
from tradewind.errors import TradewindError
from tradewind.serving.local.files import new_token, owned
from tradewind.serving.local.supervisor import Supervisor

T = TypeVar("T")
log = logging.getLogger("tradewind.serving")
_LOCK = "supervisor.lock"


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: `run` ends it after the last request and before the servers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(*, folder: Path, pythons: Callable[[str], Path], port: int, say: Callable[[str], None]) -> None:
    """Own ``folder`` and serve from it until SIGINT, SIGTERM or SIGHUP; all that was started is ended then.

    Raises:
        RuntimeUnavailable: another supervisor owns the folder, or the port is taken.
    """
    holder = f"a supervisor that runs already (process {os.getpid()})"
    with owned(folder / _LOCK, holder=holder, timeout_s=0, what=f"The serving folder {folder}"):
        asyncio.run(_run(folder, pythons, port, say))


async def _run(folder: Path, pythons: Callable[[str], Path], port: int, say: Callable[[str], None]) -> None:
    supervisor = Supervisor(folder=folder, pythons=pythons, port=port, say=say)
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    try:
        # With the protocol named, asyncio switches Nagle's algorithm off; otherwise each answer waits 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        # Whoever finds the endpoint healthy finds this address too: it is written, and requests wait, before Envoy starts.
        listener.listen()
        application = app(supervisor, new_token(folder), asked)
        options = uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=5)
        server = _Server(options)
        supervisor.state.control_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        supervisor.state.write(folder)
        await _unless(asked, supervisor.start())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        say(f"Serving from {folder}: models answer at http://127.0.0.1:{supervisor.state.port}/v2/models/<name>")
        await _unless(asked, asyncio.shield(serving))
        server.should_exit = True
        await serving
    finally:
        await supervisor.stop()


async def _unless(asked: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The work's result, or None where the end was asked for first: the work is cancelled then."""
    doing, waiting = asyncio.ensure_future(work), asyncio.create_task(asked.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if doing.done():
        return doing.result()
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)
    return None


def app(supervisor: Supervisor, token: str, asked: asyncio.Event) -> Starlette:
    """The interface; every request carries ``Authorization: Bearer <token>``, an error is ``{"type", "message"}``.

    Args:
        asked: set when the supervisor shall end; what is under way is given up then.
    """

    async def observe(request: Request) -> Response:
        return JSONResponse(supervisor.observe(request.path_params["target"]))

    async def load(request: Request) -> Response:
        model = ArtifactRef.from_dict(await request.json())
        await supervisor.load(request.path_params["target"], request.path_params["version"], model)
        return JSONResponse({})

    async def unload(request: Request) -> Response:
        await supervisor.unload(request.path_params["target"], request.path_params["version"])
        return JSONResponse({})

    async def mirror(request: Request) -> Response:
        await supervisor.mirror(request.path_params["target"], request.path_params["version"], await request.json())
        return JSONResponse({})

    async def shift(request: Request) -> Response:
        even_unready = "even_unready" in request.query_params
        await supervisor.shift(request.path_params["target"], await request.json(), even_unready=even_unready)
        return JSONResponse({})

    async def statistics(request: Request) -> Response:
        return JSONResponse(await supervisor.statistics(request.path_params["target"]))

    Endpoint = Callable[[Request], Awaitable[Response]]  # noqa: N806 (a type)

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return _error(401, "RuntimeUnavailable", "This is not the supervisor's token: it is new with each start")
            try:
                ending = _error(503, "RuntimeUnavailable", "The serving supervisor is ending")
                return await _unless(asked, endpoint(request)) or ending
            except TradewindError as error:
                return _error(409, type(error).__name__, str(error))
            except OSError as error:
                return _error(507, "StoreError", f"{error.filename or 'The serving folder'}: {error.strerror or error}")
            except Exception as error:
                log.exception("The supervisor failed")
                return _error(500, "RuntimeUnavailable", f"The supervisor failed: {type(error).__name__}: {error}")

        return answer

    one = "/targets/{target}"
    return Starlette(
        routes=[
            Route(one, guarded(observe), methods=["GET"]),
            Route(f"{one}/statistics", guarded(statistics), methods=["GET"]),
            Route(f"{one}/weights", guarded(shift), methods=["PUT"]),
            Route(f"{one}/versions/{{version}}", guarded(load), methods=["PUT"]),
            Route(f"{one}/versions/{{version}}/mirror", guarded(mirror), methods=["PUT"]),
            Route(f"{one}/versions/{{version}}", guarded(unload), methods=["DELETE"]),
        ]
    )


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"type": kind, "message": message}, status_code=status)
