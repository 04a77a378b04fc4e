"""The plain release: load, smoke, switch, alias, unload. All requests go from the old version to the new at one instant.

`plan` is pure: from what is to what to do. So a second release of the same version finds nothing to do, and one that was
killed midway goes on from where it is: before the switch the old version serves and keeps the alias, after it the new one
gets the alias.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, TradewindError
from tradewind.serving.base import Deployment, Serving
from tradewind.store import Store

SMOKE = "smoke.json"
TOLERANCE = 1e-5  # relative: float32 predictions of the same trees differ by about 1e-7 between builds

Do = Literal["load", "smoke", "shift", "alias", "unload"]


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do to one version."""

    do: Do
    version: str

    def __str__(self) -> str:
        return f"{self.do} {self.version}"


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a release did; plain JSON by ``vars()``.

    Attributes:
        changed: False where all was as it should be.
        replaced: the versions that served before.
        actions: in order, as ``"load 3"``.
        smoke_difference: the largest relative difference to the trained model's own outputs; None without a smoke request.
    """

    changed: bool
    version: str
    endpoint_url: str
    replaced: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    smoke_difference: float | None = None
    seconds: float = 0.0


def plan(observed: Deployment, *, version: str, digest: str, champion: str | None) -> list[Action]:
    """What is left to do until ``version`` alone serves and is the champion.

    Args:
        digest: the sha256 of the version's model.
        champion: the version that has the alias now.

    Raises:
        RolloutAborted: the version serves already, but from another model.
    """
    actions: list[Action] = []
    served = observed.versions.get(version)
    if served and served.digest != digest:
        if served.weight:
            raise RolloutAborted(
                f"{observed.target} version {version} serves already, but from another model: expected sha256 {digest}, "
                f"got {served.digest}. Register the model as a new version"
            )
        actions.append(Action(do="unload", version=version))
        served = None
    if not served or not served.ready:
        actions.append(Action(do="load", version=version))
    if observed.weights != {version: 100}:
        actions += [Action(do="smoke", version=version), Action(do="shift", version=version)]
    if champion != version:
        actions.append(Action(do="alias", version=version))
    return actions + [Action(do="unload", version=other) for other in sorted(observed.versions) if other != version]


def release(
    *,
    serving: Serving,
    store: Store,
    target: str,
    version: str,
    model: ArtifactRef,
    champion: Callable[[], str | None],
    set_champion: Callable[[str], None],
    holder: str,
    smoke_tolerance: float = TOLERANCE,
    lock_timeout_s: float = 300,
    say: Callable[[str], None] = lambda _: None,
) -> Released:
    """Make ``version`` the one that serves and the champion; do nothing where it is.

    On any failure before the switch the old version keeps serving, the new one is ended and the alias is not touched. If
    the alias cannot be set after the switch, the requests go back to the old version.

    Args:
        model: the version's model; its ``smoke.json``, if any, is posted to it before the switch.
        champion: reads the alias; called under the target's lock.
        set_champion: sets the alias.
        holder: who releases, for whoever waits meanwhile.
        smoke_tolerance: the largest relative difference allowed.
        say: told each action before it is done.

    Raises:
        RolloutAborted: the version cannot serve, or answers otherwise than the trained model did.
        RuntimeUnavailable: the serving does not answer, or another release of the target takes too long.
    """
    started = time.monotonic()
    with serving.lock(target, holder=holder, timeout_s=lock_timeout_s):
        before = serving.observe(target)
        actions = plan(before, version=version, digest=model.sha256, champion=champion())
        difference: float | None = None
        try:
            for action in actions:
                say(f"{target}: {action}")
                match action.do:
                    case "load":
                        serving.load(target, version, model)
                    case "smoke":
                        difference = smoke(serving, store, target, version, model, tolerance=smoke_tolerance)
                    case "shift":
                        serving.shift(target, {version: 100})
                    case "alias":
                        set_champion(version)
                    case "unload":
                        serving.unload(target, action.version)
        except BaseException as error:
            # Also when the task is killed: what is half done would serve without being the champion.
            if action.do != "unload":
                _restore(serving, before, version, error)
            raise
    return Released(
        changed=bool(actions),
        version=version,
        endpoint_url=before.endpoint_url,
        replaced=sorted(before.weights.keys() - {version}),
        actions=[str(action) for action in actions],
        smoke_difference=difference,
        seconds=round(time.monotonic() - started, 3),
    )


def smoke(
    serving: Serving, store: Store, target: str, version: str, model: ArtifactRef, *, tolerance: float = TOLERANCE
) -> float | None:
    """Compare the answers of a loaded version with those of the trained model; returns the largest relative difference.

    The model's folder holds ``smoke.json``: ``{"request": a V2 request, "outputs": the numbers expected, in order}``. A model
    without it is not compared: None.

    Raises:
        RolloutAborted: the numbers differ, or the version answers with an error.
    """
    try:
        example = json.loads(store.read(f"{model.uri.rstrip('/')}/{SMOKE}"))
    except FileNotFoundError:
        return None
    answer = serving.infer(target, version, example["request"])
    got = _numbers([output["data"] for output in answer["outputs"]])
    expected = _numbers(example["outputs"])
    if len(got) != len(expected):
        raise RolloutAborted(f"{target} version {version} answers {len(got)} numbers, the trained model answered {len(expected)}")
    finite = [abs(number) for number in expected if math.isfinite(number)]
    # A number close to 0 may be a difference of larger ones: it is held against the outputs' mean size.
    size = sum(finite) / len(finite) if finite else 0.0
    differences = [_difference(e, g, size) for e, g in zip(expected, got, strict=True)]
    worst = max(differences, default=0.0)
    at = differences.index(worst) if differences else 0
    if worst > tolerance:
        raise RolloutAborted(
            f"{target} version {version} answers otherwise than the trained model: largest relative difference {worst:.3g}, "
            f"at most {tolerance:g} is allowed; number {at + 1} of {len(expected)}: expected {expected[at]:.9g}, "
            f"got {got[at]:.9g}. "
            "The serving environment's packages may differ from those of the training"
        )
    return worst


def _restore(serving: Serving, before: Deployment, version: str, error: BaseException) -> None:
    """Back to what served before; the first error stays the one that is raised, with a note where this fails too."""
    try:
        now = serving.observe(before.target)
        if now.weights != before.weights:
            serving.shift(before.target, before.weights)
        if version in now.versions and version not in before.weights:
            serving.unload(before.target, version)
    except TradewindError as second:
        error.add_note(f"What served before could not be restored either: {second}. The next try goes on from there")


def _numbers(value: Any) -> list[float]:
    """All numbers in nested lists, in order; null and NaN are the same."""
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    if isinstance(value, str):
        raise RolloutAborted(f"The smoke request is answered with the text {value!r}: expected numbers")
    return [math.nan if value is None else float(value)]


def _difference(expected: float, got: float, size: float) -> float:
    """Relative to the expected number or to ``size``, whichever is larger."""
    if math.isnan(expected) or math.isnan(got):
        return 0.0 if math.isnan(expected) and math.isnan(got) else math.inf
    if expected == got:
        return 0.0
    return abs(expected - got) / max(abs(expected), size, sys.float_info.min)
