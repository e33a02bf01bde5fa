"""Intervals, by what defines them and by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, stats

from grpo_core.estimates import pass_at_k
from grpo_core.intervals import (
    mcnemar,
    of_difference,
    of_mean,
    of_mean_difference,
    wilson,
)


@pytest.mark.parametrize(("num", "of"), [(1, 3), (7, 20), (19, 20), (320, 400), (1002, 1317)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_holds_the_shares_that_the_score_test_does_not_refuse(
    num: int, of: int, confidence: float
) -> None:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    for bound in wilson(num, of, confidence):
        deviation = abs(num / of - bound) / math.sqrt(bound * (1 - bound) / of)
        assert deviation == pytest.approx(z, rel=1e-9)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0 and wilson(0, 10)[1] == pytest.approx(0.2775, abs=5e-5)
    assert wilson(10, 10)[1] == 1.0 and wilson(10, 10)[0] == pytest.approx(0.7225, abs=5e-5)


@pytest.mark.parametrize("of", [20, 100, 400])
def test_wilson_covers_what_it_says_on_average(of: int) -> None:
    """Over shares between 5 and 95 %; at single ones a discrete count allows some points less."""
    rng = np.random.default_rng(of)
    bounds = np.array([wilson(num, of) for num in range(of + 1)])
    shares = rng.uniform(0.05, 0.95, size=200_000)
    found = bounds[rng.binomial(of, shares)]
    covered = np.mean((found[:, 0] <= shares) & (shares <= found[:, 1]))
    assert covered >= 0.94
    assert covered <= 0.96, "and it is no wider than it must be"


# --- means ---------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_by_hand() -> None:
    """Of 1, 1, 0.5 with 0, 0, 1, 1 added: mean 4.5/7, mean of squares 4.25/7."""
    mean, variance = 4.5 / 7, 4.25 / 7 - (4.5 / 7) ** 2
    half = 2.4466 * math.sqrt(variance / 7)  # Student's quantile with 6 degrees of freedom: 2.4469
    assert of_mean([1, 1, 0.5]) == pytest.approx((mean - half, min(1, mean + half)), abs=2e-4)
    assert of_mean([]) == (0.0, 1.0)


@pytest.mark.parametrize("freedom", [5, 10, 23, 403])
def test_students_quantile_is_that_of_scipy(freedom: int) -> None:
    values = [0.5] * (freedom - 3)  # the four that are added make `freedom` + 1
    low, high = of_mean(values)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(np.var([*values, 0, 0, 1, 1]) / (freedom + 1))
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


MODELS = [(0.3, 0.3), (1, 1), (5, 5), (0.2, 2), (2, 0.2), (0.1, 0.1)]
"""How hard the problems are: Beta distributions of the chance to solve one."""


@pytest.mark.parametrize("num", [10, 20, 100, 400])
@pytest.mark.parametrize(("samples", "k"), [(1, 1), (4, 1), (8, 4), (8, 8), (16, 8)])
def test_the_interval_of_pass_at_k_covers_what_it_says(num: int, samples: int, k: int) -> None:
    rng = np.random.default_rng([num, samples, k])
    values = np.array([pass_at_k(samples, right, k) for right in range(samples + 1)])
    covered = []
    for a, b in MODELS:
        truth = float(np.mean(1 - (1 - rng.beta(a, b, 400_000)) ** k))
        right = rng.binomial(samples, rng.beta(a, b, (400, num)))
        bounds = np.array([of_mean(row) for row in values[right].tolist()])
        covered.append(np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])))
    assert np.mean(covered) >= 0.94
    assert min(covered) >= 0.91, "0.94 less three standard errors of 400 trials"


# --- two on the same problems --------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 5), (3, 9), (9, 3), (40, 41), (120, 90)])
def test_mcnemar_is_the_exact_test_of_scipy(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("lost", "gained", "of"), [(3, 9, 50), (0, 7, 40), (20, 5, 400)])
def test_the_bounds_of_a_difference_are_where_the_score_test_refuses(
    lost: int, gained: int, of: int
) -> None:
    """The share of losses is here the one that a search finds most likely, given the difference."""
    for difference in of_difference(lost, gained, of):

        def unlikelihood(share: float, difference: float = difference) -> float:
            rest = 1 - 2 * share - difference
            terms = [(lost, share), (gained, share + difference), (of - lost - gained, rest)]
            return -sum(num * math.log(max(p, 1e-300)) for num, p in terms if num)

        inside = (max(0.0, -difference), (1 - difference) / 2)
        share = optimize.minimize_scalar(
            unlikelihood, bounds=inside, method="bounded", options={"xatol": 1e-12}
        ).x
        variance = of * (2 * share + difference * (1 - difference))
        z = (gained - lost - of * difference) / math.sqrt(variance)
        assert abs(z) == pytest.approx(1.959964, rel=1e-4)


SHARES = [(0.05, 0.05), (0.1, 0.02), (0.3, 0.1), (0.01, 0.01), (0.02, 0.2), (0.4, 0.05), (0.2, 0.2)]
"""How often a problem is lost, and gained."""


@pytest.mark.parametrize("of", [20, 50, 100, 400])
def test_the_interval_of_a_difference_covers_what_it_says(of: int) -> None:
    rng = np.random.default_rng(of)
    known: dict[tuple[int, int], tuple[float, float]] = {}
    covered = []
    for lost_share, gained_share in SHARES:
        counts = rng.multinomial(
            of, [lost_share, gained_share, 1 - lost_share - gained_share], 4000
        )
        pairs = [(int(lost), int(gained)) for lost, gained, _ in counts]
        for pair in set(pairs) - known.keys():
            known[pair] = of_difference(*pair, of)
        truth = gained_share - lost_share
        covered.append(np.mean([known[p][0] <= truth <= known[p][1] for p in pairs]))
    assert np.mean(covered) >= 0.94
    assert min(covered) >= 0.93, "0.94 less three standard errors of 4,000 trials"


def test_the_interval_of_a_mean_difference_is_that_of_halves() -> None:
    low, high = of_mean([0.5, 1.0, 0.25])
    expected = pytest.approx((2 * low - 1, 2 * high - 1))
    assert of_mean_difference([0.0, 1.0, -0.5]) == expected
    assert of_difference(0, 0, 0) == (-1.0, 1.0)
