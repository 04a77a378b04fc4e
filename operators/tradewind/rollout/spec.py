"""What a rollout shall do, as plain data: the same for every serving, checked when the Dag's file is read.

::

    {
        "replay": ["disagreement <= 0.05", "errors <= 0"],
        "mirror": {"percent": 100, "bake_s": 60},
        "steps": [{"weight": 10, "bake_s": 60}, {"weight": 50, "bake_s": 60}],
        "min_requests": 200,
        "on_inconclusive": "hold",
    }
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tradewind.errors import SpecError
from tradewind.rules import parse_rules

INCONCLUSIVE = ("hold", "roll_back", "replay")
SIGNATURES = ("compatible", "any")


@dataclass(frozen=True, kw_only=True)
class CanaryStep:
    """The new version's share of the requests in percent, and for how many seconds at least."""

    weight: int
    bake_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class MirrorStep:
    """The share of the requests, in percent, of which the new version gets copies, and for how many seconds at least."""

    percent: int = 100
    bake_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    """A progressive rollout. The default is the plain one: smoke requests, then all requests at once.

    Attributes:
        replay: limits on how far the new version's answers to holdout rows may be from the champion's, as rules:
            ``disagreement``, ``psi``, ``ks``, ``errors`` and ``latency_ratio`` at most a number, in a slice too:
            ``slice(carrier).disagreement <= 0.2``. Without rules nothing is replayed.
        mirror: copies of live requests, whose answers nobody sees, before the canary; None: none.
        steps: the canary's shares, rising; none: no canary.
        rules: limits on the new version's live figures, judged at the end of each step beside the tests: ``error_share``, of all
            its requests so far, and the step's ``p50``, ``p90``, ``p95`` and ``p99`` in milliseconds, against a number or against
            the version that serves: ``p95 <= champion + 20``. They are figures as they are: what chance does is not in them.
        min_requests: the new version must have answered so many in a step, copies too, or the step decides nothing.
        alpha: the chance, in a whole rollout, that the errors of a version that is as good as the champion roll it back
            for them; the tests on latency and answers have as much again each.
        latency_ratio: by how much the canary's requests may be slower than the champion's.
        answer_distance: how far the distribution of the canary's answers may be from that of the champion's, from 0 to 1
            (Kolmogorov, Smirnov); where the serving looks into answers.
        max_restarts: how often the canary's server may end by itself.
        patience_s: seconds after a step's bake in which it may still get its ``min_requests``.
        on_inconclusive: what then: ``hold`` for a person; ``roll_back``; ``replay``: go on where the replay has passed, else
            hold.
        hold_s: seconds that a held rollout waits for a person before it is rolled back.
        signature: ``compatible``: what the champion's clients send must fit the new version, and its answer theirs; ``any``:
            they know that it is another one.
        keep_stable_s: seconds that the old version stays ready after the switch, to go back to.
    """

    replay: tuple[str, ...] = ()
    mirror: MirrorStep | None = None
    steps: tuple[CanaryStep, ...] = ()
    rules: tuple[str, ...] = ()
    min_requests: int = 100
    alpha: float = 0.01
    latency_ratio: float = 2.0
    answer_distance: float = 0.2
    max_restarts: int = 0
    patience_s: float = 300.0
    on_inconclusive: str = "hold"
    hold_s: float = 86_400.0
    keep_stable_s: float = 0.0
    signature: str = "compatible"

    def to_dict(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "replay": list(self.replay),
            "rules": list(self.rules),
            "steps": [dataclasses.asdict(step) for step in self.steps],
        }

    @property
    def looks(self) -> int:
        """How often latency and answers are judged in a whole rollout."""
        return len(self.steps) + (self.mirror is not None)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The spec from plain data.

        Raises:
            SpecError: a field is unknown or wrong; names it.
        """
        given = _fields(data, "rollout", cls)
        for name, (low, high) in _BOUNDS.items():
            if name in given:
                given[name] = _number(given[name], f"rollout.{name}", low, high, whole=name in _WHOLE)
        for name, task in (("replay", "replay"), ("rules", "canary")):
            if name in given:
                given[name] = _rules(given[name], f"rollout.{name}", task)
        for name, words in (("on_inconclusive", INCONCLUSIVE), ("signature", SIGNATURES)):
            if given.get(name, words[0]) not in words:
                raise _wrong(f"rollout.{name}", f"one of: {', '.join(words)}", given[name])
        if given.get("mirror") is not None:
            fields = _fields(given["mirror"], "rollout.mirror", MirrorStep)
            percent = int(_number(fields.get("percent", 100), "rollout.mirror.percent", 1, 100, whole=True))
            given["mirror"] = MirrorStep(
                percent=percent, bake_s=_number(fields.get("bake_s", 60.0), "rollout.mirror.bake_s", 0, 1e6)
            )
        if "steps" in given:
            given["steps"] = _steps(given["steps"])
        spec = cls(**given)
        if spec.rules and not spec.looks:
            raise SpecError("rollout.rules: expected steps or a mirror, at whose end they are judged, got neither")
        return spec


_BOUNDS: Mapping[str, tuple[float, float]] = {
    "min_requests": (1, 1e9),
    "alpha": (1e-9, 0.5),
    "latency_ratio": (1, 1000),
    "answer_distance": (0, 1),
    "max_restarts": (0, 1000),
    "patience_s": (0, 1e9),
    "hold_s": (0, 1e9),
    "keep_stable_s": (0, 1e6),
}
_WHOLE = ("min_requests", "max_restarts")


def _steps(value: object) -> tuple[CanaryStep, ...]:
    steps: list[CanaryStep] = []
    for position, item in enumerate(_list(value, "rollout.steps")):
        name = f"rollout.steps[{position}]"
        given = _fields(item, name, CanaryStep)
        if "weight" not in given:
            raise _wrong(name, "a weight", item)
        least = steps[-1].weight + 1 if steps else 1
        weight = int(_number(given["weight"], f"{name}.weight", least, 99, whole=True))
        steps.append(CanaryStep(weight=weight, bake_s=_number(given.get("bake_s", 60.0), f"{name}.bake_s", 0, 1e6)))
    return tuple(steps)


def _rules(value: object, name: str, task: str) -> tuple[str, ...]:
    rules = tuple(_list(value, name))
    try:
        parse_rules(rules, task)
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from error
    return rules


def _fields(value: object, name: str, kind: type) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, "an object", value)
    known = [field.name for field in dataclasses.fields(kind)]
    for field in value:
        if field not in known:
            raise _wrong(name, f"the fields {', '.join(known)}", field)
    return dict(value)


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, "a list", value)
    return list(value)


def _number(value: Any, name: str, low: float, high: float, *, whole: bool = False) -> Any:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise _wrong(name, f"a {'whole ' if whole else ''}number from {low:g} to {high:g}", value)
    return value


def _wrong(name: str, expected: str, got: object) -> SpecError:
    return SpecError(f"{name}: expected {expected}, got {got!r}")
