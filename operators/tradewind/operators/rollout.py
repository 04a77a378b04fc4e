"""The rollout: make a registered version the one that serves, and the champion."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tradewind.errors import RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.operators.base import Input, TradewindOperator, number
from tradewind.operators.links import ReportLink, VersionLink, version_url
from tradewind.operators.release_input import registered, rollout_spec
from tradewind.operators.rollout_result import last_record, task_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tradewind.contract import ArtifactRef
    from tradewind.registry import ModelVersion, Registry
    from tradewind.rollout.driver import Driver
    from tradewind.rollout.record import Record
    from tradewind.rollout.spec import RolloutSpec
    from tradewind.runtimes.base import Runtime
    from tradewind.settings import Settings
    from tradewind.store import Store

_SILENCE_S = 60.0  # for which nothing need answer before a try is given up, and with the last one the rollout


class SeldonRolloutOperator(TradewindOperator):
    """Load a version where it will serve, compare its answers with the trained model's own and the champion's, give it
    requests step by step, then all and the alias.

    Looks at what is and does what is missing, which is nothing the second time. Whatever speaks against the version takes it
    back: the old one serves on and keeps the alias, and the task fails without retry. The state is a record beside the
    serving: a worker or triggerer that is killed resumes where it was.

    Skipped where the champion was trained on newer data, or where this version was rolled back before and no person started
    the run or cleared the task. Fails without retry where the champion is not the one that the gate compared with: that
    comparison says nothing about today's; and where a person approved of something else than what there is now.

    Returns ``{"metrics": {"name", "version", "changed", "replaced", "endpoint_url", "smoke_difference", "seconds",
    "example", "replay", "canary"}}``; ``example`` is a request of one row by the Open Inference Protocol.

    Args:
        version: the register task's output, or an approval's of it.
        rollout: what to do, as `tradewind.rollout.spec.RolloutSpec` has it; by default all requests at once.
        smoke_tolerance: the largest relative difference of a served from a trained prediction.
        deferrable: wait for traffic in the triggerer; else in the task itself.
        poll_interval: seconds between two looks.
    """

    template_fields: Sequence[str] = ("version", "rollout", "smoke_tolerance")
    operator_extra_links = (ReportLink(), VersionLink())

    def __init__(
        self,
        *,
        version: Input,
        rollout: Mapping[str, Any] | str | None = None,
        smoke_tolerance: float | str = 1e-5,
        deferrable: bool = True,
        poll_interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.rollout = {} if rollout is None else rollout
        self.smoke_tolerance = smoke_tolerance
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self._runtime: Runtime | None = None
        self._ticking = self._killed = False
        if isinstance(self.rollout, Mapping):
            rollout_spec({name: value for name, value in self.rollout.items() if "{{" not in str(value)})

    def work(self, context: Context) -> dict[str, Any]:
        from tradewind.rollout.driver import RolloutOver
        from tradewind.rollout.hands import driver
        from tradewind.rollout.record import attempt_id
        from tradewind.settings import Settings
        from tradewind.store import Store

        asked, spec, settings = registered(self.version), rollout_spec(self.rollout), Settings.load()
        store, ti = Store(settings.store_uri), context["ti"]
        model = self._model(settings, asked)
        attempt = attempt_id(asked["name"], asked["version"], model, spec, ti.dag_id, ti.run_id, ti.task_id, ti.max_tries)

        with driver(
            str(asked["name"]),
            settings=settings,
            holder=_holder(context),
            say=lambda line: self.log.info("%s", line),
            smoke_tolerance=number("smoke_tolerance", self.smoke_tolerance, 0, 1),
            replay=lambda record: self._replay(context, settings, store, record, asked.get("gate")),
        ) as hands:
            try:
                record = hands.begin(
                    lambda now: self._new(context, hands, store, asked, model, spec, attempt, now), attempt=attempt
                )
            except RolloutOver:
                return self._replaced(settings, asked, attempt)
            if record is not None:
                record = self._carried_out(hands, attempt, last=_last_try(context))
                if record is None:
                    return self._replaced(settings, asked, attempt)
        if record is not None and not record.ended:
            from tradewind.triggers.rollout import RolloutTrigger

            self.log.info("Waiting for the traffic of the canary")
            trigger = RolloutTrigger(
                target=record.target, holder=_holder(context), poll_interval=self.poll_interval, attempt=attempt
            )
            kwargs = {"asked": asked, "attempt": attempt}
            self.defer(trigger=trigger, method_name="resume", kwargs=kwargs, timeout=self.execution_timeout)
        return self._outcome(context, settings, asked, record)

    def resume(
        self, context: Context, event: dict[str, Any], asked: dict[str, Any], attempt: str | None = None
    ) -> dict[str, Any]:
        """When the trigger has seen the rollout's end."""
        metrics: dict[str, Any] = self.translated(lambda: self._resumed(context, event, asked, attempt))
        return metrics

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """A time limit that passed while the trigger waited takes the rollout back."""
        from airflow.sdk.exceptions import TaskDeferralTimeout

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            from tradewind.rollout.hands import driver, take_back

            with driver(str(registered(self.version)["name"]), holder=_holder(context), say=self.log.info) as hands:
                take_back(hands, why="the task's time was over", attempt=(next_kwargs or {}).get("attempt"))
            raise

    def on_kill(self) -> None:
        if self._runtime:
            self._runtime.kill()
        if self._ticking and not self._killed:
            self._killed = True
            # Called by a signal, in the midst of whatever is done, with seconds left to take it back.
            raise RolloutAborted("The task was ended")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _resumed(self, context: Context, event: dict[str, Any], asked: dict[str, Any], attempt: str | None) -> dict[str, Any]:
        from tradewind.rollout.hands import driver
        from tradewind.settings import Settings

        settings = Settings.load()
        if "error" in event:
            if _last_try(context):
                with driver(str(asked["name"]), settings=settings, holder=_holder(context), say=self.log.info) as hands:
                    self._given_up(hands, attempt)
            raise RuntimeUnavailable(event["error"])
        with driver(str(asked["name"]), settings=settings, holder=_holder(context), say=lambda _: None) as hands:
            record = hands.record()
        if attempt is not None and (record is None or record.id != attempt):
            return self._replaced(settings, asked, attempt)
        return self._outcome(context, settings, asked, record)

    def _model(self, settings: Settings, asked: dict[str, Any]) -> ArtifactRef:
        from tradewind.registry import Registry, model_of

        self.link_url = version_url(settings.tracking_uri, asked["name"], asked["version"])
        with Registry.of(settings) as registry:
            return model_of(registry.version(str(asked["name"]), str(asked["version"])))

    def _carried_out(self, hands: Driver, attempt: str, *, last: bool) -> Record | None:
        """The record at the rollout's end, or where it waits for the trigger; None where another's is in its place by now.
        Whoever ends the task takes the rollout back; so does a last try that cannot go on, for nobody else would look."""
        from tradewind.rollout.driver import RolloutOver
        from tradewind.rollout.hands import take_back
        from tradewind.rollout.record import WAITING

        self._ticking, silent_since = True, None
        try:
            while True:
                began = time.monotonic()
                try:
                    ticked = hands.tick(attempt=attempt)
                except RuntimeUnavailable as error:
                    silent_since = silent_since or began
                    if time.monotonic() - silent_since > _SILENCE_S:
                        raise
                    self.log.warning("%s", error)
                    time.sleep(self.poll_interval)
                    continue
                silent_since = None
                waits = not ticked.moved
                if ticked.record.ended or (waits and self.deferrable and ticked.record.phase in WAITING):
                    return ticked.record
                if waits:
                    time.sleep(self.poll_interval)
        except RolloutOver:
            return None
        except BaseException as error:
            if not self._killed and isinstance(error, Exception):
                if last or not getattr(error, "retryable", True):
                    self._given_up(hands, attempt)
                raise
            with contextlib.suppress(RolloutOver):  # it has just ended
                take_back(hands, why="the task was ended", attempt=attempt)
            raise
        finally:
            self._ticking = False

    def _given_up(self, hands: Driver, attempt: str | None) -> None:
        """A canary is not left alone with its share; where even that cannot be done, the next rollout of the model does it."""
        from tradewind.rollout.hands import take_back

        try:
            take_back(hands, why="its task could not go on", attempt=attempt)
        except Exception:
            self.log.exception("The rollout could not be taken back either")

    def _new(
        self,
        context: Context,
        hands: Driver,
        store: Store,
        asked: dict[str, Any],
        model: ArtifactRef,
        spec: RolloutSpec,
        attempt: str,
        now: float,
    ) -> Record | None:
        """A record for this attempt; None where all is as it should be. Called under the target's lock.

        Raises:
            RolloutOver: it has ended, and another one has begun since; a retry is no new attempt.
        """
        from tradewind.approval.lineage import made_from
        from tradewind.rollout.driver import RolloutOver
        from tradewind.rollout.record import Record

        name, version = str(asked["name"]), str(asked["version"])
        if hands.registry.release(name, attempt):
            raise RolloutOver(f"This rollout of {name} version {version} has ended")
        champion = self._replaceable(context, hands.registry, asked)
        serves = hands.serving.observe(name)
        served = serves.versions.get(version)
        as_asked = served and served.ready and served.weight == 100 and served.digest == model.sha256
        if champion == version and as_asked and set(serves.versions) == {version}:
            return None
        approved: dict[str, str] = {}
        if "approval" in asked and champion != version:
            from tradewind.approval.word import still_approved

            approved = still_approved(asked, registry=hands.registry, store=store, serving=hands.serving, rollout=spec)
        others = {v: weight for v, weight in serves.weights.items() if v != version}
        lineage = {
            "dag_id": context["ti"].dag_id, "run_id": context["ti"].run_id, "data_end": asked.get("data_end"),
            **made_from(store, model), **approved,
        }  # fmt: skip
        return Record(
            id=attempt, target=name, version=version, model=model, champion=champion, spec=spec, by=_holder(context),
            why=approved.get("approved", ""), stable=max(others, key=lambda v: others[v]) if others else None, started_at=now,
            since=now, updated_at=now, lineage=lineage,
        )  # fmt: skip

    def _replaceable(self, context: Context, registry: Registry, asked: dict[str, Any]) -> str | None:
        """The champion's version, if the asked version may take its place."""
        from tradewind.registry import CHAMPION, DATA_END_TAG

        name, version = str(asked["name"]), str(asked["version"])
        champion: ModelVersion | None = registry.by_alias(name, CHAMPION)
        if champion is not None and champion.version == version:
            return version
        by_a_person = context["dag_run"].run_type == "manual" or context["ti"].max_tries > (
            self.retries or 0
        )  # clearing raises it
        if not by_a_person and (why := registry.rolled_back(name, version)):
            self.skip(
                f"Version {version} was rolled back ({why}): it comes back only where a person starts a run or clears this task"
            )
        if champion is None:
            return None
        ours, theirs = asked.get("data_end"), champion.tags.get(DATA_END_TAG)
        if ours and theirs and _instant(str(ours)) < _instant(theirs):
            self.skip(
                f"Version {champion.version} serves and was trained on data until {theirs}, version {asked['version']} on data "
                f"until {ours}: older data never replaces newer"
            )
        if champion.version != asked.get("champion"):
            raise RolloutAborted(
                f"The champion is version {champion.version}, but the gate compared with {asked.get('champion') or 'none'}: "
                f"it changed meanwhile (clear the evaluate task to compare again), or its model_name is not {asked['name']!r}"
            )
        return champion.version

    def _replay(self, context: Context, settings: Settings, store: Store, record: Record, gate: str | None) -> dict[str, Any]:
        """Run the replay step against both versions; its figures, and where its report lies."""
        from tradewind.contract import StepSpec
        from tradewind.operators.base import manifest_of
        from tradewind.runtimes.base import result, runtime_for
        from tradewind.serving import serving_for

        requests = manifest_of(store, "gate", {"manifest": gate}).outputs.get("requests") if gate else None
        if requests is None:
            raise SpecError("The gate has left no requests to replay: clear the evaluate task")
        ti, versions = context["ti"], serving_for(settings).observe(record.target).versions
        asked = {"champion": record.stable, "challenger": record.version}
        spec = StepSpec(
            step="replay", dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=-1, try_number=ti.try_number,
            params={
                "rules": list(record.spec.replay),
                **{role: {"version": v, "url": versions[v].url} for role, v in asked.items() if v},
            },
            inputs={"requests": requests}, code=None, entry_point=None, image="train", store_uri=store.root,
            outputs_uri=_folder(store, context),
            resources=settings.profile("cpu-small").to_dict(),
        )  # fmt: skip
        # Where steps run, which reaches the models; but for what listens on this machine's loopback: no pod reaches that.
        runtime = "local" if settings.serving == "local" else settings.runtime
        self._runtime = runtime_for(
            dataclasses.replace(settings, runtime=runtime),
            context=context,
            pod={"task_id": ti.task_id, "deferrable": False},  # the lock is held meanwhile
        )
        self._runtime.run(spec, spec_uri=store.put_spec(spec), say=lambda line: self.log.info("%s", line))
        manifest = result(store, spec)
        return {**manifest.metrics, "report": manifest.outputs["report"].__dict__}

    def _replaced(self, settings: Settings, asked: dict[str, Any], attempt: str) -> dict[str, Any]:
        """What came of an attempt that has ended and whose record is another's by now: its release record says so."""
        from tradewind.registry import Registry

        name, version = str(asked["name"]), str(asked["version"])
        self.link_url = version_url(settings.tracking_uri, name, version)
        with Registry.of(settings) as registry:
            release = registry.release(name, attempt)
        if release is None:
            raise RolloutAborted(
                f"Another rollout of {name} has begun since, and no release record says what came of version {version}: see "
                "what serves, and start a new run"
            )
        if release["outcome"] != "released":
            raise RolloutAborted(f"Version {version} of {name} was rolled back: {release['reason']}")
        self.log.info("Version %s was released; another rollout has begun since", version)
        return task_result(settings, asked, None, changed=True, replaced=release["before"])

    def _outcome(self, context: Context, settings: Settings, asked: dict[str, Any], record: Record | None) -> dict[str, Any]:
        """What came of it; raises where it was taken back."""
        from tradewind.rollout.report import leave_report
        from tradewind.serving import serving_for
        from tradewind.store import Store

        store, name, version = Store(settings.store_uri), str(asked["name"]), str(asked["version"])
        self.link_url = version_url(settings.tracking_uri, name, version)
        last = record or last_record(serving_for(settings), name, version)
        if last is not None:
            leave_report(store, _folder(store, context), last)
        if record is not None and record.phase == "rolled_back":
            raise RolloutAborted(f"Version {version} of {name} was rolled back: {record.reason}")
        return task_result(settings, asked, record, changed=record is not None, replaced=record.stable if record else None)


def _folder(store: Store, context: Context) -> str:
    ti = context["ti"]
    return store.new_try(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, ti.try_number)


def _holder(context: Context) -> str:
    ti = context["ti"]
    return f"{ti.dag_id} / {ti.run_id} / {ti.task_id}"


def _last_try(context: Context) -> bool:
    ti = context["ti"]
    return bool(ti.try_number > ti.max_tries)


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
