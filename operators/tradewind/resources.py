"""Finds what the code reads as data, the locks and the templates: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def data_path(relative: str) -> Path:
    """The path of ``images/<name>/requirements.lock`` or ``dags/<template>``."""
    packed = _PACKAGE / "_data" / relative
    return packed if packed.exists() else _CHECKOUT / relative


def package_folders() -> dict[str, Path]:
    """The packages that a step's environment gets beside its lock, by name: the very code that the operator runs."""
    packed = _PACKAGE.parent / "tradewind_steps"
    return {"tradewind": _PACKAGE, "tradewind_steps": packed if packed.exists() else _CHECKOUT / "images/steps/tradewind_steps"}
