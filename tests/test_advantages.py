"""Every number here was computed by hand or comes from the published worked examples."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_core.advantages import assign, penalise_kl

rewards = st.lists(st.floats(-100, 100, allow_nan=False), min_size=2, max_size=16)


def test_mean_subtracts_the_group_mean():
    assert assign([[1.0, 0.0, 0.0, 1.0]], "mean") == [[0.5, -0.5, -0.5, 0.5]]


def test_loo_compares_with_the_others():
    # (2 - (4+6)/2, 4 - (2+6)/2, 6 - (2+4)/2)
    assert assign([[2.0, 4.0, 6.0]], "loo")[0] == pytest.approx([-3.0, 0.0, 3.0])


def test_zscore_three_of_eight():
    # mean 3/8, sample variance 3*(5/8)^2+5*(3/8)^2 over 7 = 15/56
    deviation = math.sqrt(15 / 56) + 1e-4
    got = assign([[1, 1, 1, 0, 0, 0, 0, 0]], "zscore")[0]
    assert got == pytest.approx([0.625 / deviation] * 3 + [-0.375 / deviation] * 5, abs=1e-12)


def test_equal_rewards_teach_nothing_even_after_rounding():
    third = 0.1 + 0.2
    assert assign([[0.3, third, 0.3]], "zscore") == [[0.0, 0.0, 0.0]]


def test_a_missing_reward_is_neither_baseline_nor_advantage():
    assert assign([[1.0, None, 0.0]], "mean") == [[0.5, None, -0.5]]


def test_a_single_reward_compares_nothing():
    assert assign([[None, 3.0, None]], "mean") == [[None, None, None]]


def test_groups_of_different_size():
    assert assign([[1.0, 0.0], [3.0, 0.0, 0.0]], "mean") == [[0.5, -0.5], [2.0, -1.0, -1.0]]


@given(rewards, st.sampled_from(["mean", "loo", "zscore"]))
def test_advantages_of_a_group_sum_to_zero(values, estimator):
    assert sum(assign([values], estimator)[0]) == pytest.approx(0.0, abs=1e-6)


@given(rewards)
def test_loo_is_mean_times_g_over_g_minus_one(values):
    scale = len(values) / (len(values) - 1)
    expected = [scale * advantage for advantage in assign([values], "mean")[0]]
    assert assign([values], "loo")[0] == pytest.approx(expected, abs=1e-9)


@given(rewards, st.floats(-50, 50))
def test_a_shift_of_all_rewards_changes_nothing(values, shift):
    moved = assign([[value + shift for value in values]], "mean")[0]
    assert moved == pytest.approx(assign([values], "mean")[0], abs=1e-9)


def test_kl_is_taken_off_before_centring():
    # 1 - 0.1*2 = 0.8, 0 - 0.1*1 = -0.1; None stays None
    got = penalise_kl([[1.0, 0.0, None]], [[2.0, 1.0, 5.0]], 0.1)
    assert got == [[pytest.approx(0.8), pytest.approx(-0.1), None]]
