"""The web application in Airflow's API server: what steps left, for people who may see their task instances.

Airflow mounts a plugin's application without any check, so the checks are here: the whole application asks for a
login, and for the right to read the Dag's task instances. Reports are made from users' data, so a browser is told to
treat them as hostile: an origin of their own, no scripts, nothing loaded from anywhere.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from typing import Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_authenticated
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from tradewind.errors import TradewindError
from tradewind.settings import Settings
from tradewind.store import Store
from tradewind_plugin.pages import reports_page
from tradewind_plugin.reports import Reports, Unavailable

_LOCKED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _LOCKED,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
_SHOWN = ("text/html", "text/plain", "text/markdown", "text/csv", "application/json", "image/png", "image/svg+xml")

_RUN = "/dags/{dag_id}/runs/{run_id:path}"
_TASK = f"{_RUN}/tasks/{{task_id}}/{{map_index}}"


def create_app() -> FastAPI:
    """The application, to be mounted below ``/tradewind``. It reads the settings when it is asked, not when it is made."""
    app = FastAPI(
        title="Tradewind",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_authenticated()), Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))],
    )
    app.middleware("http")(_add_headers)
    app.add_exception_handler(TradewindError, _explain)
    app.get(f"{_TASK}/report")(get_report)
    app.get(f"{_TASK}/manifest")(get_manifest)
    app.get(f"{_RUN}/reports")(get_reports)
    return app


def _reports() -> Reports:
    return Reports(Store(Settings.load().store_uri))


def _map_index(map_index: str) -> int:
    """Airflow's UI leaves the placeholder in the address of a task instance that is not mapped."""
    if map_index == "{MAP_INDEX}":
        return -1
    try:
        return int(map_index)
    except ValueError as error:
        raise Unavailable(404, f"The map index in the address is not a number: {map_index!r}") from error


StoredReports = Annotated[Reports, Depends(_reports)]
MapIndex = Annotated[int, Depends(_map_index)]


def get_report(
    reports: StoredReports, dag_id: str, run_id: str, task_id: str, map_index: MapIndex, name: str = "report"
) -> Response:
    """A report of the newest committed try, as its step wrote it."""
    filename, data = reports.report(dag_id, run_id, task_id, map_index, name)
    media_type = mimetypes.guess_type(filename)[0]
    headers = {"Content-Security-Policy": f"sandbox; {_LOCKED}"}
    if media_type not in _SHOWN:
        return Response(data, media_type="application/octet-stream", headers={**headers, "Content-Disposition": "attachment"})
    return Response(data, media_type=media_type, headers=headers)


def get_manifest(reports: StoredReports, dag_id: str, run_id: str, task_id: str, map_index: MapIndex) -> Response:
    """The manifest of the newest committed try, as JSON."""
    return Response(reports.manifest(dag_id, run_id, task_id, map_index).to_json(), media_type="application/json")


def get_reports(reports: StoredReports, dag_id: str, run_id: str) -> HTMLResponse:
    """A page of links to the reports of a run."""
    return HTMLResponse(reports_page(run_id, list(reports.of_run(dag_id, run_id))))


def _explain(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=error.status if isinstance(error, Unavailable) else 503)


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
