"""What is plainly wrong with an approval is said when the Dag is read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.operators import ApproveReleaseOperator


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"approvers": "anna"}, r"approvers: expected a list of user ids, got the text 'anna'"),
        ({"approvers": {"id": "anna", "name": "Anna"}}, r"approvers: expected a list of user ids, got the object \{'id'"),
        ({"approvers": [7]}, r"approvers: expected a user's id, or .*, got 7"),
        ({"approvers": [""]}, r"approvers: expected a user's id"),
        ({"approvers": [{"name": "Anna"}]}, r"approvers: expected a user's id"),
        ({"response_timeout": timedelta(0)}, r"response_timeout: expected a time above 0, got 0:00:00"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ApproveReleaseOperator(task_id="approve", version={}, **arguments)


def test_approvers_by_id_or_with_a_name() -> None:
    task = ApproveReleaseOperator(task_id="approve", version={}, approvers=["anna", {"id": "7", "name": "Bert"}])
    assert task.approvers == [{"id": "anna", "name": "anna"}, {"id": "7", "name": "Bert"}]
