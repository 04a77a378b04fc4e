"""The runtime seam: where a step runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tradewind.contract import StepManifest, StepSpec
from tradewind.errors import SpecError, StepFailed, TradewindError, named
from tradewind.settings import Settings
from tradewind.store import MANIFEST, Store

Say = Callable[[str], None]


class Runtime(Protocol):
    """Starts a step's process and waits for its end."""

    def environment_id(self, image: str) -> str:
        """What distinguishes the environment that this image gives; part of the fingerprint."""

    def run(self, spec: StepSpec, *, spec_uri: str, say: Say) -> None:
        """Run the step to its end, its output line by line to ``say``.

        Returns when the process has ended and left a manifest, which is the commit, however it ended; `result` reads it.

        Raises:
            StepFailed: it ended without one; says how.
            RuntimeUnavailable: it could not be started; trying again may help.
        """

    def kill(self) -> None:
        """End the running step, all its processes, now. Safe to call at any time and twice."""


def runtime_for(settings: Settings) -> Runtime:
    """The runtime that the settings name."""
    if settings.runtime == "local":
        from tradewind.runtimes.local import LocalRuntime

        return LocalRuntime(settings.home, variables=_mlflow_login(settings))
    raise SpecError(f"[tradewind] runtime is {settings.runtime!r}, expected 'local'")


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
