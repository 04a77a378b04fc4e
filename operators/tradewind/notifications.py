"""Tells people, by Airflow's own notifiers, what a pipeline's people want to know at once.

::

    tell = notify(SlackNotifier(text="{{ tradewind.sentence }} {{ tradewind.link }}"), on=["gate_failed", "rolled_back"])

    with DAG(..., default_args={"on_failure_callback": tell, "notifiers": notify(WebhookNotifier(webhook_conn_id="team"))}):

Any notifier of any provider will do: `notify` gives its templates the variable ``tradewind``, see `Event`, and keeps it quiet
on everything else. `WebhookNotifier` needs no other provider.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.notifier import BaseNotifier

from tradewind.errors import ApprovalRefused, GateFailed, RolloutAborted, SpecError, ValidationFailed

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Context

    from tradewind.operators.links import TaskInstanceName

_log = logging.getLogger(__name__)

# In words, for the sentence.
EVENTS = {
    "validation_failed": "the data were refused",
    "gate_failed": "the gate let the model not pass",
    "approval_wanted": "a person is asked",
    "not_approved": "the release was not approved",
    "rolled_back": "the rollout was taken back",
    "drift": "the data are no longer what the model that serves was trained on",
    "failed": "a task failed",
}
_OF_ERROR = {
    ValidationFailed: "validation_failed",
    GateFailed: "gate_failed",
    ApprovalRefused: "not_approved",
    RolloutAborted: "rolled_back",
}
_NAMED = 3  # reasons of a drift
_LONGEST = 500  # characters of a reason
_TIMEOUT_S = 10.0
_CONNECTS = 3


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a notifier's templates have as ``tradewind``.

    Attributes:
        event: one of `EVENTS`.
        reason: why, in one sentence.
        sentence: what and why, with the Dag and the task.
        link: the task instance's page in Airflow; of a question the form that answers it.
        report: its report's page; empty where the task leaves none.
    """

    event: str
    reason: str
    sentence: str
    link: str
    report: str
    dag_id: str
    run_id: str
    task_id: str


def notify(notifier: BaseNotifier, *, on: Collection[str] | None = None) -> Notify:
    """A callback for ``on_failure_callback`` of tasks, and for the ``notifiers`` of those that take them.

    Args:
        notifier: is called with ``tradewind`` in its context.
        on: of which of `EVENTS`; by default all but ``failed``, which is any other failure of a task.

    Raises:
        SpecError: there is no such event.
    """
    return Notify(notifier, on=on)


class Notify(BaseNotifier):
    """What `notify` makes."""

    def __init__(self, notifier: BaseNotifier, *, on: Collection[str] | None = None) -> None:
        super().__init__()
        if isinstance(on, str) or not set(on or ()) <= EVENTS.keys():
            raise SpecError(f"on: expected a list of {', '.join(EVENTS)}, got {on!r}")
        if not isinstance(notifier, BaseNotifier):
            raise SpecError(f"notifier: expected an Airflow notifier such as WebhookNotifier(...), got {notifier!r}")
        self.notifier = notifier
        self.on = frozenset(EVENTS.keys() - {"failed"} if on is None else on)

    def __call__(self, *args: Any) -> None:
        context: Any = args[0]
        event = context.get("tradewind") or of_failure(context)
        if event["event"] in self.on:
            # A copy: rendering its templates changes a notifier for good.
            copy.copy(self.notifier)({**context, "tradewind": event})

    def notify(self, context: Context) -> None:
        self(context)


def approval_wanted(ti: TaskInstanceName, *, reason: str) -> dict[str, str]:
    """The event of a question."""
    from tradewind.operators.links import task_url

    return _event("approval_wanted", ti, reason=reason, link=task_url(ti, "required_actions"), report=True)


def drift(ti: TaskInstanceName, *, reasons: Sequence[str]) -> dict[str, str]:
    """The event of a drift; its reason names what moved furthest."""
    from tradewind.operators.links import task_url

    more = [f"and {len(reasons) - _NAMED} more"] if len(reasons) > _NAMED else []
    return _event("drift", ti, reason="; ".join([*reasons[:_NAMED], *more]), link=task_url(ti), report=True)


def tell(notifiers: Sequence[BaseNotifier], context: Context, event: dict[str, str]) -> None:
    """Hand an event to what a task was given as ``notifiers``. One that fails is logged: what it tells of stands without it."""
    for notifier in notifiers:
        try:
            notifier({**context, "tradewind": event})
        except Exception:
            _log.exception("A notifier failed")


def of_failure(context: Any) -> dict[str, str]:
    """The event of a task's failure, from what it raised. A task that was ended from outside has raised nothing."""
    from tradewind.operators.links import ReportLink, task_url

    error: Any = context.get("exception")
    known = error
    while known is not None and type(known) not in _OF_ERROR:
        known = known.__cause__ if isinstance(known, BaseException) else None
    if known is not None:
        event, reason = _OF_ERROR[type(known)], str(known)
    else:
        event, reason = "failed", str(error or "") or "it was ended from outside, or its worker died; its log may say more"
    ti, task = context["ti"], context.get("task")
    links = getattr(task, "operator_extra_links", ())
    return _event(event, ti, reason=reason, link=task_url(ti), report=any(isinstance(link, ReportLink) for link in links))


def _event(event: str, ti: TaskInstanceName, *, reason: str, link: str, report: bool) -> dict[str, str]:
    from tradewind.operators.links import report_url

    short = " ".join(reason.split())
    short = short if len(short) <= _LONGEST else f"{short[: _LONGEST - 3]}..."
    sentence = f"{ti.dag_id}, {ti.task_id}: {EVENTS[event]}: {short}"
    return asdict(
        Event(
            event=event, reason=short, sentence=sentence, link=link, report=report_url(ti) if report else "", dag_id=ti.dag_id,
            run_id=ti.run_id, task_id=ti.task_id,
        )
    )  # fmt: skip


class WebhookNotifier(BaseNotifier):
    """Posts JSON to an address that an Airflow connection holds, so that neither a Dag nor a log has it.

    The body is ``{"text", "event", "reason", "link", "report", "dag_id", "run_id", "task_id"}``; chat services take ``text``.
    The connection's host is the whole URL (or a host, with schema and port); its password, where there is one, goes as a
    bearer token, with a login as basic authentication. ``HTTPS_PROXY`` and its like hold.

    Args:
        webhook_conn_id: the connection.
        text: a template; by default the event's sentence and link.
        timeout_s: seconds that the other side has for its answer.
    """

    template_fields: Sequence[str] = ("text",)

    def __init__(
        self,
        *,
        webhook_conn_id: str = "tradewind_webhook",
        text: str = "{{ tradewind.sentence }} {{ tradewind.link }}",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        super().__init__()
        self.webhook_conn_id = webhook_conn_id
        self.text = text
        self.timeout_s = timeout_s

    def __call__(self, *args: Any) -> None:
        context: Any = args[0]  # by itself, without `notify`, the template wants what is told as well
        super().__call__({**context, "tradewind": context.get("tradewind") or of_failure(context)}, *args[1:])

    def notify(self, context: Context) -> None:
        """Raises RuntimeError, without the address, where it is not taken."""
        import httpx
        from airflow.sdk import Connection

        connection = Connection.get(self.webhook_conn_id)
        url, headers, auth = _target(connection)
        event = context.get("tradewind") or of_failure(context)
        names = ("event", "reason", "link", "report", "dag_id", "run_id", "task_id")
        content = {"text": self.text, **{name: event[name] for name in names}}  # type: ignore[index]
        # It logs each request's URL, which is all that some services want to know of a sender.
        logger = logging.getLogger("httpx")
        before, logger.disabled = logger.disabled, True
        try:
            with httpx.Client(auth=auth, timeout=self.timeout_s) as client:
                status = _posted(lambda: client.post(url, json=content, headers=headers)).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RuntimeError(
                f"The webhook of connection {self.webhook_conn_id} cannot be reached: {type(error).__name__}"
            ) from None
        finally:
            logger.disabled = before
        if not httpx.codes.is_success(status):
            raise RuntimeError(f"The webhook of connection {self.webhook_conn_id} expected something else: it answered {status}")


def _posted(post: Callable[[], httpx.Response]) -> httpx.Response:
    """Three times where nobody is there. (By its own retries httpx would go past the environment's proxies.)"""
    import httpx

    for _ in range(_CONNECTS - 1):
        with contextlib.suppress(httpx.ConnectError):
            return post()
    return post()


def _target(connection: Any) -> tuple[str, dict[str, str], tuple[str, str] | None]:
    """URL, headers and login."""
    url = str(connection.host or "")
    if "://" not in url:
        url = f"{connection.schema or 'https'}://{url}{f':{connection.port}' if connection.port else ''}"
    if connection.login:
        return url, {}, (connection.login, connection.password or "")
    return url, {"Authorization": f"Bearer {connection.password}"} if connection.password else {}, None
