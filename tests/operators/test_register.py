"""What is plainly wrong with a registration is said when the Dag is read."""

from __future__ import annotations

import pytest

from tradewind.errors import SpecError
from tradewind.operators import RegisterModelOperator


@pytest.mark.parametrize("name", ["my model", "über", "a/b", ""])
def test_a_name_that_no_endpoint_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"name '.*': expected at most 128 letters"):
        RegisterModelOperator(task_id="register", name=name, model={}, gate={})


@pytest.mark.parametrize("name", ["flight_delay", "{{ params.name }}"])
def test_others_are_not(name: str) -> None:
    assert RegisterModelOperator(task_id="register", name=name, model={}, gate={}).name == name
