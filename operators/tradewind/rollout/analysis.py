"""The statistics of a canary: pure functions, standard library only.

**Errors**: a sequential test that may be looked at after every request. While both versions are equally good, an error
that happens hits the canary with the probability of its share of the requests. If it fails ``r`` times as often, that
probability is ``r p / (r p + 1 - p)``. The likelihood of where the errors fell under that, over the likelihood under
``p``, is a martingale while the versions are equal; so is its mean over a grid of ``r``. It therefore exceeds ``1 /
alpha`` at any time with a probability of at most ``alpha`` (Ville's inequality; Lindon, Sanden, Shirikian: Rapid
Regression Detection in Software Deployments through Sequential Testing, KDD 2022). The share is the one measured between
two looks, never the configured one.

**Latency**: at fixed looks, the end of each step. Of the canary's requests, at most one in ten may be slower than
``ratio`` times the time within which nine of ten of the champion's ended: a binomial test, with ``alpha`` shared by the
looks.

**Answers**: at the same looks. Requests are split by chance, so both versions' answers come from the same kind of rows. The
largest distance between their distribution functions may be ``distance``; it is larger where it is so by more than
chance gives (the bound of Dvoretzky, Kiefer and Wolfowitz, as the two-sample test of Smirnov has it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# How many times as often the canary may fail: from hardly visible to always.
RATIOS = (1.5, 2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 25.0, 50.0, 100.0)
SLOW_QUANTILE = 0.9

# A histogram of latencies: the lower bound of a bucket in milliseconds, as text since it is JSON, to its count.
Histogram = Mapping[str, int]


def log_likelihoods(canary_errors: int, stable_errors: int, canary_requests: int, stable_requests: int) -> list[float]:
    """What one interval between two looks adds to the evidence: the log likelihood ratio for each of `RATIOS`.

    An interval in which only one version was asked says nothing: all are 0.
    """
    if not canary_requests or not stable_requests or not canary_errors + stable_errors:
        return [0.0] * len(RATIOS)
    share = canary_requests / (canary_requests + stable_requests)
    return [
        canary_errors * math.log(ratio) - (canary_errors + stable_errors) * math.log(ratio * share + 1 - share)
        for ratio in RATIOS
    ]


def evidence(logs: Sequence[float]) -> float:
    """How many times likelier the errors are if the canary is worse than if it is not: the mean over the grid."""
    top = max(logs)
    return math.exp(min(700.0, top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))))


def quantile(histogram: Histogram, q: float) -> float | None:
    """The latency in milliseconds within which a share ``q`` of the requests ended: a bucket's lower bound."""
    total = sum(histogram.values())
    if not total:
        return None
    seen = 0
    for bound in sorted(histogram, key=float):
        seen += histogram[bound]
        if seen >= q * total:
            return float(bound)
    return None


def slower(canary: Histogram, stable: Histogram, ratio: float) -> float:
    """The p-value of "the canary is at most ``ratio`` times as slow": small where it is slower. 1 where there is no data."""
    requests, others = sum(canary.values()), sum(stable.values())
    if not requests or not others:
        return 1.0
    # The champion's quantile is itself a guess: the one that it is below with 995 chances of 1,000.
    limit = quantile(stable, min(1.0, SLOW_QUANTILE + 2.6 * math.sqrt(SLOW_QUANTILE * (1 - SLOW_QUANTILE) / others)))
    assert limit is not None
    # A bucket holds what is at least its bound: with "more than" the champion's own bucket does not count against it.
    slow = sum(count for bound, count in canary.items() if float(bound) > limit * ratio)
    return binomial_tail(slow, requests, 1 - SLOW_QUANTILE)


def apart(one: Histogram, other: Histogram) -> float:
    """The largest distance between two samples' distribution functions, over common bins; 0 where one is empty."""
    totals = [sum(histogram.values()) for histogram in (one, other)]
    if not all(totals):
        return 0.0
    worst, below = 0.0, [0, 0]
    for bound in sorted({*one, *other}, key=float):
        below = [below[0] + one.get(bound, 0), below[1] + other.get(bound, 0)]
        worst = max(worst, abs(below[0] / totals[0] - below[1] / totals[1]))
    return worst


def further(canary: Histogram, stable: Histogram, distance: float) -> float:
    """The p-value of "the distributions are at most ``distance`` apart": small where they are further."""
    more = apart(canary, stable) - distance
    if more <= 0:
        return 1.0
    requests, others = sum(canary.values()), sum(stable.values())
    return min(1.0, 2 * math.exp(-2 * more**2 * requests * others / (requests + others)))


def binomial_tail(successes: int, trials: int, p: float) -> float:
    """The probability of at least so many successes."""
    if successes <= 0:
        return 1.0
    if successes > trials:
        return 0.0
    logs: list[float] = []
    for k in range(successes, trials + 1):
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        logs.append(ways + k * math.log(p) + (trials - k) * math.log1p(-p))
        if k > trials * p and logs[-1] < max(logs[0], logs[-2] if len(logs) > 1 else logs[-1]) - 40:
            break  # beyond the middle each term is smaller than the one before: the rest adds nothing
    top = max(logs)
    return min(1.0, math.exp(top) * math.fsum(math.exp(log - top) for log in logs))
