"""The operators, loaded on first use: naming one in a Dag imports that one and no other."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradewind.operators.approve import ApproveReleaseOperator
    from tradewind.operators.drift import DetectDriftOperator
    from tradewind.operators.evaluate import EvaluateModelOperator
    from tradewind.operators.features import SparkFeaturesOperator
    from tradewind.operators.register import RegisterModelOperator
    from tradewind.operators.rollout import SeldonRolloutOperator
    from tradewind.operators.sweep import SweepOperator
    from tradewind.operators.train import TrainModelOperator
    from tradewind.operators.trials import sweep_tasks
    from tradewind.operators.validate import ValidateDataOperator

_MODULES = {
    "ApproveReleaseOperator": "approve",
    "DetectDriftOperator": "drift",
    "EvaluateModelOperator": "evaluate",
    "RegisterModelOperator": "register",
    "SeldonRolloutOperator": "rollout",
    "SparkFeaturesOperator": "features",
    "SweepOperator": "sweep",
    "TrainModelOperator": "train",
    "ValidateDataOperator": "validate",
    "sweep_tasks": "trials",
}

__all__ = [
    "ApproveReleaseOperator",
    "DetectDriftOperator",
    "EvaluateModelOperator",
    "RegisterModelOperator",
    "SeldonRolloutOperator",
    "SparkFeaturesOperator",
    "SweepOperator",
    "TrainModelOperator",
    "ValidateDataOperator",
    "sweep_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
