import pytest

from tradewind.errors import SpecError
from tradewind.rules import ALL_METRICS, METRICS, parse_rules


def parts(text: str) -> tuple[object, ...]:
    (rule,) = parse_rules([text])
    return rule.column, rule.metric, rule.comparison, rule.champion, rule.margin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auc >= 0.6", (None, "auc", ">=", False, 0.6)),
        (" rmse<1e3 ", (None, "rmse", "<", False, 1000.0)),
        ("r2 > -.5", (None, "r2", ">", False, -0.5)),
        ("auc >= champion", (None, "auc", ">=", True, 0.0)),
        ("auc >= champion - 0.005", (None, "auc", ">=", True, -0.005)),
        ("logloss <= champion+0.01", (None, "logloss", "<=", True, 0.01)),
        ("slice(carrier).auc >= 0.5", ("carrier", "auc", ">=", False, 0.5)),
        ("slice( day of week ) . auc >= champion - 0.02", ("day of week", "auc", ">=", True, -0.02)),
        ("slice(<b>).accuracy > 0.5", ("<b>", "accuracy", ">", False, 0.5)),
    ],
)
def test_what_a_rule_says(text: str, expected: tuple[object, ...]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "auc",
        "auc >= ",
        "auc => 0.6",
        "0.6 <= auc",
        "auc >= champion * 2",
        "auc >= champion 0.1",
        "slice().auc >= 1",
        "auc >= 0.6 x",
    ],
)
def test_what_cannot_be_read_is_named_with_the_grammar(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_rules(["auc >= 0.6", text])
    assert repr(text) in str(raised.value)
    assert "champion" in str(raised.value)
    assert "logloss" in str(raised.value)


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(SpecError) as raised:
        parse_rules(["acu >= 0.6"])
    assert str(raised.value) == f"Rule 'acu >= 0.6': there is no metric 'acu'; there are {', '.join(ALL_METRICS)}"
    with pytest.raises(SpecError, match="a regression model has rmse, mae, median_ae, r2"):
        parse_rules(["auc >= 0.6"], "regression")
    for task, names in METRICS.items():
        assert [rule.metric for rule in parse_rules([f"{name} > 0" for name in names], task)] == list(names)


def test_the_bound() -> None:
    margin, floor = parse_rules(["auc >= champion - 0.25", "auc > 0.5"])
    assert (margin.bound(0.75), margin.bound(None), floor.bound(None)) == (0.5, None, 0.5)
    assert (margin.holds(0.5, 0.5), floor.holds(0.5, 0.5)) == (True, False)
    assert [rule.expected for rule in parse_rules(["auc >= champion", "auc >= champion+0.1", "auc<1"])] == [
        ">= champion", ">= champion + 0.1", "< 1",
    ]  # fmt: skip
