"""Arguments of KubernetesPodOperator that a step's pod has no use for: refused at parse, where else they would do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tradewind.errors import SpecError

_AS_THEY_ARE = "a step's lines are said as they are"
_TAKEN_OVER = "a pod that still does the same work is always taken over"
UNHEEDED: Mapping[str, str] = {
    "container_logs": "the log of the step's own container is passed on, no other",
    "log_formatter": _AS_THEY_ARE,
    "container_name_log_prefix_enabled": _AS_THEY_ARE,
    "logging_interval": "lines come while the pod runs; poll_interval says how often",
    "base_container_status_polling_interval": "poll_interval says how often a pod is looked at",
    "log_events_on_startup": "what a pod waits for is said in words",
    "log_pod_spec_on_failure": "a pod's spec may hold what no log should",
    "do_xcom_push": "a step's result is its manifest",
    "durable": _TAKEN_OVER,
    "reattach_on_restart": _TAKEN_OVER,
    "is_delete_operator_pod": "on_finish_action says what becomes of a pod",
    "progress_callback": "callbacks are told each line by their own progress_callback",
}
UNHEEDED_IN_TRIGGERER: Mapping[str, str] = {
    "init_container_logs": "the triggerer passes on the log of the step's own container, no other: set deferrable=False",
}
UNHEEDED_CALLBACKS: Mapping[str, str] = {
    "progress_callback": "the triggerer reads the lines: set deferrable=False",
    "on_pod_starting": "nobody but the triggerer sees the start: set deferrable=False",
}
_PROVIDER = "airflow.providers.cncf.kubernetes"


def check_pod(pod: Mapping[str, Any], *, deferrable: bool) -> None:
    """SpecError where one of a task's own arguments would do nothing; names it and says why."""
    deferrable = bool(pod.get("deferrable", deferrable))
    useless = {**UNHEEDED, **(UNHEEDED_IN_TRIGGERER if deferrable else {})}
    for name in useless.keys() & pod.keys():
        raise SpecError(f"pod: {name!r} would do nothing for a step: {useless[name]}")
    callbacks = (pod.get("callbacks") or []) if deferrable else []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        for name in UNHEEDED_CALLBACKS.keys() & _own(callback):
            raise SpecError(f"pod: {callback.__name__}.{name} would not be called for a step: {UNHEEDED_CALLBACKS[name]}")


def _own(callback: Any) -> set[str]:
    """The functions that a class of callbacks has beside the provider's, which do nothing."""
    classes: Iterable[type] = getattr(callback, "__mro__", ())
    return {name for kind in classes if not kind.__module__.startswith(_PROVIDER) for name in vars(kind)}
