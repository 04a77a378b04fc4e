"""Who may do what: Airflow's own roles decide; and a browser is only believed where our own page sent it."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag, requires_authenticated
from fastapi import Depends, HTTPException, Request

from tradewind_plugin.reports import Unavailable

MAY_SEE = [Depends(requires_authenticated()), Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))]


def _from_our_page(request: Request) -> None:
    """A cookie goes with every request to this address, from whatever page. Where one is what signs a request in, it has to
    come from a page of this Airflow's; who sends a token in a header did not get it from a stranger's page. (Of a header that is
    no token Airflow takes no notice: a browser adds one by itself for a proxy that asks for a password.)"""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    ours = site == "same-origin" if site is not None else origin == request.headers.get("host")
    if not ours:
        raise Unavailable(403, "This was asked from another site's page: it is not done.")


_acts = requires_access_dag("POST", DagAccessEntity.RUN)
MAY_ACT = [Depends(_from_our_page), Depends(_acts)]


def may_act(request: Request, user: GetUserDep) -> bool:
    """Whether `MAY_ACT` would let this user: what they may not do, a page does not offer."""
    try:
        _acts(request, user)
    except HTTPException:
        return False
    return True
