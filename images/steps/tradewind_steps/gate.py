"""From measurements and rules to a verdict. Pure: plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tradewind.rules import Rule

Verdict = Literal["PASSED", "FAILED", "INCONCLUSIVE"]
RuleVerdict = Literal["PASSED", "FAILED", "INCONCLUSIVE", "NOT APPLICABLE"]
_NAMED = 5  # slices that a reason names before it counts the rest


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on the holdout, or on one slice of it.

    Attributes:
        rows: how many rows were measured.
        metrics: by name; None where these rows do not define one.
        slices: by column and value.
    """

    rows: int
    metrics: dict[str, float | None]
    slices: dict[str, dict[str, Measured]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What came of one rule. ``value`` is the challenger's metric (in the worst slice, which ``expected`` names)."""

    rule: str
    value: float | None
    expected: str
    verdict: RuleVerdict
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    verdict: Verdict
    reasons: list[str]
    rules: list[RuleResult]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One comparison; ``short`` says by how much the value misses the bound, in the metric's unit."""

    verdict: RuleVerdict
    value: float | None
    expected: str
    short: float = 0.0
    reason: str = ""


def judge(
    rules: Sequence[Rule],
    challenger: Measured,
    champion: Measured | None,
    *,
    min_rows: int,
    min_slice_rows: int,
    champion_trouble: str | None = None,
) -> Judgement:
    """Hold a challenger against rules.

    Args:
        champion: None where there is none, or where it could not be measured.
        min_rows: fewer holdout rows than this decide nothing.
        min_slice_rows: slices with fewer rows than this are not judged.
        champion_trouble: why a comparison with the champion would not be fair, if it would not.

    A rule about a champion does not apply where there is none. FAILED if a rule fails, whatever else is uncertain; but
    with too few rows nothing is certain.
    """
    results = [_apply(rule, challenger, champion, min_slice_rows, champion_trouble) for rule in rules]
    reasons: list[str] = []
    if challenger.rows < min_rows:
        reasons.append(f"{challenger.rows} holdout rows, expected at least {min_rows} to conclude anything")
    failed = [reason for result in results if result.verdict == "FAILED" for reason in result.reasons]
    open_ = [reason for result in results if result.verdict == "INCONCLUSIVE" for reason in result.reasons]
    verdict: Verdict = "PASSED"
    if reasons:
        verdict = "INCONCLUSIVE"
    elif failed:
        verdict = "FAILED"
    elif open_:
        verdict = "INCONCLUSIVE"
    return Judgement(verdict=verdict, reasons=list(dict.fromkeys([*reasons, *failed, *open_])), rules=results)


def _apply(rule: Rule, challenger: Measured, champion: Measured | None, min_slice_rows: int, trouble: str | None) -> RuleResult:
    if rule.champion and trouble:
        value = None if rule.column else challenger.metrics.get(rule.metric)
        return RuleResult(rule=rule.text, value=value, expected=rule.expected, verdict="INCONCLUSIVE", reasons=[trouble])
    if rule.champion and champion is None:
        value = None if rule.column else challenger.metrics.get(rule.metric)
        return RuleResult(rule=rule.text, value=value, expected=rule.expected, verdict="NOT APPLICABLE")
    if rule.column is None:
        reading = _read(rule, challenger, champion, "")
        reasons = [reading.reason] if reading.reason else []
        return RuleResult(
            rule=rule.text, value=reading.value, expected=reading.expected, verdict=reading.verdict, reasons=reasons
        )
    return _apply_to_slices(rule, challenger, champion, min_slice_rows)


def _apply_to_slices(rule: Rule, challenger: Measured, champion: Measured | None, min_slice_rows: int) -> RuleResult:
    assert rule.column
    slices = challenger.slices.get(rule.column, {})
    others = champion.slices.get(rule.column, {}) if champion else {}
    judged = {value: part for value, part in slices.items() if part.rows >= min_slice_rows}
    readings = [_read(rule, part, others.get(value), f" for {rule.column} = {value}") for value, part in judged.items()]
    # A slice that does not define the metric, as one without a late flight, says nothing about the model.
    readings = [reading for reading in readings if reading.verdict != "INCONCLUSIVE"]
    if not readings:
        reason = f"{rule.text}: no slice of {rule.column} has at least {min_slice_rows} rows that define {rule.metric}"
        return RuleResult(rule=rule.text, value=None, expected=rule.expected, verdict="INCONCLUSIVE", reasons=[reason])
    readings.sort(key=lambda reading: reading.short, reverse=True)
    worst = readings[0]
    failed = [reading.reason for reading in readings if reading.verdict == "FAILED"]
    reasons = failed[:_NAMED]
    if len(failed) > _NAMED:
        reasons.append(f"{rule.text}: {len(failed) - _NAMED} more slices of {rule.column} fall short")
    verdict: RuleVerdict = "FAILED" if failed else "PASSED"
    return RuleResult(rule=rule.text, value=worst.value, expected=worst.expected, verdict=verdict, reasons=reasons)


def _read(rule: Rule, challenger: Measured, champion: Measured | None, where: str) -> _Reading:
    value = challenger.metrics.get(rule.metric)
    bound = rule.bound(champion.metrics.get(rule.metric) if champion else None)
    expected = f"{rule.expected}{f' = {bound:.4g}' if rule.champion and bound is not None else ''}{where}"
    if value is None or bound is None:
        whose = "" if value is None else "the champion's "
        reason = f"{whose}{rule.metric} is not defined on these rows{where}"
        return _Reading(verdict="INCONCLUSIVE", value=value, expected=expected, reason=reason)
    short = bound - value if rule.comparison in (">=", ">") else value - bound
    if rule.holds(value, bound):
        return _Reading(verdict="PASSED", value=value, expected=expected, short=short)
    amount = f"{abs(short):.3g} {'short' if rule.comparison in ('>=', '>') else 'over'}"
    reason = f"{rule.metric} {value:.4g}{where}, expected {expected.removesuffix(where)}: {amount}"
    return _Reading(verdict="FAILED", value=value, expected=expected, short=short, reason=reason)
