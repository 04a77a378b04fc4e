"""The stand-in for Seldon's operator against a recording of the real one: the same steps, the same events, in the same order.

With SELDON=real it is the operator of the cluster that is compared.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recorded import NAME, Event, Step, Watch, cases
from seldon_place import NAMESPACE, Place

from tradewind.contract import ArtifactRef
from tradewind.errors import SpecError
from tradewind.serving.seldon.desired import predictor

APART_S = 1.6  # events of the recording that lie so far apart have an order: it looked every 0.4 s
# How long a pod takes to end, and what waits for it, is no affair of what else happens.
ENDING = ("-deployment", "-service", "forgotten")
PATIENCE_S = 150.0
SETTLE_S = 3.5  # so long the recording went on at least
Object = dict[str, Any]


class Player:
    """Does what the recording's steps say."""

    def __init__(self, place: Place, models: list[ArtifactRef], case: str) -> None:
        self.place = place
        self.models = models
        self.case = case
        self.broken: set[str] = set()
        self.other_model = False

    def predictor(self, name: str, traffic: int | None, shadow: str, label: str) -> Object:
        found: Object = copy.deepcopy(predictor("m", name, self.models[self.other_model], self.place.options))
        container = found["componentSpecs"][0]["spec"]["containers"][0]
        found |= {"name": name, **({"traffic": traffic} if traffic is not None else {}), **({"shadow": True} if shadow else {})}
        if traffic is None:
            del found["traffic"]
        if self.case == "1":
            container["ports"] = [port for port in container["ports"] if port["name"] != "metrics"]
        if self.case == "3":
            container["readinessProbe"] = {"initialDelaySeconds": 1, "periodSeconds": 2}
        else:
            del container["readinessProbe"]
        if name in self.broken:
            container["args"] = ["nonsense"]
        if "image does not exist" in label and name == "c":
            container["image"] = "localhost/no-such-image:1"
        if "no graph name" in label:
            del found["graph"]["name"]
        if "unknown implementation" in label:
            found["graph"]["implementation"] = "NOPE"
            del container["image"]
        return found

    def play(self, step: Step) -> None:
        label = step.label
        self.broken |= {"canary breaks": {"b"}, "canary removed while": {"a"}}.get(label.partition(" the ")[0], set())
        if label.startswith(("canary again", "canary at", "add canary")):
            self.broken.discard("b")
        if label == "stable repaired":
            self.broken.discard("a")
        self.other_model = self.other_model or "other modelUri" in label
        if step.predictors is not None:
            self.apply([self.predictor(name, traffic, shadow, label) for name, traffic, shadow in step.predictors])
        elif "VirtualService patched" in label:
            self.route(50 if "50/50" in label else 100)
        elif label == "stable pod deleted":
            (pod,) = self.place.pods(NAME, "a").values()
            self.delete("pods", pod["metadata"]["name"])
        elif label == "canary Deployment deleted by hand":
            self.delete("deployments", f"{NAME}-b-0-model")
        else:
            assert label == "SeldonDeployment deleted", label
            self.delete("seldondeployments", NAME)

    def apply(self, predictors: list[Object]) -> None:
        path = self.place.path("seldondeployments")
        spec = {"protocol": "v2", "predictors": predictors}
        if self.place.get("seldondeployments", NAME):
            self.place.kube.ask("PATCH", f"{path}/{NAME}", {"spec": spec})
            return
        metadata = {"name": NAME, "namespace": NAMESPACE}
        body = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "metadata": metadata, "spec": spec}
        self.place.kube.ask("POST", path, body)

    def route(self, stable: int) -> None:
        found = self.place.get("virtualservices", NAME)
        for http in found["spec"]["http"]:
            for route in http["route"]:
                route["weight"] = stable if route["destination"]["subset"] == "a" else 100 - stable
        self.place.kube.ask("PATCH", self.place.path("virtualservices", NAME), {"spec": found["spec"]})

    def delete(self, kind: str, name: str) -> None:
        self.place.kube.ask("DELETE", self.place.path(kind, name), missing=True)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", ["1", "2", "3"])
def test_what_happens_is_what_was_recorded(clear: Place, models: Path, case: str) -> None:
    player = Player(clear, [clear.refer(models / name) for name in ("logistic", "trees")], case)
    steps = cases()[case]
    if case == "3":  # it begins with both there, at 90 and 10
        steps = [Step("both", [["a", 90, ""], ["b", 10, ""]]), *steps]
    watch, wrong = Watch(clear), []
    for step in steps:
        # When a pod has ended is the kubelet's affair, and may be in the next step; ``flights-v1`` is of before.
        step.events = [(at, event) for at, event in step.events if event[0] != "-pod" and "flights-v1" not in str(event)]
        if step.refused:
            with pytest.raises(SpecError) as refused:
                player.play(step)
            wrong += [] if _same_words(step.refused, str(refused.value)) else [f"{step.label}: {refused.value}"]
            continue
        player.play(step)
        happened = _until_all(watch, step)
        if step.label != "both":
            wrong += [f"{step.label}: {line}" for line in _compared(step, happened)]
    assert not wrong, "\n".join(wrong)


def _until_all(watch: Watch, step: Step) -> list[tuple[float, Event]]:
    """What happens until all that was recorded has, and a moment longer."""
    wanted, happened = Counter(event for _, event in step.events), []
    deadline, quiet = time.monotonic() + PATIENCE_S, 0.0
    while time.monotonic() < deadline:
        happened += [(at, event) for at, event in watch.changes() if event[0] != "-pod"]
        missing = wanted - Counter(event for _, event in happened)
        done = ("state", "Available") in {event for _, event in happened} if step.label == "both" else not missing
        quiet = quiet or time.monotonic() if done else 0.0
        if quiet and time.monotonic() - quiet > SETTLE_S:
            break
        time.sleep(0.1)
    return happened


def _compared(step: Step, happened: list[tuple[float, Event]]) -> list[str]:
    happened = _last_rules(happened)  # several that go are seen going one by one, or not
    wanted, got = Counter(event for _, event in step.events), Counter(event for _, event in happened)
    lines = [f"did not happen: {event}" for event in wanted - got] + [f"was not recorded: {event}" for event in got - wanted]
    once = {event: at for at, event in step.events if wanted[event] == 1}
    here = {event: at for at, event in happened}
    for first, early in once.items():
        for second, late in once.items():
            if (first[0] in ENDING) != (second[0] in ENDING):
                continue
            if late - early >= APART_S and first in here and second in here and here[first] > here[second]:
                lines.append(f"{first} came after {second}, it was recorded {late - early:.1f} s before")
    return lines


def _last_rules(happened: list[tuple[float, Event]]) -> list[tuple[float, Event]]:
    last = max((at for at, event in happened if event[0] == "rules"), default=0.0)
    return [(at, event) for at, event in happened if event[0] != "rules" or at == last]


def _same_words(recorded: str, said: str) -> bool:
    """What is wrong with the spec, in Seldon's words: where exactly the stand-in's rules say it differs."""
    return recorded.rpartition(": ")[2] in said and "422" in said
