"""What all stages have in common: an entry point, run somewhere, from a spec, leaving a manifest."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tradewind.errors import SpecError, StepFailed, TradewindError
from tradewind.runtimes.unheeded import check_pod

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import ArtifactRef, StepManifest, StepSpec
    from tradewind.runtimes.base import Runtime
    from tradewind.settings import Settings
    from tradewind.store import Store

# A value of a task's argument that is data: a URI, or what another task of this pack returned.
Input = Any


class TradewindOperator(BaseOperator):
    """Turns this pack's errors into Airflow's, at the one place where they leave it."""

    ui_color = "#e6f2f5"
    link_url = ""  # what `links.RunLink` and `links.VersionLink` show; known when the work is done

    def execute(self, context: Context) -> Any:
        return self.translated(lambda: self.work(context))

    def translated(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except StepFailed as error:
            if error.stack:
                self.log.error("The step's own stack:\n%s", error.stack)
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
        except TradewindError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error

    def work(self, context: Context) -> Any:
        raise NotImplementedError

    def skip(self, reason: str) -> None:
        raise AirflowSkipException(reason)


class StepOperator(TradewindOperator):
    """Runs one step, or reuses the result of an equal one.

    Args:
        profile: the resource profile, by name; ``[tradewind] profiles`` says which there are.
        image: the environment, as in ``images/<name>``; by default the stage's own.
        reuse: take an earlier result with the same fingerprint instead of running.
        files: files of the pipeline's folder that the code opens, or imports by other means than an import statement. All
            files are there for it, but only the change of a named one is a change of the code.
        pod: arguments of KubernetesPodOperator, for where steps are pods: lists and mappings (``env_vars``, ``volumes``,
            ``labels``, ...) add to ours, anything else replaces it. ``image`` counts for reuse, the rest does not. What would do
            nothing is refused (`tradewind.runtimes.unheeded`).
        deferrable: wait for a pod in the triggerer, not in a worker.
        poll_interval: seconds between two looks at a pod and its log.
        kubernetes_conn_id: Airflow's connection to the cluster; where there is none of that name, the cluster that Airflow
            runs in, or the kubeconfig of its environment.
    """

    STEP: ClassVar[str]
    IMAGE: ClassVar[str]
    DEFAULT_PROFILE: ClassVar[str] = "cpu-small"
    time_column: str | None = None  # of the operators that are told one
    template_fields: Sequence[str] = ("profile", "pod")

    def __init__(
        self,
        *,
        profile: str | None = None,
        image: str | None = None,
        reuse: bool = True,
        files: Sequence[str] = (),
        pod: Mapping[str, Any] | None = None,
        deferrable: bool = True,
        poll_interval: float = 2.0,
        kubernetes_conn_id: str = "kubernetes_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.profile = profile or self.DEFAULT_PROFILE
        self.image = image or self.IMAGE
        self.reuse = reuse
        self.files = list(files)
        self.pod = dict(pod or {})
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.kubernetes_conn_id = kubernetes_conn_id
        self._runtime: Runtime | None = None
        if "{{" not in self.profile:
            _check_profile(self.profile)
        check_pod(self.pod, deferrable=deferrable)

    # -- what a stage says of itself ------------------------------------------------------------------------------

    def step_inputs(self) -> Mapping[str, Input]:
        """What the step reads, by name."""
        raise NotImplementedError

    def step_params(self) -> dict[str, Any]:
        """The named arguments that determine the result; plain JSON."""
        raise NotImplementedError

    def resolved_inputs(self, store: Store, settings: Settings) -> dict[str, ArtifactRef]:
        """The inputs as references with content hashes."""
        return {name: _resolve(store, settings, name, value) for name, value in self.step_inputs().items()}

    def step_files(self) -> Sequence[str]:
        """Files of the pipeline's folder that the step uses beside the entry point's imports."""
        return self.files

    @property
    def entry_point(self) -> str | None:
        return None

    def step_as_of(self, context: Context) -> str | None:
        """The instant at and after which rows do not exist for this run: whoever reads data with a time must not see its
        future, or a backfill is not what would have happened."""
        return as_of(context) if self.time_column else None

    def still_valid(self, manifest: StepManifest) -> bool:
        """Whether a cached result may be used: what it refers to outside the store is there."""
        return True

    def finish(self, context: Context, manifest: StepManifest) -> None:
        """What is left to do when the result is safe: raise where it is not one to go on with, push links."""

    # -- the one way to run ---------------------------------------------------------------------------------------

    def work(self, context: Context) -> dict[str, Any]:
        from tradewind.settings import Settings
        from tradewind.store import Store

        settings = Settings.load()
        store = Store(settings.store_uri)
        self._runtime = self._new_runtime(context, settings)
        spec = self._spec(context, settings, store)
        if (reused := self._reused(spec, store)) is not None:
            return self._committed(context, store, spec, reused)
        spec_uri, spec = self._written(spec, store)
        self._announce(context)
        spec = self._runtime.run(spec, spec_uri=spec_uri, say=self._say)
        return self._ended(context, store, spec)

    def resume(self, context: Context, event: Any = None, *, spec_uri: str, state: Mapping[str, Any]) -> Any:
        """Go on after the trigger that the runtime deferred to."""

        def work() -> dict[str, Any]:
            from tradewind.settings import Settings
            from tradewind.store import Store

            settings = Settings.load()
            self._runtime = self._new_runtime(context, settings)
            spec = self._runtime.resume(event, spec_uri=spec_uri, state=state, say=self._say)
            return self._ended(context, Store(settings.store_uri), spec)

        return self.translated(work)

    def _ended(self, context: Context, store: Store, spec: StepSpec) -> dict[str, Any]:
        """The result of a step whose process has left a manifest."""
        from tradewind.runtimes.base import result

        manifest = result(store, spec)
        if manifest.fingerprint and not store.put_cached(manifest) and (first := self._reused(spec, store)):
            # An equal step was quicker. Its result is taken: one training must not become two versions.
            outputs_uri = store.new_try(spec.dag_id, spec.run_id, spec.task_id, spec.map_index, spec.try_number)
            spec, manifest = dataclasses.replace(spec, outputs_uri=outputs_uri), first
        return self._committed(context, store, spec, manifest)

    def _committed(self, context: Context, store: Store, spec: StepSpec, manifest: StepManifest) -> dict[str, Any]:
        from tradewind.store import MANIFEST

        manifest = store.put_manifest(spec.outputs_uri, manifest)
        self.finish(context, manifest)
        return {
            "manifest": f"{spec.outputs_uri}/{MANIFEST}",
            "metrics": manifest.metrics,
            "reused": manifest.reused_from is not None,
        }

    def _new_runtime(self, context: Context, settings: Settings) -> Runtime:
        from tradewind.runtimes.base import runtime_for

        of_task = {
            "task_id": self.task_id,
            "execution_timeout": self.execution_timeout,
            "deferrable": self.deferrable,
            "poll_interval": self.poll_interval,
            "kubernetes_conn_id": self.kubernetes_conn_id,
        }
        return runtime_for(settings, profile=self.profile, context=context, pod={**of_task, **self.pod})

    def _say(self, line: str) -> None:
        self.log.info("%s", line)

    def on_kill(self) -> None:
        if self._runtime:
            self._runtime.kill()

    def _announce(self, context: Context) -> None:
        """Push the report's link now: Airflow itself does so only when the task has ended."""
        from tradewind.operators.links import ReportLink, report_url

        for link in self.operator_extra_links:
            if isinstance(link, ReportLink):
                context["ti"].xcom_push(key=link.xcom_key, value=report_url(context["ti"]))

    @property
    def folder(self) -> Path:
        """The pipeline's folder: where the Dag's file lies."""
        folder = Path(self.dag.fileloc).parent
        if not folder.is_dir():
            raise SpecError(f"{self.dag.fileloc}: expected the Dag's file in a folder, which steps get, not in an archive")
        return folder

    def _spec(self, context: Context, settings: Settings, store: Store) -> StepSpec:
        from tradewind.cache import fingerprint
        from tradewind.contract import StepSpec, digest

        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        inputs = self.resolved_inputs(store, settings)
        params = self.step_params()
        resources = settings.profile(self.profile).to_dict()
        as_of, identity = self.step_as_of(context), self._identity(settings)
        key = fingerprint(step=self.STEP, params=params, inputs=inputs, as_of=as_of, **identity)
        return StepSpec(
            step=self.STEP,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=map_index,
            try_number=ti.try_number,
            params=params,
            inputs=inputs,
            code=None,
            entry_point=self.entry_point,
            image=self.image,
            outputs_uri=store.new_try(ti.dag_id, ti.run_id, ti.task_id, map_index, ti.try_number),
            store_uri=store.root,
            fingerprint=key,
            as_of=as_of,
            # Without reuse every run learns anew, but its own next try goes on.
            checkpoint=key if self.reuse else digest([key, ti.dag_id, ti.run_id, ti.task_id, map_index]),
            environment=identity["environment"],
            tracking_uri=settings.tracking_uri,
            resources=resources,
        )

    def _identity(self, settings: Settings) -> dict[str, str]:
        """What determines the result beside step, arguments and inputs: the rest of the fingerprint."""
        from tradewind.contract import digest
        from tradewind.packaging import own_code, used_code

        assert self._runtime
        return {
            "code": digest([used_code(self.folder, self.entry_point, self.step_files()), self.entry_point, own_code()]),
            "environment": self._runtime.environment_id(self.image),
            "device": settings.profile(self.profile).device,
        }

    def _reused(self, spec: StepSpec, store: Store) -> StepManifest | None:
        assert spec.fingerprint
        found = store.cached(spec.fingerprint) if self.reuse else None
        if found is None:
            return None
        uri, manifest = found
        if not self.still_valid(manifest):
            store.delete(uri)
            return None
        self.log.info("Reused: nothing that determines the result has changed since %s", manifest.ended_at)
        return dataclasses.replace(manifest, reused_from=uri)

    def _written(self, spec: StepSpec, store: Store) -> tuple[str, StepSpec]:
        from tradewind.packaging import bundle

        if not self.reuse:
            spec = dataclasses.replace(spec, fingerprint=None)
        if self.entry_point or self.step_files():
            spec = dataclasses.replace(spec, code=bundle(self.folder, store))
        return store.put_spec(spec), spec


def _check_profile(name: str) -> None:
    """At parse: who names a profile that is not there should not wait for a run to learn it."""
    from tradewind.settings import Settings

    Settings.load().profile(name)


def as_of(context: Context) -> str | None:
    """The instant whose past this run sees: ISO 8601 with an offset; None for all there is.

    Raises:
        SpecError: ``params.as_of`` is no date or time.
    """
    from datetime import UTC, datetime

    run = context["dag_run"]
    if run.run_type in ("scheduled", "backfill") and run.data_interval_end is not None:
        moment: datetime = run.data_interval_end
        return moment.astimezone(UTC).isoformat()
    return asked_as_of(context["params"])


def asked_as_of(params: Mapping[str, Any]) -> str | None:
    """What a run that a person starts is to see; see `as_of`."""
    from datetime import UTC, datetime

    asked = params.get("as_of")
    if not asked:
        return None
    try:
        found = datetime.fromisoformat(str(asked))
    except ValueError as error:
        raise SpecError(
            f"params.as_of: expected a date or time such as 2013-07-01 or 2013-07-01T12:00:00+00:00, got {asked!r}"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def number(name: str, value: Any, low: float, high: float) -> float:
    """A templated argument as a number within bounds; SpecError says which argument, what was expected and what came."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not low <= found <= high:
        raise SpecError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return found


def manifest_of(store: Store, name: str, value: Any) -> StepManifest:
    """The manifest that another task's output points to."""
    if not (isinstance(value, Mapping) and isinstance(value.get("manifest"), str)):
        raise SpecError(f"{name}: expected the output of another task of this pack, got {value!r}")
    try:
        return store.get_manifest(value["manifest"])
    except FileNotFoundError as error:
        raise SpecError(f"{name}: there is no manifest at {value['manifest']} any more: clear the task that wrote it") from error


# The output that the next step reads, by kind of step: what `dataset=features.output` means.
_PRIMARY = ("dataset", "model")


def _resolve(store: Store, settings: Settings, input_name: str, value: Any) -> ArtifactRef:
    """An input as a reference: another task's primary output, or data at a URI of its own, hashed now."""
    from tradewind.contract import JDBC, ArtifactRef

    if isinstance(value, str) and value.startswith(JDBC):
        # Nobody knows a database's content without reading it all: each run's is another, and nothing made of it is reused.
        return ArtifactRef(uri=value, sha256=secrets.token_hex(32), size=0, kind="dataset")
    if isinstance(value, str):
        return store.refer(settings.data_uri(value))
    outputs = manifest_of(store, input_name, value).outputs
    for name in _PRIMARY:
        if name in outputs:
            return outputs[name]
    there_is = ", ".join(outputs) or "nothing"
    raise SpecError(f"{input_name}: the output {value!r} holds no dataset and no model; it has: {there_is}")
