"""A person for ``dag.test()``, which waits for one and has none: answers what tasks ask.

::

    with answers("Approve", by="anna", why="as good as before") as asked:
        dag.test()
    assert "version 2" in asked[0].subject

The answer goes the way of Airflow's own REST API: whoever is not among those asked is refused. A time limit that passes is
the scheduler's to see, and ``dag.test()`` has none; it is seen here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_LOOK_S = 0.2
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a task asks.

    Attributes:
        body: Markdown.
        approvers: ids of those who may answer; empty: anybody.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    body: str
    options: list[str] = field(default_factory=list)
    approvers: list[str] = field(default_factory=list)


Decide = Callable[[Question], "str | Mapping[str, str] | None"]
"""From a question to one of its options, or ``{"option", "by", "why"}``; None: not yet, it is asked again soon."""


@contextmanager
def answers(decide: str | Decide = "Approve", *, by: str = "tester", why: str = "") -> Iterator[list[Question]]:
    """For the time of the block, somebody answers each question that a task of this process's Airflow asks.

    Args:
        decide: the option, or a function that chooses one.
        by: the answering user's id.
        why: goes into the form's field ``reason``, where it has one.

    Yields:
        The questions that were answered or refused so far.
    """
    asked: list[Question] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_LOOK_S):
            try:
                _look(asked, decide if callable(decide) else lambda _: decide, by, why)
            except Exception:  # a busy database, a decision that raises: a Dag that nobody answers would wait for ever
                _LOG.exception("No answer could be given; the next look is in %g s", _LOOK_S)

    _load_models()
    thread = threading.Thread(target=work, name="answers", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        ended.set()
        thread.join()


def _load_models() -> None:
    """All of Airflow's tables, before there is a second thread: SQLAlchemy's lock, which a query takes for its first look at
    them, and Python's lock of a module, which ``dag.test()`` takes for an import of one, would wait for each other."""
    import airflow.models.serialized_dag  # with what it imports
    import airflow.providers.standard.operators.trigger_dagrun  # noqa: F401
    from airflow.models import import_all_models
    from sqlalchemy.orm import configure_mappers

    import_all_models()  # type: ignore[no-untyped-call]
    configure_mappers()


def _look(asked: list[Question], decide: Decide, by: str, why: str) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload

    with create_session() as session:
        waiting = select(TaskInstance).where(TaskInstance.state == TaskInstanceState.AWAITING_INPUT)
        for ti in session.scalars(waiting.options(joinedload(TaskInstance.hitl_detail))).all():
            if ti.hitl_detail is None:
                continue
            if ti.hitl_detail.response_received:
                # ``dag.test()`` writes the state of a task that has just asked once more, over that of one that was answered.
                _resume(session, ti, ti.hitl_detail.as_resume_event_payload())
            else:
                _answer(session, ti, asked, decide, by, why)


def _resume(session: Any, ti: Any, event: dict[str, Any]) -> None:
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent

    handle_event_submit(TriggerEvent(event), task_instance=ti, session=session)  # type: ignore[no-untyped-call]


def _answer(session: Any, ti: Any, asked: list[Question], decide: Decide, by: str, why: str) -> None:
    from airflow._shared.timezones import timezone

    detail = ti.hitl_detail
    question = Question(
        dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index, subject=detail.subject,
        body=detail.body or "", options=list(detail.options), approvers=[user["id"] for user in detail.assigned_users],
    )  # fmt: skip
    now = timezone.utcnow()
    if ti.trigger_timeout is not None and ti.trigger_timeout < now:
        _resume(session, ti, {"error": "too late", "error_type": "timeout"})
        return
    chosen = decide(question)
    if chosen is None:
        return
    answer = {"option": chosen, "by": by, "why": why} if isinstance(chosen, str) else {"by": by, "why": why, **chosen}
    if question not in asked:
        asked.append(question)
    refused = ""
    if question.approvers and answer["by"] not in question.approvers:
        refused = f"{answer['by']} is not among those who may answer: {', '.join(question.approvers)}"
    elif answer["option"] not in question.options:
        refused = f"expected one of {', '.join(question.options)}, got {answer['option']!r}"
    if refused:
        _resume(session, ti, {"error": refused, "error_type": "validation"})
        return
    detail.responded_by = {"id": answer["by"], "name": answer["by"]}
    detail.responded_at = now
    detail.chosen_options = [answer["option"]]
    detail.params_input = {"reason": answer["why"]} if "reason" in detail.params else {}
    _resume(session, ti, detail.as_resume_event_payload())
