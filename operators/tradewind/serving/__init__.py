"""Where a model serves: the seam (`base`) and what stands behind it."""

from __future__ import annotations

from tradewind.errors import SpecError
from tradewind.serving.base import Serving
from tradewind.settings import Settings


def serving_for(settings: Settings) -> Serving:
    """The serving that the settings name."""
    if settings.serving == "local":
        from tradewind.serving.local.client import LocalServing

        return LocalServing(folder=settings.home / "serving")
    raise SpecError(f"[tradewind] serving is {settings.serving!r}, expected 'local'")
