"""Where a model serves: the seam (`base`) and what stands behind it."""

from __future__ import annotations

import functools

from tradewind.errors import SpecError
from tradewind.serving.base import Serving
from tradewind.serving.seldon.metrics import Metrics
from tradewind.settings import SECTION, SERVINGS, Settings


def serving_for(settings: Settings) -> Serving:
    """The serving that the settings name."""
    if settings.serving == "local":
        from tradewind.serving.local.client import LocalServing

        return LocalServing(folder=settings.home / "serving")
    if settings.serving == "seldon":
        for option in ("serving_gateway", "serving_statistics"):
            if not getattr(settings, option):
                raise SpecError(f"[{SECTION}] {option}: with serving = seldon expected an address, got none")
        import tradewind
        from tradewind.kube import kube_for
        from tradewind.serving.seldon.client import SeldonServing
        from tradewind.serving.seldon.desired import Options

        image = functools.partial(settings.image.format, version=tradewind.__version__)
        return SeldonServing(
            kube=kube_for(),
            namespace=settings.serving_namespace,
            gateway=settings.serving_gateway,
            statistics=metrics_for(settings),
            options=Options(
                image=image(image="serve"),
                predictor_image=image(image="predictor"),
                service_account=settings.service_account,
                secret=settings.step_secret,
            ),
        )
    raise SpecError(f"[{SECTION}] serving is {settings.serving!r}, expected one of: {', '.join(SERVINGS)}")


def metrics_for(settings: Settings) -> Metrics:
    """Who counts the requests to models on Seldon, as the settings name it."""
    if settings.serving_statistics_by == "gateway":
        from tradewind.serving.seldon.statistics import Gateway

        return Gateway(settings.serving_statistics)
    from tradewind.serving.seldon.presets import PRESETS
    from tradewind.serving.seldon.prometheus import Prometheus

    return Prometheus(url=settings.serving_statistics, preset=PRESETS[settings.serving_statistics_by])
