"""A driver with what the settings name: for the worker, the triggerer and the command line alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tradewind.registry import Registry
from tradewind.rollout.driver import Driver
from tradewind.serving import serving_for
from tradewind.settings import Settings
from tradewind.store import Store


@contextmanager
def driver(
    target: str, *, holder: str, say: Callable[[str], None], settings: Settings | None = None, **arguments: Any
) -> Iterator[Driver]:
    """A `Driver` of one target, with the serving, registry and store of ``settings``; by default those of Airflow."""
    settings = settings or Settings.load()
    with Registry.of(settings) as registry:
        yield Driver(
            serving=serving_for(settings), registry=registry, store=Store(settings.store_uri), target=target, holder=holder,
            say=say, **arguments,
        )  # fmt: skip
