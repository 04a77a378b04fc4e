"""A rollout's record in the cluster, with the orders beside it and the lock around it: who writes, who waits, who is too late."""

from __future__ import annotations

import time
from typing import Any

import pytest
from live import until
from seldon_world import TARGET, Platform

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.serving.seldon import lease


def test_who_was_silent_for_too_long_does_not_write_over_the_next_ones_record(platform: Platform) -> None:
    """A request that took so long that another has the lock by now. Orders that come meanwhile hinder nobody."""
    slow, next_one = platform.serving(), platform.serving()
    slow.keep_record(TARGET, {"phase": "canary"})
    next_one.record(TARGET)
    next_one.put_order(TARGET, "a1", {"do": "hold", "attempt": "x", "at": 1.0})
    next_one.keep_record(TARGET, {"phase": "roll_back"})
    with pytest.raises(RuntimeUnavailable, match="Another has carried on the rollout that tradewind-rollout-m"):
        slow.keep_record(TARGET, {"phase": "switch"})
    assert slow.record(TARGET) == {"phase": "roll_back"}
    assert set(slow.orders(TARGET)) == {"a1"}
    slow.keep_record(TARGET, {"phase": "rolled_back"})
    assert next_one.record(TARGET) == {"phase": "rolled_back"}


def test_orders_that_come_while_a_record_is_written_are_no_conflict(platform: Platform) -> None:
    serving, came = platform.serving(), 0
    serving.keep_record(TARGET, {"phase": "canary"})

    def order(call: str) -> None:
        nonlocal came
        if call == "PATCH configmaps" and came < 5:
            came += 1
            platform.kube.edit("configmaps", "tradewind-rollout-m", lambda o: o["data"].update({f"order.{came}": "{}"}))

    platform.kube.fails = order
    serving.keep_record(TARGET, {"phase": "held"})
    assert (came, serving.record(TARGET), len(serving.orders(TARGET))) == (5, {"phase": "held"}, 5)


def test_who_waits_is_told_who_holds_the_lock_and_gets_it_when_the_holder_is_silent(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 2.0)
    monkeypatch.setattr(lease, "_RENEW_S", 0.1)
    lock = platform.serving().lock(TARGET, holder="run 1", timeout_s=1)
    lock.__enter__()
    with (
        pytest.raises(RuntimeUnavailable, match=r"is held by run 1; waited 0\.2 s"),
        platform.serving().lock(TARGET, holder="run 2", timeout_s=0.2),
    ):
        pass
    (hold,) = lock.gen.gi_frame.f_locals["self"]._holds.values()  # type: ignore[attr-defined]
    hold._ended.set()  # as if its process were gone: nobody renews, nobody says goodbye
    with platform.serving().lock(TARGET, holder="run 2", timeout_s=5):
        until(lambda: not hold.valid, within_s=2, what="the first holder's end")


def test_a_lost_lock_writes_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.release("1")
    serving = platform.serving()
    with serving.lock(TARGET, holder="run 1", timeout_s=1):
        monkeypatch.setattr(lease, "LENGTH_S", 0.0)
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            serving.keep_record(TARGET, {})
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            serving.load(TARGET, "2", platform.model("2"))


def test_a_renewal_whose_answer_is_lost_is_no_lost_lock(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 4.0)
    monkeypatch.setattr(lease, "_RENEW_S", 0.1)
    ask, lost = platform.kube.ask, []

    def without_answer(method: str, path: str, *arguments: Any, **options: Any) -> Any:
        found = ask(method, path, *arguments, **options)
        if method == "PUT" and "/leases/" in path and not lost:
            lost.append(path)
            raise RuntimeUnavailable("Kubernetes does not answer")
        return found

    monkeypatch.setattr(platform.kube, "ask", without_answer)
    serving = platform.serving()
    with serving.lock(TARGET, holder="run 1", timeout_s=1):
        until(lambda: bool(lost), within_s=2, what="a renewal")
        time.sleep(3.5)
        serving.keep_record(TARGET, {"schema": 1})

        def takes(found: dict[str, Any]) -> None:
            found["spec"]["holderIdentity"] = "another's"

        platform.kube.edit("leases", "tradewind-rollout-m", takes)
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            until(lambda: serving.keep_record(TARGET, {"schema": 1}), within_s=2.5, what="to notice")


def test_orders_lie_in_the_records_own_object_and_touch_nothing_else_of_it(platform: Platform) -> None:
    serving = platform.serving()
    with pytest.raises(SpecError):
        serving.put_order(TARGET, "a1", {"do": "hold"})
    serving.put_order(TARGET, "a1", None)
    serving.keep_record(TARGET, {"schema": 1})
    serving.put_order(TARGET, "a1", {"do": "hold"})
    serving.put_order(TARGET, "b2", {"do": "roll_back"})
    serving.keep_record(TARGET, {"schema": 1, "phase": "canary"})
    serving.put_order(TARGET, "a1", None)
    assert serving.orders(TARGET) == {"b2": {"do": "roll_back"}}
    assert serving.record(TARGET) == {"schema": 1, "phase": "canary"}


def test_a_record_that_is_refused_is_told_in_the_servers_words(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, ask = platform.serving(), platform.kube.ask
    serving.keep_record(TARGET, {"schema": 1})

    def full(method: str, path: str, *arguments: Any, **options: Any) -> Any:
        if method == "PATCH" and "/configmaps/" in path:
            raise SpecError("Kubernetes, PATCH: 413 Request entity too large")
        return ask(method, path, *arguments, **options)

    monkeypatch.setattr(platform.kube, "ask", full)
    with pytest.raises(SpecError, match="too large"):
        serving.keep_record(TARGET, {"schema": 1})
