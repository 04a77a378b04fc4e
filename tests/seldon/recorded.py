"""The recording of Seldon's operator, and the same kind of record of whatever operator runs here: events that can be compared.

An event is what changed, without times, uids and counts that only the kubelet decides: ``("weight", "b", 10)``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seldon_place import Place

RECORDING = Path(__file__).with_name("recording.txt")
NAME = "flights"

Event = tuple[Any, ...]


@dataclass
class Step:
    """What was done, and what came of it: seconds and event."""

    label: str
    predictors: list[list[Any]] | None
    events: list[tuple[float, Event]] = field(default_factory=list)
    refused: str = ""


def cases() -> dict[str, list[Step]]:
    """The recording's steps by the number of their case."""
    found: dict[str, list[Step]] = {}
    steps: list[Step] = []
    for line in RECORDING.read_text().splitlines():
        if line.startswith("== "):
            steps = found.setdefault(line[3:4], [])
            continue
        matched = re.match(r" *([\d.]+)  (.*)", line)
        if not matched:
            continue
        at, what = float(matched[1]), matched[2]
        if what.startswith(">> requests so far"):
            continue
        if what.startswith(">> REJECTED"):
            steps[-1].refused = what
        elif what.startswith(">> "):
            label, _, predictors = what[3:].partition(" predictors=")
            steps.append(Step(label, json.loads(predictors) if predictors else None))
        elif steps:
            steps[-1].events += [(at, event) for event in _events(what)]
    return found


def _events(line: str) -> Iterator[Event]:
    if found := re.match(r"([+-])deployments\.([\w-]+)", line):
        yield (f"{found[1]}deployment", found[2])
    elif found := re.match(r"deployments\.([\w-]+)\.gen: (\d+) -> (\d+)", line):
        again = int(found[3]) < int(found[2])  # between two looks it went and came
        yield from [("-deployment", found[1]), ("+deployment", found[1])] if again else [("changed", found[1])]
    elif found := re.match(r"([+-])services\.([\w-]+)", line):
        yield (f"{found[1]}service", found[2])
    elif found := re.match(r"destinationrules: .* -> (.*)", line):
        yield ("rules", tuple(json.loads(found[1])))
    elif found := re.match(r"\+weights\.flights=(.*)", line):
        yield from (("weight", name, value or 0) for name, value in json.loads(found[1]).items())
    elif found := re.match(r"-weights\.flights(\.(\w+))?$", line):
        yield ("weight", found[2] or "all", "none")
    elif found := re.match(r"(?:\+weights\.flights\.(\w+)=|weights\.flights\.(\w+): .* -> )(.*)", line):
        yield ("weight", found[1] or found[2], json.loads(found[3]) or 0)
    elif found := re.match(r"sdep\.state: .* -> (.*)", line):
        yield ("state", json.loads(found[1]))
    elif found := re.match(r"\+sdep\.deploymentStatus\.([\w-]+)=", line):
        yield ("known", found[1])
    elif found := re.match(r"-sdep\.deploymentStatus\.([\w-]+)$", line):
        yield ("forgotten", found[1])
    elif found := re.match(r"sdep\.deploymentStatus: null -> (.*)", line):
        yield from (("known", name) for name in json.loads(found[1]))
    elif found := re.match(r"([+-])pods\.([\w-]+)-\w+/\w+", line):
        yield (f"{found[1]}pod", found[2])


class Watch:
    """Looks at a namespace, again and again, and says what changed since."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._last = self._look()
        self._began = time.monotonic()

    def changes(self) -> list[tuple[float, Event]]:
        before, now = self._last, self._look()
        self._last = now
        at = time.monotonic() - self._began
        return [(at, event) for event in _differences(before, now)]

    def _look(self) -> dict[str, Any]:
        place = self._place
        sdep = place.get("seldondeployments", NAME)
        route = place.get("virtualservices", NAME)
        weights: dict[str, int] = {}
        if route:
            rest = route["spec"]["http"][0]
            weights = {r["destination"]["subset"]: r.get("weight", 0) for r in rest["route"]}
            if rest.get("mirror"):
                weights["mirror"] = rest["mirror"]["subset"]
        return {
            "deployments": {d["metadata"]["name"]: d["metadata"] for d in place.all("deployments")},
            "services": {s["metadata"]["name"] for s in place.all("services")},
            "rules": sorted(r["metadata"]["name"] for r in place.all("destinationrules")),
            "weights": weights,
            "routed": bool(route),
            "state": sdep.get("status", {}).get("state"),
            "known": set(sdep.get("status", {}).get("deploymentStatus") or {}),
            "sdep": bool(sdep),
            "pods": {p["metadata"]["uid"]: p["metadata"]["labels"].get("app") for p in place.all("pods")},
        }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Event]:
    for name in sorted({*before["deployments"], *now["deployments"]}):
        old, new = before["deployments"].get(name), now["deployments"].get(name)
        if old and (not new or new["uid"] != old["uid"]):
            yield ("-deployment", name)
        if new and (not old or new["uid"] != old["uid"]):
            yield ("+deployment", name)
        elif old and new and new["generation"] > old["generation"]:
            yield ("changed", name)
    yield from (("-service", name) for name in sorted(before["services"] - now["services"]))
    yield from (("+service", name) for name in sorted(now["services"] - before["services"]))
    if before["rules"] != now["rules"]:
        yield ("rules", tuple(now["rules"]))
    if before["routed"] and not now["routed"]:
        yield ("weight", "all", "none")
    elif before["weights"] != now["weights"]:
        for name in sorted({*before["weights"], *now["weights"]}):
            if before["weights"].get(name) != now["weights"].get(name):
                yield ("weight", name, now["weights"].get(name, "none"))
    if now["state"] != before["state"] and now["sdep"]:
        yield ("state", now["state"])
    yield from (("known", name) for name in sorted(now["known"] - before["known"]))
    if now["sdep"]:
        yield from (("forgotten", name) for name in sorted(before["known"] - now["known"]))
    yield from (("-pod", before["pods"][uid]) for uid in sorted(set(before["pods"]) - set(now["pods"])))
    yield from (("+pod", now["pods"][uid]) for uid in sorted(set(now["pods"]) - set(before["pods"])))
