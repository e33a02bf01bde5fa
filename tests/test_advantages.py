"""Every number here was computed by hand or comes from the published worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_core.advantages import (
    COMPARES,
    PER_BATCH,
    PER_GROUP,
    assign,
    normalize_then_sum,
    penalise_kl,
    prefix_baseline,
)

rewards = st.lists(st.floats(-100, 100, allow_nan=False), min_size=2, max_size=16)
EVERY = sorted({*PER_GROUP, *PER_BATCH})


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


def test_batch_std_divides_by_the_deviation_of_all_rewards():
    # rewards 0, 2, 6, 6: mean 3.5, squares 12.25 + 2.25 + 6.25 + 6.25 = 27, over 3 = 9
    got = assign([[0.0, 2.0], [6.0, 6.0]], "batch_std")
    assert got == [pytest.approx([-1 / 3.0001, 1 / 3.0001]), [0.0, 0.0]]


def test_mean_whiten_divides_by_the_deviation_of_the_centred():
    # centred -1, 1, 0, 0: squares 2 over 3
    scale = math.sqrt(2 / 3) + 1e-4
    assert assign([[0.0, 2.0], [6.0, 6.0]], "mean_whiten")[0] == pytest.approx(
        [-1 / scale, 1 / scale]
    )


def test_batch_z_knows_no_groups():
    # as above: mean 3.5, deviation 3; a group of equal rewards still teaches
    got = assign([[0.0, 2.0], [6.0, 6.0]], "batch_z")
    expected = [-3.5 / 3.0001, -1.5 / 3.0001, 2.5 / 3.0001, 2.5 / 3.0001]
    assert got[0] + got[1] == pytest.approx(expected)


def test_opo_weighs_the_baseline_by_length():
    # baseline (3*1 + 1*5) / 4 = 2
    assert assign([[1.0, 5.0]], "opo", [[3, 1]])[0] == pytest.approx([-1.0, 3.0])
    # without oneself: the other's reward
    assert assign([[1.0, 5.0]], "opo_loo", [[3, 1]])[0] == pytest.approx([-4.0, 4.0])
    # (1*5 + 2*8) / 3 = 7 for the first
    assert assign([[1.0, 5.0, 8.0]], "opo_loo", [[9, 1, 2]])[0][0] == pytest.approx(1 - 7)


def test_opo_without_any_token_is_the_plain_mean():
    assert assign([[1.0, 5.0]], "opo", [[0, 0]])[0] == [-2.0, 2.0]
    assert assign([[1.0, 5.0]], "opo_loo", [[0, 3]])[0] == [-4.0, 4.0]


def test_gdpo_normalises_each_reward_on_its_own():
    # z-scores +-1/sqrt(2) of both parts (up to delta), so 1*z1 + 0.5*z2; then over the step
    small, large = [[0.0, 1.0]], [[100.0, 0.0]]
    z = 0.5 / (math.sqrt(0.5) + 1e-4)
    zz = 50 / (math.sqrt(5000) + 1e-4)
    low, high = -z + 0.5 * zz, z - 0.5 * zz
    scale = math.sqrt((low - high) ** 2 / 2) + 1e-4
    middle = (low + high) / 2
    got = normalize_then_sum([small, large], [1.0, 0.5])[0]
    assert got == pytest.approx([(low - middle) / scale, (high - middle) / scale], abs=1e-12)


def test_a_part_that_does_not_apply_adds_nothing():
    got = normalize_then_sum([[[0.0, 1.0, None]], [[None, None, None]]], [1.0, 1.0])[0]
    assert got[2] is None and got[0] == pytest.approx(-got[1])


# --- what compares nothing ------------------------------------------------------------------------


def test_equal_rewards_teach_nothing_even_after_rounding():
    third = 0.1 + 0.2
    for estimator in COMPARES:
        assert assign([[0.3, third, 0.3]], estimator) == [[0.0, 0.0, 0.0]]


def test_a_missing_reward_is_neither_baseline_nor_advantage():
    assert assign([[1.0, None, 0.0]], "mean") == [[0.5, None, -0.5]]
    assert assign([[1.0, None, 5.0]], "opo", [[3, 100, 1]])[0] == pytest.approx([-1.0, None, 3.0])


def test_a_single_reward_compares_nothing():
    for estimator in COMPARES:
        assert assign([[None, 3.0, None]], estimator) == [[None, None, None]]
    assert assign([[None, 3.0, None]], "none") == [[None, 3.0, None]]
    assert assign([[3.0]], "batch_z") == [[0.0]]
    assert assign([[3.0], [5.0]], "batch_z")[0][0] == pytest.approx(-1 / (math.sqrt(2) + 1e-4))


@pytest.mark.parametrize("estimator", EVERY)
def test_without_any_reward_there_is_no_advantage(estimator):
    assert assign([[None, None], []], estimator) == [[None, None], []]


def test_groups_of_different_size():
    assert assign([[1.0, 0.0], [3.0, 0.0, 0.0]], "mean") == [[0.5, -0.5], [2.0, -1.0, -1.0]]


@pytest.mark.parametrize("estimator", EVERY)
@pytest.mark.parametrize("huge", [1e38, 1e200, 1.7e308])
def test_enormous_rewards_are_finite_or_left_out(estimator, huge):
    got = assign([[huge, -huge, 0.0], [1.0, 2.0, 3.0]], estimator, [[1, 2, 3]] * 2)
    assert all(value is None or math.isfinite(value) for group in got for value in group)
    if huge == 1e38 and estimator == "zscore":
        # (huge - 0) / sample deviation: squares 2 huge^2 over 2
        assert got[0] == pytest.approx([1.0, -1.0, 0.0])


# --- properties -----------------------------------------------------------------------------------


@given(rewards, st.sampled_from(["mean", "loo", "zscore", "batch_std", "mean_whiten"]))
def test_advantages_of_a_group_sum_to_zero(values, estimator):
    assert sum(assign([values], estimator)[0]) == pytest.approx(0.0, abs=1e-6)


@given(rewards, st.integers(1, 50))
def test_length_weighted_advantages_sum_to_zero_by_length(values, seed):
    lengths = np.random.default_rng(seed).integers(1, 50, len(values)).tolist()
    found = assign([values], "opo", [lengths])[0]
    assert np.dot(found, lengths) == pytest.approx(0.0, abs=1e-6)


@given(rewards)
def test_loo_is_mean_times_g_over_g_minus_one(values):
    scale = len(values) / (len(values) - 1)
    expected = [scale * advantage for advantage in assign([values], "mean")[0]]
    assert assign([values], "loo")[0] == pytest.approx(expected, abs=1e-9)


@given(rewards)
def test_with_equal_lengths_opo_is_the_mean(values):
    lengths = [[7] * len(values)]
    for weighted, plain in (("opo", "mean"), ("opo_loo", "loo")):
        found = assign([values], weighted, lengths)[0]
        assert found == pytest.approx(assign([values], plain)[0], abs=1e-9)


@given(rewards, st.floats(-50, 50), st.sampled_from([e for e in EVERY if e != "none"]))
def test_a_shift_of_all_rewards_changes_nothing(values, shift, estimator):
    lengths = [list(range(1, len(values) + 1))]
    moved = assign([[value + shift for value in values]], estimator, lengths)[0]
    before = assign([values], estimator, lengths)[0]
    # over a spread of almost nothing, the rounding of the sum is divided by delta = 1e-4
    assert moved == pytest.approx(before, abs=1e-8)


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=9), st.integers(1, 1000))
def test_a_scale_of_all_rewards_changes_a_zscore_by_delta_only(values, scale):
    if len(set(values)) < 2:
        return
    before = np.array(assign([[float(v) for v in values]], "zscore")[0])
    after = np.array(assign([[float(scale * v) for v in values]], "zscore")[0])
    deviation = np.std(values, ddof=1)
    # s c / (s d + delta) over c / (d + delta)
    expected = before * (deviation + 1e-4) / (deviation + 1e-4 / scale)
    assert after == pytest.approx(expected, abs=1e-9)


def test_kl_is_taken_off_before_centring():
    # 1 - 0.1*2 = 0.8, 0 - 0.1*1 = -0.1; None stays None
    got = penalise_kl([[1.0, 0.0, None]], [[2.0, 1.0, 5.0]], 0.1)
    assert got == [[pytest.approx(0.8), pytest.approx(-0.1), None]]


# --- prefix attention -----------------------------------------------------------------------------


def test_prefix_attention_weighs_the_others_by_likeness():
    # for the first: likeness 1 and 0 at temperature 1 / log 3, so weights 3/4 and 1/4
    similarity = np.array([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    baseline, samples = prefix_baseline(
        np.array([9.0, 4.0, 8.0]), similarity, 1 / math.log(3), min_samples=1
    )
    assert baseline[0] == pytest.approx([3 / 4 * 4 + 1 / 4 * 8, 3 / 4 * 9 + 1 / 4 * 8, 6.5])
    # 1 / (9/16 + 1/16) = 1.6; two equal others are 2
    assert samples[0] == pytest.approx([1.6, 1.6, 2.0])


def test_too_few_alike_fall_back_to_all_others():
    similarity = np.array([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    rewards_G = np.array([9.0, 4.0, 8.0])
    baseline, _ = prefix_baseline(rewards_G, similarity, 1 / math.log(3), min_samples=1.7)
    assert baseline[0] == pytest.approx([6.0, 8.5, 6.5])


@given(rewards, st.floats(0.01, 10), st.integers(0, 100))
def test_at_the_first_token_prefix_attention_is_loo(values, temperature, seed):
    later = np.random.default_rng(seed).uniform(-1, 1, (1, len(values), len(values)))
    similarity = np.concatenate([np.zeros_like(later), later])
    rewards_G = np.array(values)
    baseline, samples = prefix_baseline(rewards_G, similarity, temperature)
    expected = (rewards_G.sum() - rewards_G) / (len(values) - 1)
    assert baseline[0] == pytest.approx(expected, abs=1e-9)
    assert samples[0] == pytest.approx(len(values) - 1)
    assert (samples[1] >= 1 - 1e-9).all() and (samples[1] <= len(values) - 1 + 1e-9).all()
