"""The weight of a prompt under the z-score: by enumeration of all outcomes of a group."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from grpo_core.advantages import PER_GROUP, zscore
from studio.theory import difficulty

VECTORS = Path(__file__).parent / "data" / "vectors.json"


def enumerate_outcomes(size):
    """All groups of rewards of 0 or 1, as rows, and the number of right ones in each."""
    R = np.array(list(itertools.product([0.0, 1.0], repeat=size)))
    return R, R.sum(1)


def weight_by_enumeration(size, p, ddof):
    """The mean z-scored gradient of a coin with P(right) = p = sigmoid(theta), over grad p."""
    R, right = enumerate_outcomes(size)
    probability = p**right * (1 - p) ** (size - right)
    score = np.where(R == 1, 1 - p, -p)
    total = 0.0
    for R_G, s_G, chance in zip(R, score, probability, strict=True):
        if R_G.min() < R_G.max():
            total += chance * (zscore(R_G, R_G, delta=0.0, ddof=ddof) * s_G).mean()
    return total / (p * (1 - p))


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("ddof", [0, 1])
def test_the_weight_is_the_mean_over_all_outcomes_of_a_group(size, p, ddof):
    expected = weight_by_enumeration(size, p, ddof)
    assert difficulty.weight(size, p, ddof) == pytest.approx(expected, rel=1e-12)


def test_weight_and_flat_share_equal_the_recorded_table():
    cases = {case["name"]: case for case in json.loads(VECTORS.read_text())["cases"]}
    outputs = cases["exact/zscore_weight"]["outputs"]
    assert len(outputs["w_pop"]) == 16
    for key, expected in outputs["w_pop"].items():
        size, p = key.split(",")
        assert difficulty.weight(int(size), float(p)) == pytest.approx(expected, abs=1e-12)
        flat = outputs["p_zero_variance"][key]
        assert difficulty.flat(int(size), float(p)) == pytest.approx(flat, abs=1e-12)


def test_weights_worked_out_by_hand():
    assert difficulty.weight(2, 0.123) == pytest.approx(1.0, abs=1e-15)
    # G = 4, p = 1/2: (2 * 4 sqrt(3) + 6 * 2) / 16 / (4 / 4)
    assert difficulty.weight(4, 0.5) == pytest.approx((8 * 3**0.5 + 12) / 16, abs=1e-14)
    assert difficulty.weight(2, 0.123, ddof=1) == pytest.approx(0.5**0.5, abs=1e-15)
    assert difficulty.flat(3, 0.25) == pytest.approx(1 / 64 + 27 / 64, abs=1e-15)


@pytest.mark.parametrize("size", [2, 8, 64, 256])
def test_the_limits_of_the_weight(size):
    assert difficulty.weight(size, 0.0) == difficulty.weight(size, 1.0) == (size - 1) ** 0.5
    assert difficulty.weight(size, 1e-9) == pytest.approx((size - 1) ** 0.5, rel=1e-6)
    assert difficulty.weight(size, 0.2) == pytest.approx(difficulty.weight(size, 0.8), rel=1e-12)
    for p in (0.02, 0.1, 0.5):
        ceiling = (1 - 1 / size) ** 0.5 * difficulty.weight_limit(p)
        assert difficulty.weight(size, p) <= ceiling * (1 + 1e-12)  # Jensen
    assert difficulty.weight(256, 0.5) == pytest.approx(difficulty.weight_limit(0.5), rel=0.003)


def test_the_limiting_weight_is_the_slope_of_the_arcsine():
    def climbed(p):
        return 2 * np.arcsin(np.sqrt(p))

    slope = (climbed(0.3 + 1e-6) - climbed(0.3 - 1e-6)) / 2e-6
    assert difficulty.weight_limit(0.3) == pytest.approx(slope, rel=1e-8)
    assert difficulty.weight_limit(0.0) == difficulty.weight_limit(1.0) == float("inf")


@pytest.mark.parametrize(("size", "p"), [(1, 0.3), (8, 0.02), (256, 0.5), (32, 0.98)])
def test_the_number_of_right_ones_is_binomial(size, p):
    from scipy.stats import binom

    found = difficulty.pmf(size, p)
    np.testing.assert_allclose(found, binom.pmf(np.arange(size + 1), size, p), rtol=1e-9)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    assert found[0] + found[-1] == pytest.approx(difficulty.flat(size, p), rel=1e-12)


def test_no_other_estimator_of_the_product_weighs_prompts_by_difficulty():
    # on the mean of all outcomes: a constant factor for mean and loo, whatever p is
    for name, factor in {"mean": 0.75, "loo": 1.0}.items():
        for p in (0.1, 0.6):
            R, right = enumerate_outcomes(4)
            chance = p**right * (1 - p) ** (4 - right)
            score = np.where(R == 1, 1 - p, -p)
            A = np.array([PER_GROUP[name](R_G, np.ones(4)) for R_G in R])
            mean = float(chance @ (A * score).mean(1)) / (p * (1 - p))
            assert mean == pytest.approx(factor, abs=1e-12)
