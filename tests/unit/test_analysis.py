"""The canary's statistics against what is known of them."""

from __future__ import annotations

import math
import random

import pytest

from tradewind.rollout.analysis import (
    RATIOS,
    apart,
    binomial_tail,
    evidence,
    further,
    log_likelihoods,
    quantile,
    slower,
)


def test_the_evidence_is_a_martingale_while_both_are_equally_good() -> None:
    """Given so many errors, where they fall is binomial with the share of the requests: its mean stays 1."""
    for share in (0.1, 0.5):
        canary, errors = int(1000 * share), 7
        mean = math.fsum(
            math.comb(errors, k) * share**k * (1 - share) ** (errors - k)
            * evidence(log_likelihoods(k, errors - k, canary, 1000 - canary))
            for k in range(errors + 1)
        )  # fmt: skip
        assert mean == pytest.approx(1)


def test_errors_of_the_canary_speak_against_it_and_the_champions_for_it() -> None:
    assert evidence(log_likelihoods(5, 0, 25, 189)) > 100
    assert evidence(log_likelihoods(0, 5, 25, 189)) < 1
    assert evidence(log_likelihoods(3, 27, 100, 900)) < 1, "in proportion"
    assert evidence(log_likelihoods(10**6, 0, 10**6, 10**7)) < math.inf


@pytest.mark.parametrize(("canary", "stable"), [((0, 0), (0, 900)), ((5, 100), (0, 0)), ((0, 100), (0, 900))])
def test_an_interval_that_compares_nothing_says_nothing(canary: tuple[int, int], stable: tuple[int, int]) -> None:
    assert log_likelihoods(canary[0], stable[0], canary[1], stable[1]) == [0.0] * len(RATIOS)
    assert evidence([0.0] * len(RATIOS)) == 1


def test_binomial_tail_is_the_sum_of_its_terms() -> None:
    expected = math.fsum(math.comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(5, 21))
    assert binomial_tail(5, 20, 0.1) == pytest.approx(expected)
    assert (binomial_tail(0, 20, 0.1), binomial_tail(21, 20, 0.1)) == (1, 0)
    assert 0 < binomial_tail(11_000, 100_000, 0.1) < 1e-10


def test_quantiles_of_a_histogram() -> None:
    found = {"10": 5, "2.5": 90, "100": 5}
    assert [quantile(found, q) for q in (0.5, 0.9, 0.95, 0.99)] == [2.5, 2.5, 10, 100]
    assert quantile({}, 0.5) is None


def test_slower_is_what_is_slower_by_more_than_allowed() -> None:
    stable = {"5": 900, "9": 100}
    assert slower({"5": 90, "9": 10}, stable, 2) > 0.5
    assert slower({"9": 100}, stable, 2) == 1, "less than twice as slow"
    assert slower({"50": 100}, stable, 2) < 1e-50
    assert slower({}, stable, 2) == slower({"50": 100}, {}, 2) == 1


def test_apart_by_chance_is_not_further() -> None:
    generator = random.Random(0)

    def sample(size: int, shift: float) -> dict[str, int]:
        found: dict[str, int] = {}
        for _ in range(size):
            bound = f"{round(generator.gauss(shift, 1), 1)}"
            found[bound] = found.get(bound, 0) + 1
        return found

    stable = sample(2000, 0)
    alarms = sum(further(sample(100, 0), stable, 0.0) < 0.01 for _ in range(300))
    assert alarms <= 6
    assert further(sample(100, 2), stable, 0.2) < 0.001
    assert further(sample(100, 0.2), stable, 0.2) == 1
    assert apart({"1": 3}, {"2": 3}) == 1
    assert apart({"1": 3}, {"1": 9}) == apart({}, {"1": 1}) == 0
