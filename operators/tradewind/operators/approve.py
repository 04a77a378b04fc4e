"""A person's word before a release: Airflow's human-in-the-loop, with a dossier to decide by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tradewind.errors import ApprovalRefused, SpecError
from tradewind.operators.base import Input, TradewindOperator
from tradewind.operators.links import ReportLink, VersionLink, report_url, task_url, version_url

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.notifier import BaseNotifier

    from tradewind.approval.dossier import Dossier
    from tradewind.settings import Settings
    from tradewind.store import Store

APPROVE, REJECT = "Approve", "Reject"
_STATE = "tradewind_approval"  # in Airflow's task state store, which all tries of a task instance share
_REASON = "reason"


class ApproveReleaseOperator(TradewindOperator):
    """Ask a person whether a registered version may serve, and wait for the answer: in Airflow's UI, or by its REST API.

    They are shown a dossier: figures, slices and answers against the champion, data, cost, and what changed in code, data and
    environment. Their word is bound to the hashes of all that: where any of it is another when the answer comes, or when the
    rollout begins, it is void and the task fails. A retry after a crash does not ask again; a person who clears the task does,
    as long as the question is the same; else it wants a new run, which reuses what has not changed.

    A version that is the champion already needs no word and passes. The task waits without a worker or a triggerer. A
    rejection, or no answer in time, fails it without retry, with the reason.

    Returns the register task's metrics, with ``approval``: ``{"by", "by_id", "at", "why", "pins"}``, or None where none was
    needed.

    Args:
        version: the register task's output.
        approvers: who may answer, by the id that Airflow's auth manager knows them by, or as ``{"id", "name"}``; empty:
            whoever may answer at all.
        response_timeout: how long an answer is waited for, over all tries; None: as long as it takes.
        rollout: the rollout's argument of the same name: then it is shown and pinned too, and the rollout holds its own
            against it.
        notifiers: told when the question is asked; see `tradewind.notifications`.
    """

    template_fields: Sequence[str] = ("version", "rollout")
    operator_extra_links = (ReportLink(), VersionLink())
    ui_color = "#fdf3d8"

    def __init__(
        self,
        *,
        version: Input,
        approvers: Sequence[str | Mapping[str, str]] = (),
        response_timeout: timedelta | None = None,
        rollout: Mapping[str, Any] | str | None = None,
        notifiers: Sequence[BaseNotifier] | BaseNotifier = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(approvers, str | Mapping):
            what = "text" if isinstance(approvers, str) else "object"
            raise SpecError(f"approvers: expected a list of user ids, got the {what} {approvers!r}")
        if response_timeout is not None and response_timeout <= timedelta(0):
            raise SpecError(f"response_timeout: expected a time above 0, got {response_timeout}")
        self.version = version
        self.approvers = [_user(user) for user in approvers]
        self.response_timeout = response_timeout
        self.rollout = rollout
        self.notifiers = list(notifiers) if isinstance(notifiers, Sequence) else [notifiers]

    def work(self, context: Context) -> dict[str, Any]:
        from tradewind.approval.dossier import check_compared
        from tradewind.store import Store

        settings, asked = self._settings(), _asked(self.version)
        dossier = self._dossier(settings, asked)
        if dossier is None:
            self.log.info("%s version %s is the champion already: nothing to approve", asked["name"], asked["version"])
            return {"metrics": {**asked, "approval": None}}
        said = self._said_before(context)
        if said is None:
            check_compared(asked, dossier)
            return self._ask(context, Store(settings.store_uri), dossier)
        if said["decision"] is None:
            self._wait_on(context, said)
        self.log.info("Asked before: %s has answered", said["decision"]["by"])
        return self._decided(context, Store(settings.store_uri), asked, dossier, said["decision"], said["pins"])

    def answered(self, context: Context, event: dict[str, Any], pins: dict[str, str]) -> dict[str, Any]:
        """When the answer is there, or the time is over."""

        def work() -> dict[str, Any]:
            from tradewind.store import Store

            settings, asked = self._settings(), _asked(self.version)
            decision = self._decision(event)
            state = self._said_before(context) or {"asked_at": _now()}
            self._remember(context, {**state, "pins": pins, "decision": decision})
            dossier = self._dossier(settings, asked)
            if dossier is None:
                raise ApprovalRefused(
                    f"{asked['name']} version {asked['version']} became the champion meanwhile: nothing to approve"
                )
            return self._decided(context, Store(settings.store_uri), asked, dossier, decision, pins)

        metrics: dict[str, Any] = self.translated(work)
        return metrics

    # -- inside ---------------------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        from tradewind.settings import Settings

        return Settings.load()

    def _dossier(self, settings: Settings, asked: dict[str, Any]) -> Dossier | None:
        """As things are now; None where the version is the champion."""
        from tradewind.approval.dossier import gather
        from tradewind.operators.release_input import rollout_spec
        from tradewind.registry import CHAMPION, Registry
        from tradewind.serving import serving_for
        from tradewind.store import Store

        self.link_url = version_url(settings.tracking_uri, asked["name"], asked["version"])
        with Registry.of(settings) as registry:
            champion = registry.by_alias(str(asked["name"]), CHAMPION)
            if champion is not None and champion.version == str(asked["version"]):
                return None
            rollout = None if self.rollout is None else rollout_spec(self.rollout)
            store = Store(settings.store_uri)
            return gather(asked, registry=registry, store=store, serving=serving_for(settings), rollout=rollout)

    def _ask(self, context: Context, store: Store, dossier: Dossier) -> dict[str, Any]:
        """Leave the dossier, put the question, and wait. It never returns."""
        from airflow.sdk.exceptions import TaskAwaitingInput

        from tradewind.approval.page import body, changed_in_short
        from tradewind.notifications import approval_wanted, tell

        ti = context["ti"]
        _leave(context, store, dossier)
        ti.xcom_push(key=ReportLink().xcom_key, value=report_url(ti))
        subject = f"May {dossier.name} version {dossier.challenger.version} serve?"
        self._put(context, subject=subject, body=body(dossier, link=report_url(ti)))
        self._remember(context, {"asked_at": _now(), "pins": dossier.pins, "decision": None})
        who = ", ".join(user["name"] for user in self.approvers) or "anybody who may"
        self.log.info("Waiting for the word of %s at %s", who, task_url(ti, "required_actions"))
        event = approval_wanted(ti, reason=f"{subject} {changed_in_short(dossier)}")
        tell(self.notifiers, context, event)
        raise TaskAwaitingInput(method_name="answered", kwargs={"pins": dossier.pins}, timeout=self.response_timeout)

    def _put(self, context: Context, *, subject: str, body: str) -> None:
        """Put the question to Airflow.

        Raises:
            ApprovalRefused: Airflow, which keeps a cleared task's question word for word, would show another one.
        """
        from airflow.sdk import Param
        from airflow.sdk.api.datamodels._generated import HITLUser
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

        reason = Param("", type="string", title="Reason", description="It stays in the release record", maxLength=500)
        kept: Any = task_runner.SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=context["ti"].id,
                options=[APPROVE, REJECT],
                subject=subject,
                body=body,
                params={_REASON: reason.serialize()},
                assigned_users=[HITLUser(**user) for user in self.approvers],
            )
        )
        users = [{"id": user.id, "name": user.name} for user in kept.assigned_users or []]
        if (kept.subject, kept.body, users) != (subject, body, self.approvers):
            raise ApprovalRefused(
                "Airflow shows a cleared task's question as it was asked first, and this one is another by now: start a new run; "
                "what has not changed is reused"
            )

    def _wait_on(self, context: Context, said: dict[str, Any]) -> None:
        """For a question that an earlier try has put, and that stands. It never returns."""
        from tradewind.triggers.answer import AnswerTrigger

        until = self.response_timeout and datetime.fromisoformat(said["asked_at"]) + self.response_timeout
        self.log.info("Asked before, at %s: that question stands", said["asked_at"])
        trigger = AnswerTrigger(ti_id=str(context["ti"].id), until=until.isoformat() if until else None)
        self.defer(trigger=trigger, method_name="answered", kwargs={"pins": said["pins"]})

    def _said_before(self, context: Context) -> dict[str, Any] | None:
        """What this task instance asked and heard since a person last cleared it."""
        state = context["task_state_store"].get(_STATE)
        return state if isinstance(state, dict) and state.get("attempt") == _attempt(context) else None

    def _remember(self, context: Context, state: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        context["task_state_store"].set(_STATE, {**state, "attempt": _attempt(context)}, retention=NEVER_EXPIRE)

    def _decision(self, event: dict[str, Any]) -> dict[str, Any]:
        """A person's word as plain JSON; ApprovalRefused where none came."""
        if "error" in event:
            late = event.get("error_type") == "timeout"
            raise ApprovalRefused(self._too_late() if late else f"The answer could not be taken: {event['error']}")
        options = list(event["chosen_options"])
        if options not in ([APPROVE], [REJECT]):
            raise ApprovalRefused(f"Expected the answer {APPROVE} or {REJECT}, got {', '.join(map(str, options)) or 'none'}")
        by, at = event.get("responded_by_user") or {}, event.get("responded_at")
        return {
            "approved": options == [APPROVE],
            "by": str(by.get("name") or "nobody known"),
            "by_id": str(by.get("id") or ""),
            "at": at.astimezone(UTC).isoformat(timespec="seconds") if isinstance(at, datetime) else str(at or _now()),
            "why": str((event.get("params_input") or {}).get(_REASON) or "").strip(),
        }

    def _too_late(self) -> str:
        return f"Nobody answered within {self.response_timeout}: clear the task to ask again"

    def _decided(
        self,
        context: Context,
        store: Store,
        asked: dict[str, Any],
        dossier: Dossier,
        decision: dict[str, Any],
        pins: dict[str, str],
    ) -> dict[str, Any]:
        """The task's result; ApprovalRefused where it is no."""
        from tradewind.approval.dossier import differences

        void = differences(pins, dossier.pins) if decision["approved"] else []
        _leave(context, store, dossier, {**decision, "void": void})
        who = f"{decision['by']}{': ' + decision['why'] if decision['why'] else ', who gave no reason'}"
        if not decision["approved"]:
            raise ApprovalRefused(f"{asked['name']} version {asked['version']} was rejected by {who}")
        if void:
            raise ApprovalRefused(
                f"The approval of {asked['name']} version {asked['version']} by {decision['by']} is void, what they saw has "
                f"changed: {'; '.join(void)}. Start a new run: what has not changed is reused"
            )
        self.log.info("%s version %s was approved by %s", asked["name"], asked["version"], who)
        approval = {name: decision[name] for name in ("by", "by_id", "at", "why")}
        return {"metrics": {**asked, "approval": {**approval, "pins": pins}}}


def _leave(context: Context, store: Store, dossier: Dossier, decision: dict[str, Any] | None = None) -> None:
    """The dossier as this try's report, where Airflow's pages find it."""
    from tradewind.approval.page import page
    from tradewind.contract import StepManifest

    ti, now = context["ti"], _now()
    report = store.put_content("dossier.html", page(dossier, store, decision=decision).encode(), "report")
    word = "waits" if decision is None else "rejected" if not decision["approved"] else "void" if decision["void"] else "approved"
    manifest = StepManifest(
        status="failed" if word in ("rejected", "void") else "success",
        fingerprint=None,
        outputs={"report": report},
        metrics={
            "phase": word,
            "version": dossier.challenger.version,
            "reason": ("; ".join(decision["void"]) or decision["why"]) if decision else "",
            "by": decision["by"] if decision else "",
            "pins": dossier.pins,
        },
        started_at=now,
        ended_at=now,
    )
    map_index = -1 if ti.map_index is None else ti.map_index
    store.put_manifest(store.new_try(ti.dag_id, ti.run_id, ti.task_id, map_index, ti.try_number), manifest)


def _asked(value: Any) -> dict[str, Any]:
    from tradewind.operators.release_input import registered

    return registered(value)


def _attempt(context: Context) -> int:
    """Another number each time that a person has cleared the task; the same for the retries in between."""
    return int(context["ti"].max_tries)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user(value: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(value, str) and value:
        return {"id": value, "name": value}
    if isinstance(value, Mapping) and isinstance(value.get("id"), str):
        return {"id": value["id"], "name": str(value.get("name") or value["id"])}
    raise SpecError(f"approvers: expected a user's id, or {{'id': ..., 'name': ...}}, got {value!r}")
