"""Simulated worlds for rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_world import KubeWorld
from rollout_world import World
from seldon_world import Platform

from tradewind.serving.seldon import client, lease


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).serving("1")


@pytest.fixture
def nobody_else_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives an order does not wait long for somebody to take it up."""
    monkeypatch.setattr("tradewind.rollout.hands._TAKEN_UP_S", 0.3)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cluster without nodes all goes quicker than in one with."""
    for name, value in (("_LOOK_S", 0.01), ("_PUSH_S", 0.0), ("_GONE_S", 0.5), ("_SHIFT_S", 10.0), ("_MIRROR_S", 10.0)):
        monkeypatch.setattr(client, name, value)
    monkeypatch.setattr(lease, "_LOOK_S", 0.01)


@pytest.fixture
def platform(tmp_path: Path, quick: None) -> Iterator[Platform]:
    kube = KubeWorld()
    with kube.running():
        yield Platform(tmp_path, kube)
