"""A simulated world for rollouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from rollout_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).serving("1")
