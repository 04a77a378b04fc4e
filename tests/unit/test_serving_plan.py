"""The plain release: what it plans, and where a failure or a kill leaves the target."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.rollout.release import Released, plan, release
from tradewind.serving.base import Deployment, ServedVersion, VersionStatistics
from tradewind.store import Store, hash_folder


def served(weight: int, *, ready: bool = True, digest: str = "new") -> ServedVersion:
    return ServedVersion(ready=ready, digest=digest, weight=weight, url="http://127.0.0.1:1/v2/models/m")


@pytest.mark.parametrize(
    ("versions", "champion", "expected"),
    [
        ({}, None, ["load 2", "smoke 2", "shift 2", "alias 2"]),
        ({"1": served(100, digest="old")}, "1", ["load 2", "smoke 2", "shift 2", "alias 2", "unload 1"]),
        ({"1": served(100, digest="old"), "2": served(0)}, "1", ["smoke 2", "shift 2", "alias 2", "unload 1"]),
        ({"1": served(0, digest="old"), "2": served(100)}, "1", ["alias 2", "unload 1"]),
        ({"1": served(0, digest="old"), "2": served(100)}, "2", ["unload 1"]),
        ({"2": served(100)}, "2", []),
        ({"2": served(100, ready=False)}, "2", ["load 2"]),
        ({"2": served(0, digest="other")}, None, ["unload 2", "load 2", "smoke 2", "shift 2", "alias 2"]),
    ],
)
def test_plan_goes_on_from_what_is_there(versions: dict[str, ServedVersion], champion: str | None, expected: list[str]) -> None:
    deployment = Deployment(target="m", endpoint_url="", versions=versions)
    assert [str(action) for action in plan(deployment, version="2", digest="new", champion=champion)] == expected


def test_a_version_that_serves_from_another_model_is_never_replaced_silently() -> None:
    deployment = Deployment(target="m", endpoint_url="", versions={"2": served(100, digest="other")})
    with pytest.raises(RolloutAborted, match="expected sha256 new, got other"):
        plan(deployment, version="2", digest="new", champion="2")


class Place:
    """A serving without servers: versions and shares are entries, an answer is the number in the model's file.

    ``fails`` names the call that fails, before or after it took effect; what a killed task leaves is the same.
    """

    def __init__(self) -> None:
        self.versions: dict[str, ServedVersion] = {}
        self.numbers: dict[str, float] = {}
        self.fails: Callable[[str], None] = lambda _: None

    def observe(self, target: str) -> Deployment:
        return Deployment(target=target, endpoint_url="http://127.0.0.1:1/v2/models/m", versions=dict(self.versions))

    def load(self, target: str, version: str, model: ArtifactRef) -> None:
        self.fails("load")
        self.versions.setdefault(version, served(0, digest=model.sha256))
        self.numbers[version] = float((Path(model.uri.removeprefix("file://")) / "model").read_text())

    def infer(self, target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        self.fails("infer")
        return {"outputs": [{"data": [self.numbers[version]]}]}

    def shift(self, target: str, weights: dict[str, int]) -> None:
        self.versions = {v: served(weights.get(v, 0), digest=known.digest) for v, known in self.versions.items()}
        self.fails(f"shift {sorted(weights)}")

    def unload(self, target: str, version: str) -> None:
        self.fails(f"unload {version}")
        if version in self.versions:
            assert self.versions[version].weight == 0
            del self.versions[version]

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        return {}

    @contextmanager
    def lock(self, target: str, *, holder: str, timeout_s: float) -> Iterator[None]:
        yield


class Rollout:
    """Version 1 serves and is the champion; ``to`` releases another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = Place()
        self.alias: str | None = None
        self.alias_fails = False
        self.to("1")

    def to(self, version: str, *, answers: float | None = None) -> Released:
        folder = self.folder / version
        folder.mkdir(exist_ok=True)
        (folder / "model").write_text(version if answers is None else str(answers))
        (folder / "smoke.json").write_text(json.dumps({"request": {}, "outputs": [float(version)]}))
        model = ArtifactRef(uri=folder.as_uri(), sha256=hash_folder(folder), size=1, kind="model")
        return release(
            serving=self.place, store=Store(str(self.folder)), target="m", version=version, model=model,
            champion=lambda: self.alias, set_champion=self._set_alias, holder="test",
        )  # fmt: skip

    def _set_alias(self, version: str) -> None:
        if self.alias_fails:
            raise RuntimeUnavailable("MLflow does not answer")
        self.alias = version

    def fail_at(self, call: str, error: BaseException) -> None:
        def fails(name: str) -> None:
            if name == call:
                raise error

        self.place.fails = fails

    def state(self) -> tuple[dict[str, int], set[str], str | None]:
        return self.place.observe("m").weights, set(self.place.versions), self.alias


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    return Rollout(tmp_path)


ALL_OLD = ({"1": 100}, {"1"}, "1")
ALL_NEW = ({"2": 100}, {"2"}, "2")


@pytest.mark.parametrize("error", [RuntimeUnavailable("gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["load", "infer", "shift ['2']"])
def test_a_failure_before_the_alias_leaves_all_as_it_was(rollout: Rollout, call: str, error: BaseException) -> None:
    rollout.fail_at(call, error)
    with pytest.raises(type(error)):
        rollout.to("2")
    assert rollout.state() == ALL_OLD
    rollout.place.fails = lambda _: None
    assert rollout.to("2").replaced == ["1"]
    assert rollout.state() == ALL_NEW


def test_an_alias_that_cannot_be_set_takes_the_requests_back(rollout: Rollout) -> None:
    rollout.alias_fails = True
    with pytest.raises(RuntimeUnavailable, match="MLflow does not answer"):
        rollout.to("2")
    assert rollout.state() == ALL_OLD
    rollout.alias_fails = False
    rollout.to("2")
    assert rollout.state() == ALL_NEW


def test_after_the_alias_only_what_is_left_over_is_ended(rollout: Rollout) -> None:
    rollout.fail_at("unload 1", RuntimeUnavailable("gone"))
    with pytest.raises(RuntimeUnavailable, match="gone"):
        rollout.to("2")
    assert rollout.state() == ({"2": 100}, {"1", "2"}, "2")
    rollout.place.fails = lambda _: None
    assert rollout.to("2").actions == ["unload 1"]
    assert rollout.state() == ALL_NEW


def test_a_serving_that_is_gone_for_good_keeps_the_first_error(rollout: Rollout) -> None:
    def gone(call: str) -> None:
        if call != "load":
            raise RuntimeUnavailable(f"{call}: gone")

    rollout.place.fails = gone
    with pytest.raises(RuntimeUnavailable, match="infer: gone") as caught:
        rollout.to("2")
    assert "could not be restored either: unload 2: gone" in caught.value.__notes__[0]


def test_other_numbers_than_the_trained_model_gave_are_refused_with_the_difference(rollout: Rollout) -> None:
    with pytest.raises(RolloutAborted, match=r"largest relative difference 0\.01.*number 1 of 1: expected 2, got 2\.02"):
        rollout.to("2", answers=2.02)
    assert rollout.state() == ALL_OLD
    assert rollout.to("3", answers=3 * (1 + 1e-8)).smoke_difference == pytest.approx(1e-8, rel=1e-3)


def test_a_second_release_does_nothing(rollout: Rollout) -> None:
    rollout.to("2")
    done = rollout.to("2")
    assert (done.changed, done.actions, done.version) == (False, [], "2")
