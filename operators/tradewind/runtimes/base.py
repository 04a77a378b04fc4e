"""The runtime seam: where a step runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tradewind.contract import StepManifest, StepSpec
from tradewind.errors import StepFailed, TradewindError, named
from tradewind.settings import Settings
from tradewind.store import MANIFEST, Store

Say = Callable[[str], None]


class Runtime(Protocol):
    """Starts a step's process and waits for its end."""

    def environment_id(self, image: str) -> str:
        """What distinguishes the environment that this image gives; part of the fingerprint."""

    def run(self, spec: StepSpec, *, spec_uri: str, say: Say) -> StepSpec:
        """Run the step to its end, its output line by line to ``say``.

        Returns when the process has ended and left a manifest, which is the commit, however it ended; `result` reads it.
        The spec returned is that of the process which left it: another than the given one where it took the given one's
        place, or an earlier try's was still at the same work.

        Raises:
            StepFailed: it ended without one; says how.
            RuntimeUnavailable: it could not be started; trying again may help.
        """

    def resume(self, event: Any, *, spec_uri: str, state: Mapping[str, Any], say: Say) -> StepSpec:
        """Go on where `run` deferred the task, which only a runtime of a cluster does; returns and raises as `run`.

        Args:
            event: what the trigger said.
            state: what `run` left for this.
        """

    def kill(self) -> None:
        """End the running step, all its processes, now. Safe to call at any time and twice."""


def runtime_for(
    settings: Settings, *, profile: str = "cpu-small", context: Any = None, pod: Mapping[str, Any] | None = None
) -> Runtime:
    """The runtime that the settings name.

    Args:
        profile: the name of the step's resource profile.
        context: Airflow's, of the running task; pods need it.
        pod: arguments for the pod's operator.
    """
    if settings.runtime == "kubernetes" and context is not None:
        from tradewind.runtimes.kubernetes import KubernetesRuntime

        return KubernetesRuntime(settings, profile=settings.profile(profile), context=context, own=pod or {})
    from tradewind.runtimes.local import LocalRuntime

    return LocalRuntime(settings.home, variables=_mlflow_login(settings))


def _mlflow_login(settings: Settings) -> dict[str, str]:
    """User and password as MLflow's own variables: a spec never holds them."""
    if not settings.tracking_username:
        return {}
    return {
        "MLFLOW_TRACKING_USERNAME": settings.tracking_username,
        "MLFLOW_TRACKING_PASSWORD": settings.tracking_password or "",
    }


def result(store: Store, spec: StepSpec) -> StepManifest:
    """The manifest of a step that `Runtime.run` has ended, if it is a success.

    Raises:
        StepFailed, or the error of the tree that the step raised: with the remote message and stack.
    """
    uri = f"{spec.outputs_uri}/{MANIFEST}"
    manifest = store.get_manifest(uri)
    if manifest.status == "success":
        return manifest
    assert manifest.error
    kind: type[TradewindError] | None = named(manifest.error.type)
    if kind and kind is not StepFailed:
        error = kind(manifest.error.message)
        error.retryable = manifest.error.retryable
        raise error
    raise StepFailed(
        manifest.error.message if kind else f"{manifest.error.type}: {manifest.error.message}",
        stack=manifest.error.stack,
        manifest_uri=uri,
        retryable=manifest.error.retryable,
    )
