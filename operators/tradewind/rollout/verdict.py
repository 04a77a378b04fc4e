"""What speaks against a version that gets requests, or copies of them. Pure: each is None, or the reason in words."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind.rollout.analysis import SLOW_QUANTILE, apart, evidence, further, log_likelihoods, quantile, slower
from tradewind.rollout.observed import Observed
from tradewind.rollout.record import Record, Traffic
from tradewind.rules import Rule, parse_rules
from tradewind.serving.base import ServedVersion

UNREADY_S = 5.0  # how long a canary may not answer


def guards(observed: Observed, record: Record) -> str | None:
    """Why a version that gets requests has to go back at once; None where nothing speaks against it."""
    if reason := broken(observed, record):
        return reason
    limit = 1 / record.spec.alpha
    if record.evidence >= limit:
        new, old = record.of(record.version), record.of(record.stable)
        return (
            f"errors: {new.errors} of {new.requests} requests of version {record.version} failed, {old.errors} of {old.requests} "
            f"of version {record.stable}: evidence {record.evidence:.4g}, limit {limit:g}"
        )
    return None


def worse_than_before(record: Record) -> str | None:
    """After the switch nobody else is asked: the new version's errors since are held against the old one's before."""
    new, old = record.of(record.version), record.of(record.stable)
    requests, errors = new.requests - record.step_requests, new.errors - record.step_errors
    if evidence(log_likelihoods(errors, old.errors, requests, old.requests)) < 1 / record.spec.alpha:
        return None
    return (
        f"errors: {errors} of {requests} requests failed since version {record.version} has all of them, "
        f"{old.errors} of {old.requests} of version {record.stable} before"
    )


def broken(observed: Observed, record: Record) -> str | None:
    served = observed.deployment.versions.get(record.version)
    if served is None:
        return f"version {record.version} is not loaded any more"
    ended = served.restarts - record.restarts
    most = record.spec.max_restarts
    if ended > most:
        return f"version {record.version} ended by itself {ended} times, at most {most} are allowed{_said(served)}"
    if record.unready_since is not None and observed.now - record.unready_since >= UNREADY_S:
        return f"version {record.version} has not answered for {observed.now - record.unready_since:.0f} s{_said(served)}"
    return None


def _said(served: ServedVersion) -> str:
    return f": {served.error}" if served.error else ""


def slow(record: Record) -> str | None:
    new, old = record.of(record.version).latency, record.of(record.stable).latency
    if slower(new, old, record.spec.latency_ratio) >= record.spec.alpha / record.spec.looks:
        return None
    ours, theirs = quantile(new, SLOW_QUANTILE), quantile(old, SLOW_QUANTILE)
    return (
        f"latency: nine of ten requests of version {record.version} took up to {ours:g} ms, of version {record.stable} "
        f"{theirs:g} ms: more than {record.spec.latency_ratio:g} times as long"
    )


def drifted(record: Record) -> str | None:
    new, old = record.of(record.version).answers, record.of(record.stable).answers
    if further(new, old, record.spec.answer_distance) >= record.spec.alpha / record.spec.looks:
        return None
    return (
        f"answers: those of version {record.version} are distributed {apart(new, old):.2f} apart from those of version "
        f"{record.stable} to the same kind of requests, at most {record.spec.answer_distance:g} is allowed"
    )


def broken_rules(record: Record) -> str | None:
    """Which of the spec's rules the figures break."""
    found = [said for holds, said in _ruled(record) if holds is False]
    return "; ".join(found) or None


def unread_rules(record: Record) -> str | None:
    """Which of them cannot be judged: the figure is not to be had."""
    found = [said for holds, said in _ruled(record) if holds is None]
    return "; ".join(found) or None


def kept_rules(record: Record) -> str:
    """The figures of those that hold, for whoever reads the report."""
    return "".join(f"; {said}" for holds, said in _ruled(record) if holds)


def _ruled(record: Record) -> Iterator[tuple[bool | None, str]]:
    """Of each rule whether it holds, None where that is not to be had; with its figures in words."""
    new, old = record.of(record.version), record.of(record.stable)
    for rule in parse_rules(record.spec.rules, "canary"):
        value, bound = _figure(rule, new), rule.bound(_figure(rule, old))
        said = f"{rule.metric} {'unknown' if value is None else f'{value:.4g}'}, expected {rule.expected}"
        if rule.champion:
            said += f", which is {'unknown' if bound is None else f'{bound:.4g}'}"
        yield (None if value is None or bound is None else rule.holds(value, bound)), said


def _figure(rule: Rule, traffic: Traffic) -> float | None:
    if rule.metric == "error_share":
        return traffic.errors / traffic.requests if traffic.requests else None
    return quantile(traffic.latency, int(rule.metric.removeprefix("p")) / 100)
