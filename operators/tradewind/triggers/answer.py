"""Waits for the answer to a question that an earlier try asked.

A task may put a question to Airflow, but not look for its answer; a trigger may. Only a retry comes here: the first try
waits without a trigger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

# Airflow takes an event that comes before it has seen the task's process end for a task that was killed.
_FIRST_S = 5.0


class AnswerTrigger(BaseTrigger):
    """Ends with what Airflow itself resumes a waiting task with: the answer, or ``{"error", "error_type": "timeout"}``.

    Args:
        ti_id: the task instance's.
        until: ISO 8601, when nobody is waited for any more; None: never.
        poll_interval: seconds between two looks.
    """

    def __init__(self, *, ti_id: str, until: str | None, poll_interval: float = 5.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ti_id = ti_id
        self.until = until
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        fields = {"ti_id": self.ti_id, "until": self.until, "poll_interval": self.poll_interval}
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail
        from asgiref.sync import sync_to_async

        look, pause = sync_to_async(get_hitl_detail_content_detail), _FIRST_S
        while True:
            await asyncio.sleep(pause)
            pause = self.poll_interval
            found = await look(ti_id=self.ti_id)  # type: ignore[arg-type]
            if found.response_received and found.chosen_options:
                by = found.responded_by_user
                answer = {
                    "chosen_options": list(found.chosen_options),
                    "params_input": found.params_input or {},
                    "responded_by_user": {"id": by.id, "name": by.name} if by else None,
                    "responded_at": found.responded_at.isoformat() if found.responded_at else None,
                }
                yield TriggerEvent(answer)  # type: ignore[no-untyped-call]
                return
            if self.until and datetime.now(UTC) > datetime.fromisoformat(self.until):
                yield TriggerEvent({"error": "nobody answered", "error_type": "timeout"})  # type: ignore[no-untyped-call]
                return
