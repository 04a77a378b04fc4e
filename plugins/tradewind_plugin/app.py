"""The web application in Airflow's API server: what steps left and what serves, for people who may see it.

Airflow mounts a plugin's application without any check, so the checks are here: the whole application asks for a
login, and for the right to read the Dag's task instances (see `access`). Reports are made from users' data, so a browser is
told to treat them as hostile: an origin of their own, no scripts, nothing loaded from anywhere. The pages themselves run in
Airflow's own page (``static/main.js``), which gets data from here as JSON.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Body, Depends, FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from tradewind.errors import SpecError, TradewindError
from tradewind.operators import form
from tradewind.registry import Registry
from tradewind.settings import Settings
from tradewind.store import Store, segment
from tradewind_plugin.access import MAY_ACT, MAY_SEE, may_act
from tradewind_plugin.releases import Releases
from tradewind_plugin.reports import Reports, Unavailable
from tradewind_plugin.results import QUARANTINE, Results
from tradewind_plugin.rows import MOST, Rows
from tradewind_plugin.static import file_of_page

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

_PATIENCE_S = 10.0  # with MLflow: a person waits
_MOST_RUNS = 200

_RUN = "/dags/{dag_id}/runs/{run_id:path}"
_TASK = f"{_RUN}/tasks/{{task_id}}/{{map_index}}"


def create_app() -> FastAPI:
    """The application, to be mounted below ``/tradewind``. It reads the settings when it is asked, not when it is made."""
    form.know_formats()
    app = FastAPI(title="Tradewind", docs_url=None, redoc_url=None, openapi_url=None, dependencies=MAY_SEE)
    app.middleware("http")(_add_headers)
    app.add_exception_handler(TradewindError, _explain)
    app.get(f"{_TASK}/report")(get_report)
    app.get(f"{_TASK}/manifest")(get_manifest)
    app.get(f"{_TASK}/rows")(get_rows)
    app.get(f"{_TASK}/rows.csv")(get_rows_as_csv)
    app.get(f"{_RUN}/results")(get_results)
    app.get("/dags/{dag_id}/tasks/{task_id}/history")(get_history)
    app.get("/dags/{dag_id}/versions")(get_versions)
    app.get("/dags/{dag_id}/releases")(get_releases)
    app.get("/dags/{dag_id}/serving")(get_serving)
    app.post("/dags/{dag_id}/rollout", dependencies=MAY_ACT)(post_order)
    app.get("/static/{name}")(get_static)
    return app


def _store() -> Store:
    return Store(Settings.load().store_uri)


def _reports() -> Reports:
    return Reports(_store())


def _releases(dag_id: str) -> Iterator[Releases]:
    settings = Settings.load()
    with Registry.of(settings, timeout_s=_PATIENCE_S) as registry:
        yield Releases(settings, registry, dag_id)


def _map_index(map_index: str) -> int:
    """Airflow's UI leaves the placeholder in the address of a task instance that is not mapped."""
    if map_index == "{MAP_INDEX}":
        return -1
    try:
        return int(map_index)
    except ValueError as error:
        raise Unavailable(404, f"The map index in the address is not a number: {map_index!r}") from error


StoredReports = Annotated[Reports, Depends(_reports)]
OwnReleases = Annotated[Releases, Depends(_releases)]
MapIndex = Annotated[int, Depends(_map_index)]
Text = Annotated[str, Body(max_length=1000)]
Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=100)]
PageName = Annotated[str, Query(max_length=200)]
Search = Annotated[str, Query(max_length=200)]


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


def get_results(dag_id: str, run_id: str, task_id: str | None = None) -> list[dict[str, Any]]:
    """What each task instance of a run, or of one of its tasks, left, in short."""
    return Results(_store()).of_run(dag_id, run_id, task_id=task_id)


def get_history(dag_id: str, task_id: str, run_id: Annotated[list[str], Query(max_length=_MOST_RUNS)]) -> list[dict[str, Any]]:
    """What a task left in each of these runs."""
    return Results(_store()).over_runs(dag_id, run_id, task_id)


def get_rows(
    reports: StoredReports, dag_id: str, run_id: str, task_id: str, map_index: MapIndex,
    offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> dict[str, Any]:  # fmt: skip
    """A page of the rows that a validation kept apart, with the rules that they break and why."""
    return _quarantine(reports, dag_id, run_id, task_id, map_index).page(offset, limit)


def get_rows_as_csv(reports: StoredReports, dag_id: str, run_id: str, task_id: str, map_index: MapIndex) -> Response:
    """All of them, as a file."""
    rows = _quarantine(reports, dag_id, run_id, task_id, map_index)
    name = segment(f"{dag_id}-{task_id}-{QUARANTINE}")
    disposition = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(rows.as_csv(), media_type="text/csv; charset=utf-8", headers=disposition)


def _quarantine(reports: Reports, dag_id: str, run_id: str, task_id: str, map_index: int) -> Rows:
    outputs = reports.manifest(dag_id, run_id, task_id, map_index).outputs
    if QUARANTINE not in outputs:
        raise Unavailable(404, "This task instance has put no rows into quarantine.")
    return Rows(_store(), outputs[QUARANTINE])


def get_versions(releases: OwnReleases, limit: Limit = 25, page: PageName = "", search: Search = "") -> dict[str, Any]:
    """Versions that the Dag's runs registered, the newest first; or those of a number, an alias, a model's or a run's name."""
    return releases.versions(limit=limit, page=page, search=search)


def get_releases(releases: OwnReleases, limit: Limit = 25, page: PageName = "", search: Search = "") -> dict[str, Any]:
    """Which version served when, and why; or the records that have all words of a search in them."""
    return releases.history(limit=limit, page=page, search=search)


def get_serving(releases: OwnReleases, acts: Annotated[bool, Depends(may_act)]) -> dict[str, Any]:
    """What serves now behind each of the Dag's models, and the last rollout; and whether the user may say a word on it."""
    return {"models": releases.serving(), "may_act": acts}


def post_order(releases: OwnReleases, user: GetUserDep, model: Text, rollout: Text, do: Text, why: Text) -> dict[str, Any]:
    """A person's word on a rollout: ``promote``, ``roll_back``, ``hold`` or ``resume``. The reason stays on record."""
    return releases.decide(model, rollout, do, by=user.get_name(), why=why)


def get_static(name: str) -> Response:
    """A file of the pages. They come from this package alone: nothing is loaded from elsewhere."""
    data, media_type = file_of_page(name)
    return Response(data, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def _explain(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=_status(error))


def _status(error: Exception) -> int:
    if isinstance(error, Unavailable):
        return error.status
    return 400 if isinstance(error, SpecError) else 503


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
