from __future__ import annotations

from typing import Any

from tradewind.rules import parse_rules
from tradewind_steps.gate import Judgement, Measured, judge


def model(auc: float | None, rows: int = 5000, **carriers: tuple[int, float | None]) -> Measured:
    slices = (
        {"carrier": {name: Measured(rows=n, metrics={"auc": value}) for name, (n, value) in carriers.items()}} if carriers else {}
    )
    return Measured(rows=rows, metrics={"auc": auc}, slices=slices)


def judged(rules: list[str], challenger: Measured, champion: Measured | None = None, **options: Any) -> Judgement:
    return judge(parse_rules(rules), challenger, champion, **{"min_rows": 1000, "min_slice_rows": 200, **options})


def test_the_reason_says_by_how_much() -> None:
    assert judged(["auc >= 0.6"], model(0.583)).reasons == ["auc 0.583, expected >= 0.6: 0.017 short"]
    found = judged(["auc >= champion - 0.005"], model(0.683), model(0.7))
    assert found.reasons == ["auc 0.683, expected >= champion - 0.005 = 0.695: 0.012 short"]
    assert judged(["auc < 0.5"], model(0.625)).reasons == ["auc 0.625, expected < 0.5: 0.125 over"]


def test_without_a_champion_its_rules_do_not_apply() -> None:
    found = judged(["auc >= champion", "slice(carrier).auc >= champion"], model(0.5, UA=(500, 0.5)))
    assert (found.verdict, found.reasons) == ("PASSED", [])
    assert [result.verdict for result in found.rules] == ["NOT APPLICABLE", "NOT APPLICABLE"]


def test_too_few_rows_decide_nothing() -> None:
    found = judged(["auc >= 0.6"], model(0.2, rows=999))
    assert found.verdict == "INCONCLUSIVE"
    assert found.reasons[0] == "999 holdout rows, expected at least 1000 to conclude anything"
    assert judged(["auc >= 0.6"], model(0.7, rows=1000)).verdict == "PASSED"


def test_an_unfair_champion_leaves_open_but_a_failed_rule_fails() -> None:
    unfair = "the champion knows these rows"
    assert judged(["auc >= champion"], model(0.7), model(0.6), champion_trouble=unfair).verdict == "INCONCLUSIVE"
    found = judged(["auc >= champion", "auc >= 0.9"], model(0.7), model(0.6), champion_trouble=unfair)
    assert (found.verdict, found.reasons) == ("FAILED", ["auc 0.7, expected >= 0.9: 0.2 short", unfair])
    assert judged(["auc >= 0.6"], model(0.7), model(0.6), champion_trouble=unfair).verdict == "PASSED"


def test_a_metric_that_is_not_defined_decides_nothing() -> None:
    assert judged(["auc >= 0.6"], model(None)).reasons == ["auc is not defined on these rows"]
    assert judged(["auc >= champion"], model(0.6), model(None)).reasons == ["the champion's auc is not defined on these rows"]


def test_every_slice_with_enough_rows_has_to_hold() -> None:
    challenger = model(0.7, UA=(900, 0.7), OO=(300, 0.4), YV=(199, 0.1), HA=(250, None))
    found = judged(["slice(carrier).auc >= 0.5"], challenger)
    assert (found.verdict, found.reasons) == ("FAILED", ["auc 0.4 for carrier = OO, expected >= 0.5: 0.1 short"])
    assert (found.rules[0].value, found.rules[0].expected) == (0.4, ">= 0.5 for carrier = OO")
    assert judged(["slice(carrier).auc >= 0.4"], challenger).verdict == "PASSED"
    assert judged(["slice(carrier).auc >= 0.5"], challenger, min_slice_rows=1000).verdict == "INCONCLUSIVE"


def test_slices_are_compared_with_the_champion_in_that_slice() -> None:
    champion = model(0.7, UA=(900, 0.72), OO=(300, 0.5))
    found = judged(["slice(carrier).auc >= champion - 0.05"], model(0.7, UA=(900, 0.7), OO=(300, 0.4)), champion)
    assert found.reasons == ["auc 0.4 for carrier = OO, expected >= champion - 0.05 = 0.45: 0.05 short"]


def test_many_failing_slices_are_counted() -> None:
    found = judged(["slice(carrier).auc >= 0.5"], model(0.7, **{f"C{n}": (300, 0.1) for n in range(8)}))
    assert len(found.reasons) == 6
    assert found.reasons[-1] == "slice(carrier).auc >= 0.5: 3 more slices of carrier fall short"


def test_no_rules_hold() -> None:
    assert judged([], model(0.1)).verdict == "PASSED"
