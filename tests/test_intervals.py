"""Intervals, by what defines them and by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from grpo_core.intervals import wilson


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
