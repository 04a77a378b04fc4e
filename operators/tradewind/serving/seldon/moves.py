"""The next write towards what is asked: pure functions of what is there. None where there is nothing to write but to wait.

The operator moves traffic only while every predictor is ready. So a predictor that is to get nothing and is not well is taken
out of the spec instead of weighted to 0; and where the side that keeps serving is not well either, the VirtualService is
written first: taken out alone, the other's share would go to nothing until all is well. By then the spec says what the
VirtualService has, so the operator has nothing to put back.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tradewind.errors import RolloutAborted
from tradewind.serving.seldon.desired import DARK, GRPC, HOST_ANNOTATION, HTTP
from tradewind.serving.seldon.view import View, available, settled

Kind = Literal["spec", "route"]


@dataclass(frozen=True, kw_only=True)
class Write:
    """A merge patch of the SeldonDeployment (``spec``) or of its VirtualService (``route``)."""

    kind: Kind
    body: dict[str, Any]
    why: str = field(default="", compare=False)


def checked_weights(view: View, target: str, weights: Mapping[str, int], *, even_unready: bool = False) -> None:
    """Raises RolloutAborted where these weights cannot be given."""
    if weights and (sum(weights.values()) != 100 or min(weights.values()) < 0):
        raise RolloutAborted(f"The weights of {target} must be 0 to 100 and sum to 100, got {dict(weights)}")
    for version, weight in weights.items():
        predictor = view.predictors.get(version)
        deployment = view.deployment(predictor["name"]) if predictor else None
        if weight and not (deployment and (even_unready or available(deployment))):
            why = "it is not ready" if predictor else "it is not loaded"
            raise RolloutAborted(f"{target} version {version} cannot get {weight}% of the requests: {why}")


def towards(view: View, weights: Mapping[str, int]) -> Write | None:
    """The next write that brings the shares to ``weights`` (percent by version, not empty)."""
    names = {p["name"]: version for version, p in view.predictors.items()}
    getting = {name: weights.get(names.get(name, ""), 0) for name in {*view.shares, *names}}
    wanted = {name: weight for name, weight in getting.items() if weight}
    unwell = {p["name"] for p in view.predictors.values() if not settled(view, p)}
    taken_away = any(not getting[name] for name in view.shares)
    if view.shares != wanted and unwell & set(wanted) and taken_away and view.route:
        return Write(kind="route", body=routed(view, wanted), why="the version that keeps serving is not all well")
    kept = [p for p in view.predictors.values() if p["name"] not in unwell - set(wanted)]
    spec = [_with(p, traffic=wanted[p["name"]]) if p["name"] in wanted else _without(p) for p in kept]
    dark = HOST_ANNOTATION in _annotations(view)
    if spec != list(view.predictors.values()) or dark:
        return spec_patch(spec, live=True if dark else None)
    return None


def to_nobody(view: View) -> Write | None:
    """The next write after which no request reaches the target."""
    unwell = not all(settled(view, predictor) for predictor in view.predictors.values())
    if view.shares and unwell:  # the operator would wait
        return Write(kind="route", body={"spec": {"hosts": [DARK]}})
    if view.sdep and HOST_ANNOTATION not in _annotations(view):
        return spec_patch(list(view.predictors.values()), live=False)
    return None


def in_effect(view: View, weights: Mapping[str, int]) -> bool:
    """Whether requests are shared so: by the VirtualService, and by the spec that it is made from."""
    predictors = view.predictors
    wanted = {predictors[v]["name"]: weight for v, weight in weights.items() if weight and v in predictors}
    return view.shares == wanted and towards(view, weights) is None


def mirrored(view: View, version: str, percent: int) -> Write | None:
    """The next write that gives a version copies of requests; with 0, that ends it.

    Seldon marks who gets copies on its pods: they are started anew. The end of copies does not wait for that.
    """
    spec = []
    for known, predictor in view.predictors.items():
        if known == version and percent:
            spec.append({**copy.deepcopy(dict(predictor)), "shadow": True, "traffic": percent})
        elif predictor.get("shadow"):  # there is at most one
            spec.append(_with(predictor, traffic=0))
        else:
            spec.append(dict(predictor))
    if spec != list(view.predictors.values()):
        return spec_patch(spec)
    if view.copies and not percent:
        routes = [{k: v for k, v in r.items() if k not in ("mirror", "mirrorPercentage")} for r in view.route["spec"]["http"]]
        return Write(kind="route", body={"spec": {"http": routes}})
    return None


def spec_patch(predictors: list[Any], *, live: bool | None = None) -> Write:
    """The spec with these predictors. ``live``: from now on requests reach it; False: none do; None: as it was."""
    plain = [p for p in predictors if not p.get("shadow")]
    if len(plain) > 1 and not any(p.get("traffic") for p in plain):  # Seldon wants 100 in sum, of what nobody reaches yet too
        predictors = [{**p, "traffic": 100} if p is plain[0] else p for p in predictors]
    body: dict[str, Any] = {"spec": {"predictors": predictors}}
    if live is not None:
        body["metadata"] = {"annotations": {HOST_ANNOTATION: None if live else DARK}}
    return Write(kind="spec", body=body)


def routed(view: View, shares: Mapping[str, int]) -> dict[str, Any]:
    """The VirtualService's own patch, as the operator would write it: it finds nothing to put back."""
    namespace, name = view.sdep["metadata"]["namespace"], view.sdep["metadata"]["name"]
    routes = copy.deepcopy(list(view.route["spec"]["http"]))
    for route, port in zip(routes, (HTTP, GRPC), strict=False):
        route["route"] = [
            {
                "destination": {
                    "host": f"{name}-{predictor}.{namespace}.svc.cluster.local", "port": {"number": port}, "subset": predictor,
                },
                "weight": weight,
            }
            for predictor, weight in shares.items()
        ]  # fmt: skip
    return {"spec": {"http": routes}}


def _with(predictor: Mapping[str, Any], *, traffic: int) -> dict[str, Any]:
    found = {name: value for name, value in predictor.items() if name != "shadow"}
    return {**copy.deepcopy(found), "traffic": traffic}


def _without(predictor: Mapping[str, Any]) -> dict[str, Any]:
    """A predictor that gets no share: copies, if it gets those, it keeps."""
    return dict(predictor) if predictor.get("shadow") else _with(predictor, traffic=0)


def _annotations(view: View) -> Mapping[str, str]:
    found: Mapping[str, str] = view.sdep.get("metadata", {}).get("annotations") or {}
    return found
