"""A stored run beside the theory: each number by a second way, runs whose truth is known, and runs
that have nothing to say."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import sqlite3
import warnings

import numpy as np
import pytest
from scipy import stats

from grpo_core import advantages
from grpo_core.config import RunConfig
from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.recipe import parse_config, to_yaml
from grpo_core.records import Group, Problem, Rollout, StepStats, TokenPass, TokenTrace
from grpo_core.runs import Run, create_run
from grpo_core.store import RunWriter
from grpo_core.traces import first_pass_of, pack_trace
from studio import theory_run
from studio.theory import difficulty as weights
from studio.theory import (
    in_run,
    in_run_difficulty,
    in_run_entropy,
    in_run_flat,
    in_run_gradient,
    in_run_moments,
    in_run_rates,
    in_run_variance,
)
from studio.theory.in_run_data import StepPush, Stored, StoredGroup, successes_of, told, usual_size
from studio.theory.plots import Palette


def group(R, length=None, step=1, problem="p", advantage=None, right=None) -> StoredGroup:
    R = np.array(R, dtype=float)
    given = R - R.sum() / max(len(R), 1) if advantage is None else np.array(advantage, dtype=float)
    right = R > 0.5 if right is None else right
    length = np.arange(1.0, len(R) + 1) if length is None else np.array(length, dtype=float)
    return StoredGroup(step, problem, R, np.array(right, dtype=float), length, given)


def drawn(p_M, size=8, steps=40, seed=0, longer=5.0) -> list[StoredGroup]:
    """Groups of independent 0/1 rewards; right completions are longer."""
    rng = np.random.default_rng(seed)
    R_MG = (rng.random((len(p_M), size)) < np.array(p_M)[:, None]).astype(float)
    length_MG = 1.0 + rng.poisson(10 + longer * R_MG)
    return [
        group(R, length, m * steps // len(p_M), str(m))
        for m, (R, length) in enumerate(zip(R_MG, length_MG, strict=True))
    ]


def kinds(stored: Stored) -> dict[str, str]:
    return {one.key: one.verdict.kind for one in in_run.comparisons(stored)}


def finite(comparison) -> None:
    for theme in ("light", "dark"):
        if comparison.draw is not None:
            for trace in comparison.draw(Palette.of(theme)).data:
                x, y = np.array(trace.x, dtype=float), np.array(trace.y, dtype=float)
                assert len(x) == len(y) <= 400
                assert np.isfinite(x).all() and np.isfinite(y).all(), trace.name
                if trace.error_y.array is not None:
                    assert np.isfinite(np.array(trace.error_y.array, dtype=float)).all()


# --- the variance of the advantage ---------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["mean", "loo"])
def test_over_all_smaller_groups_the_law_of_the_variance_is_algebra(estimator):
    R = np.random.default_rng(0).gamma(1.0, size=7)
    for size in (2, 3, 5, 7):
        found = [
            np.mean(np.square(advantages.PER_GROUP[estimator](np.array(one), np.ones(size))))
            for one in itertools.combinations(R, size)
        ]
        law = R.var(ddof=1) * in_run_variance.factor(estimator, size)
        assert np.mean(found) == pytest.approx(law, rel=1e-12)


def test_the_variance_of_the_first_completions_follows_the_law_with_the_true_sigma():
    p_M = np.random.default_rng(1).beta(2, 2, 2000)
    found = in_run_variance.spread_of(drawn(p_M), "mean")
    truth = float((p_M * (1 - p_M)).mean())
    assert found.sigma2.agrees(truth)
    for size, seen in found.first.items():
        assert seen.agrees(truth * (1 - 1 / size))
    assert found.law(8) == pytest.approx(found.first[8].value)  # all there are: no freedom left
    assert in_run_variance.verdict_of(found).kind == "holds"
    loo = in_run_variance.spread_of(drawn(p_M), "loo")
    assert loo.first[2].value == pytest.approx(4 * found.first[2].value)
    assert loo.law(8) == pytest.approx(found.law(8) * 64 / 49)


def test_halves_that_are_not_drawn_alike_fail():
    groups = drawn(np.full(200, 0.5))
    for one in groups:
        one.R_G[4:] = one.R_G[3]
    found = in_run_variance.spread_of(groups, "mean")
    assert in_run_variance.verdict_of(found).kind == "fails"
    assert found.halves[1].value == 0


@pytest.mark.parametrize("estimator", ["mean", "loo", "zscore"])
def test_stored_advantages_are_those_of_the_products_formula(estimator):
    groups = []
    for one in drawn(np.full(30, 0.4), size=5):
        (given,) = advantages.assign([one.R_G.tolist()], estimator)
        groups.append(group(one.R_G, advantage=given))
    expected, found = in_run_variance.stored_squares(groups, estimator)
    assert expected == pytest.approx(found.value, rel=1e-12)
    for one in groups:
        one.advantage_G[:] *= 2
    assert in_run_variance.stored_squares(groups, estimator)[1].value == pytest.approx(4 * expected)
    assert in_run_variance.stored_squares(groups, "gae") is None


def test_a_difference_that_is_known_badly_confirms_nothing():
    groups = drawn(np.full(24, 0.06))
    found = in_run_variance.verdict_of(in_run_variance.spread_of(groups, "mean"))
    assert found.kind == "open" and "too badly" in found.sentence
    found = in_run_gradient.verdict_of(in_run_gradient.noise_of(groups))
    assert found.kind == "open" and "too badly" in found.sentence
    few = in_run_flat.flat_of(Stored(drawn(np.full(24, 0.3), steps=12, size=4)))
    found = in_run_flat.verdict_of(few, False)
    assert found.kind == "open" and "5 points" in found.sentence


def test_what_the_zscore_does_more_is_said():
    groups = drawn(np.full(60, 0.4))
    said = in_run_variance.compare(Stored(groups, "zscore")).shows
    assert "raw rewards" in said and "`zscore`" in said
    assert "raw rewards" not in in_run_variance.compare(Stored(groups, "loo")).shows


# --- the variance of the gradient ----------------------------------------------------------------

ATOMS = np.array([[0.0, 1.0], [1.0, 2.5], [0.4, -1.0]])
"""Reward and score of three completions."""
CHANCE = np.array([0.2, 0.5, 0.3])


def every(size: int):
    """Every group of the three completions, with its probability."""
    index = np.array(list(itertools.product(range(3), repeat=size)))
    return ATOMS[index, 0], ATOMS[index, 1], CHANCE[index].prod(1)


def test_moments_are_means_over_pairs_triples_and_quadruples_of_different_completions():
    rng = np.random.default_rng(3)
    R, x = rng.normal(size=(1, 6)), rng.gamma(1.0, size=(1, 6))
    h = np.subtract.outer(R[0], R[0]) * np.subtract.outer(x[0], x[0]) / 2
    four = list(itertools.permutations(range(6), 4))
    found = in_run_moments.moments_of(R, x)
    assert found.same_M[0] == pytest.approx(np.mean([h[i, j] ** 2 for i, j, _, _ in four]))
    assert found.touching_M[0] == pytest.approx(np.mean([h[i, j] * h[i, k] for i, j, k, _ in four]))
    assert found.apart_M[0] == pytest.approx(np.mean([h[i, j] * h[k, m] for i, j, k, m in four]))
    assert found.covariance_M[0] == pytest.approx(np.cov(R[0], x[0])[0, 1])


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_the_law_with_a_groups_moments_is_unbiased_for_the_variance_of_any_group_size(size):
    """Averaged over every group of four, against the variance over every group of `size`."""
    R, x, chance = every(4)
    law = chance @ in_run_moments.moments_of(R, x).law(size)
    R, x, chance = every(size)
    found = in_run_moments.gradient(R, x)
    exact = chance @ found**2 - (chance @ found) ** 2
    assert law == pytest.approx(exact, rel=1e-10)


def test_the_parts_of_the_law_are_those_of_the_theory():
    R, x, chance = every(4)
    moments = in_run_moments.moments_of(R, x)
    a, s = (v - CHANCE @ v for v in ATOMS.T)
    g = CHANCE @ (a * s)
    oracle = CHANCE @ (a * s) ** 2 - g**2
    kappa = (CHANCE @ a**2) * (CHANCE @ s**2) + g**2
    assert chance @ moments.oracle_M == pytest.approx(oracle)
    assert chance @ moments.kappa_M == pytest.approx(kappa)
    assert chance @ moments.law(5) == pytest.approx(oracle / 5 + kappa / 20)


def test_blocks_are_neighbours_and_what_is_left_over_is_left_out():
    R, x = np.random.default_rng(4).normal(size=(2, 1, 7))
    first, second = (np.cov(R[0, i : i + 3], x[0, i : i + 3])[0, 1] for i in (0, 3))
    found = in_run_moments.among_blocks(R, x, 3)
    assert found == pytest.approx([(first - second) ** 2 / 2])
    assert in_run_moments.block_sizes(8) == [2, 3, 4]


def test_independent_completions_follow_the_law_and_repeated_ones_do_not():
    groups = drawn(np.random.default_rng(5).beta(1, 1, 600))
    assert in_run_gradient.verdict_of(in_run_gradient.noise_of(groups)).kind == "holds"
    for one in groups:  # a cache that gives the same completions twice
        one.R_G[4:], one.length_G[4:] = one.R_G[:4], one.length_G[:4]
    verdict = in_run_gradient.verdict_of(in_run_gradient.noise_of(groups))
    assert verdict.kind == "fails" and "less than by chance" in verdict.sentence


def test_the_best_group_size_is_found_again():
    """Two kinds of prompts whose gradients are known: of one family right answers are longer, of
    the other shorter."""
    rng = np.random.default_rng(6)
    sign_M = np.where(rng.random(4000) < 0.5, 1.0, -1.0)
    R_MG = (rng.random((4000, 8)) < 0.5).astype(float)
    x_MG = rng.normal(size=R_MG.shape) + sign_M[:, None] * R_MG
    found = in_run_gradient.noise_of(
        [group(R, x, m % 100) for m, (R, x) in enumerate(zip(R_MG, x_MG, strict=True))]
    )
    # g = ±1/4, sigma^2 = 1/4, F = 1 + 1/4
    truth = 1 + math.sqrt((1 / 4 * 5 / 4 + 1 / 16) / (1 / 16))
    best, low, high = in_run_gradient.best_size(found)
    assert low < truth < high and best == pytest.approx(truth, rel=0.06)
    alike = in_run_gradient.noise_of(drawn(np.full(400, 0.5), longer=0.0))
    alike.between_M[:] = 0.0
    assert in_run_gradient.best_size(alike)[0] == math.inf


def test_prompts_are_compared_with_those_of_their_own_step():
    values, steps = np.array([1.0, 3.0, 10.0, 12.0, 99.0]), np.array([1, 1, 2, 2, 3])
    assert in_run_gradient._within_steps(values, steps) == pytest.approx([2.0] * 4)
    alone = in_run_gradient._within_steps(values, np.arange(5))
    assert alone.mean() == pytest.approx(values.var(ddof=1))


# --- solve rates ---------------------------------------------------------------------------------


def test_chances_and_pulls_are_those_of_the_binomial():
    inner, p = slice(1, -1), in_run_rates.GRID_Q[1:-1]
    for size in (2, 5, 64, 1024):
        expected = stats.binom.pmf(np.arange(size + 1), size, p[:, None])
        assert in_run_rates.binomial(size)[inner] == pytest.approx(expected, abs=1e-9)
        assert in_run_rates.binomial(size)[[0, -1]].sum(1) == pytest.approx(1)
    for size in (2, 3, 8):
        w = np.array([weights.weight(size, float(one), ddof=1) for one in p])
        assert in_run_rates.pull(size, True)[inner] == pytest.approx(2 * p * (1 - p) * w)
        centred = 2 * p * (1 - p) * (size - 1) / size
        assert in_run_rates.pull(size, False)[inner] == pytest.approx(centred)


@pytest.mark.parametrize("right", range(7))
def test_sizes_of_advantages_are_those_of_the_product(right):
    R = np.array([1.0] * right + [0.0] * (6 - right))
    for is_zscore, estimator in ((True, "zscore"), (False, "mean")):
        (given,) = advantages.assign([R.tolist()], estimator)
        expected = np.abs(np.array(given, dtype=float)).mean()
        assert in_run_rates.pulls(6, is_zscore)[right] == pytest.approx(expected, rel=3e-4)


def test_fitted_rates_find_means_of_the_true_distribution():
    rng = np.random.default_rng(7)
    p = np.where(rng.random(4000) < 0.3, rng.beta(2, 8, 4000), 1.0)
    right, size = rng.binomial(8, p), np.full(4000, 8)
    late = in_run_rates.fit(right, size, in_run_rates.LATE)
    assert late.sum() == pytest.approx(1)
    grid = in_run_rates.GRID_Q
    assert late @ grid == pytest.approx(p.mean(), abs=0.01)
    assert late @ (grid**16 + (1 - grid) ** 16) == pytest.approx(
        (p**16 + (1 - p) ** 16).mean(), abs=0.02
    )
    early = in_run_rates.bins_of(in_run_rates.fit(right, size, in_run_rates.EARLY))
    truth = np.histogram(p, 10, (0, 1))[0] / 4000
    assert np.abs(early - truth).sum() / 2 < 0.05


def test_one_prompt_with_many_counts_has_the_rate_that_its_counts_say():
    weight = in_run_rates.fit(np.array([0, 30, 30]), np.array([30, 30, 30]), in_run_rates.LATE)
    assert weight[0] + weight[1] == pytest.approx(1 / 3, abs=1e-3)
    assert weight[-1] + weight[-2] == pytest.approx(2 / 3, abs=1e-3)
    share = in_run_rates.posteriors(weight, np.array([3]), np.array([3]))
    assert share.sum() == pytest.approx(1) and share[0, -2:].sum() > 0.99


def test_subsets_are_counted_and_their_share_is_unbiased():
    hits = [1, 1, 1, 1, 0, 0, 0]
    for small in range(2, 8):
        flat = [len(set(one)) == 1 for one in itertools.combinations(hits, small)]
        assert in_run_rates.subsets_flat(4, 7, small) == pytest.approx(np.mean(flat))
    for p in (0.1, 0.5, 0.93):
        chance = stats.binom.pmf(np.arange(9), 8, p)
        for small in (2, 5, 8):
            share = [in_run_rates.subsets_flat(k, 8, small) for k in range(9)]
            assert chance @ share == pytest.approx(weights.flat(small, p))


# --- difficulty ----------------------------------------------------------------------------------


def test_shares_of_the_update_are_those_of_the_true_rates():
    p_M = np.random.default_rng(8).beta(0.6, 0.6, 4000)
    groups = [
        group(one.R_G, step=one.step, problem=one.problem,
              advantage=advantages.assign([one.R_G.tolist()], "zscore")[0])
        for one in drawn(p_M)
    ]  # fmt: skip
    found = in_run_difficulty.difficulty_of(Stored(groups, "zscore"))
    pull_M = np.array([2 * p * (1 - p) * weights.weight(8, float(p)) for p in p_M])
    bin_M = np.minimum((p_M * 10).astype(int), 9)
    truth = np.bincount(bin_M, pull_M, 10) / pull_M.sum()
    assert np.abs(found.law_B - truth).sum() / 2 < 0.06
    seen = np.array([one.value for one in found.seen_B])
    assert np.abs(seen - found.law_B).sum() / 2 < 0.02 and seen.sum() == pytest.approx(1)
    assert in_run_difficulty.verdict_of(found, False).kind == "holds"
    even = np.bincount(bin_M, p_M * (1 - p_M), 10) / (p_M * (1 - p_M)).sum()
    assert np.abs(found.even_B - even).sum() / 2 < 0.06


@pytest.mark.parametrize(
    "rates", [np.full(2000, 0.3), np.where(np.arange(2000) % 2, 0.1, 0.7), np.full(2000, 0.02)]
)
def test_halves_agree_also_where_rates_are_a_few(rates):
    found = in_run_difficulty.difficulty_of(Stored(drawn(rates), "zscore"))
    assert in_run_difficulty.verdict_of(found, False).kind == "holds"


def test_halves_that_repeat_each_other_fail_and_filtered_groups_cannot_tell():
    groups = drawn(np.full(400, 0.5))
    for one in groups:
        one.R_G[4:] = one.R_G[:4]
    found = in_run_difficulty.difficulty_of(Stored(groups, "zscore"))
    assert in_run_difficulty.verdict_of(found, False).kind == "fails"
    assert in_run_difficulty.verdict_of(found, True).kind == "open"


def test_the_second_half_by_the_first_is_a_sum_over_rates():
    """One rate for all: the law is the binomial mean, whatever the first half was."""
    found = in_run_difficulty.difficulty_of(Stored(drawn(np.full(3000, 0.5), size=4), "mean"))
    assert found.halves.right_H.tolist() == [0, 1, 2]
    assert found.halves.law_H == pytest.approx([0.25] * 3, abs=0.02)  # E |A| = p (1-p)
    assert found.halves.num_H.sum() == 3000


def test_a_prompt_that_comes_again_is_one_prompt():
    groups = [group([1, 0, 0, 0], problem="a"), group([1, 1, 0, 0], problem="a", step=2),
              group([1, 1, 1, 1], problem="b")]  # fmt: skip
    right, size, repeated = in_run_difficulty._prompts(successes_of(groups))
    assert (right.tolist(), size.tolist(), repeated) == ([3, 4], [8, 4], 1)


def test_right_is_the_higher_of_two_rewards_else_what_the_grader_says():
    two = successes_of([group([-1, 2, 2]), group([-1, -1, -1])])
    assert two.by_rewards and two.right_M.tolist() == [2, 0] and two.size_M.tolist() == [3, 3]
    ones = successes_of([group([1, 1]), group([1, 1])])
    assert ones.by_rewards and ones.right_M.tolist() == [2, 2]
    many = successes_of([group([0, 0.5, 1], right=[0, 1, 1]), group([0, 0, 0])])
    assert not many.by_rewards and many.right_M.tolist() == [2, 0] and "grader" in many.whose


# --- groups without a signal ---------------------------------------------------------------------


def test_one_rate_a_step_holds_and_the_larger_groups_are_foretold():
    p_M = np.repeat(np.random.default_rng(9).uniform(0.05, 0.5, 50), 16)
    found = in_run_flat.flat_of(Stored(drawn(p_M, steps=50)))
    assert in_run_flat.verdict_of(found, False).kind == "holds"
    for size, one in found.own.items():
        assert one.agrees(float((p_M**size + (1 - p_M) ** size).mean()))
    truth = float((p_M**16 + (1 - p_M) ** 16).mean())
    assert found.larger[16] == pytest.approx(truth, abs=0.03)
    assert found.plugged[8] > found.own[8].value + 0.05
    assert list(found.larger)[-2:] == [16, 32]
    assert in_run_flat.verdict_of(found, True).kind == "open"


def test_prompts_that_differ_are_told_from_one_rate():
    p_M = np.random.default_rng(10).beta(0.5, 0.5, 640)
    found = in_run_flat.flat_of(Stored(drawn(p_M)))
    assert in_run_flat.verdict_of(found, False).kind == "differs"
    assert found.spread == pytest.approx(p_M.var(), abs=0.01)
    assert found.expected == pytest.approx(2 * 0.5**8, abs=0.01)
    assert found.seen == pytest.approx(float((p_M**8 + (1 - p_M) ** 8).mean()), abs=0.05)


def test_completions_that_repel_each_other_make_too_few_flat_groups():
    groups = [group([1, 0, 1, 0], step=m // 8) for m in range(160)]
    found = in_run_flat.flat_of(Stored(groups))
    assert in_run_flat.verdict_of(found, False).kind == "fails" and found.seen == 0


def test_groups_of_different_size_are_each_held_against_their_own():
    sizes = np.random.default_rng(11).integers(2, 9, 800)
    groups = [drawn([0.3], int(size), seed=m)[0] for m, size in enumerate(sizes)]
    groups = [group(one.R_G, step=m // 16) for m, one in enumerate(groups)]
    found = in_run_flat.flat_of(Stored(groups))
    assert found.expected == pytest.approx(
        np.mean([weights.flat(int(g), 0.3) for g in sizes]), abs=0.02
    )
    assert in_run_flat.verdict_of(found, False).kind == "holds"


# --- entropy -------------------------------------------------------------------------------------


def test_ranks_and_correlations_are_scipys():
    rng = np.random.default_rng(12)
    x, y, z = np.round(rng.normal(size=(3, 30)), 1)
    assert in_run_entropy.ranks(x) == pytest.approx(stats.rankdata(x))
    found = in_run_entropy.correlation(in_run_entropy.ranks(x), in_run_entropy.ranks(y))
    assert found == pytest.approx(stats.spearmanr(x, y).statistic)
    assert in_run_entropy.correlation(np.ones(4), np.arange(4.0)) == 0

    def rest(v):
        return v - np.polyval(np.polyfit(z, v, 1), z)

    expected = stats.pearsonr(rest(x), rest(y)).statistic
    assert in_run_entropy.partial(x, y, z) == pytest.approx(expected)
    assert in_run_entropy.partial(x, y, x) == 0


def test_the_push_is_the_covariance_inside_a_context_and_foretells_the_entropy():
    """All actions of one softmax with their probabilities as weights: exact, and to first order
    what a natural step makes of the entropy."""
    logits, A = np.array([0.3, -1.0, 0.8, 0.0]), np.array([1.0, -0.5, 0.2, -2.0])

    def look(z):
        logp = z - np.log(np.exp(z).sum())
        return logp, np.exp(logp), float(-(np.exp(logp) * logp).sum())

    logp, pi, H = look(logits)
    push = in_run_entropy.push_of(1, logp, np.full(4, H), A, pi, 1.0)
    covariance = pi @ (logp * A) - (pi @ logp) * (pi @ A)
    assert push.natural == pytest.approx(covariance) and push.num_tokens == 4
    change = look(logits + 1e-5 * A)[2] - H
    assert change == pytest.approx(-1e-5 * push.natural, rel=1e-3)
    with_hole = np.array([np.nan, *logp[1:]])
    assert in_run_entropy.push_of(1, with_hole, np.full(4, H), A, pi, 2.0).num_tokens == 3


def trained(steps=60, contexts=32, size=8, eta=0.02, seed=13):
    """A policy of many softmaxes, moved by its own groups along the natural gradient: the pushes
    and the entropies that a run would store."""
    rng = np.random.default_rng(seed)
    z_CV = rng.normal(size=(contexts, 5))
    reward_CV = (rng.random((contexts, 5)) < 0.4).astype(float)
    pushes, entropy = [], {}
    for step in range(1, steps + 1):
        logp_CV = z_CV - np.log(np.exp(z_CV).sum(1, keepdims=True))
        pi_CV = np.exp(logp_CV)
        H_C = -(pi_CV * logp_CV).sum(1)
        entropy[step] = float(H_C.mean())
        action_CG = (rng.random((contexts, size, 1)) > pi_CV.cumsum(1)[:, None, :-1]).sum(-1)
        R_CG = np.take_along_axis(reward_CV, action_CG, 1)
        A_CG = R_CG - R_CG.mean(1, keepdims=True)
        logp_CG = np.take_along_axis(logp_CV, action_CG, 1)
        flat = (v.ravel() for v in (logp_CG, np.repeat(H_C, size), A_CG))
        weight = np.full(A_CG.size, 1 / A_CG.size)
        pushes.append(in_run_entropy.push_of(step, *flat, weight, 1.0))
        for c, i in np.ndindex(action_CG.shape):
            a = action_CG[c, i]
            z_CV[c, a] += eta * A_CG[c, i] / size / pi_CV[c, a]
    return pushes, entropy, dict.fromkeys(entropy, eta)


def test_a_policy_that_obeys_the_law_agrees_with_it_and_its_mirror_image_disagrees():
    pushes, entropy, rate = trained()
    stored = Stored([], pushes=pushes, entropy=entropy, learning_rate=rate)
    found = in_run_entropy.fit_of(in_run_entropy.law_of(stored))
    assert found.num == 59 and found.rank_at_level.low > 0.8
    assert found.slope.value == pytest.approx(1, abs=0.1)  # nats are nats: no free factor
    assert abs(found.offset) < 1e-3
    comparison = in_run_entropy.compare(stored)
    assert comparison.verdict.kind == "holds"
    finite(comparison)
    mirrored = Stored(
        [], pushes=[StepPush(p.step, -p.natural, 1) for p in pushes],
        entropy=entropy, learning_rate=rate,
    )  # fmt: skip
    assert in_run_entropy.compare(mirrored).verdict.kind == "fails"
    short = Stored([], pushes=pushes[:10], entropy=entropy, learning_rate=rate)
    assert in_run_entropy.compare(short).verdict.kind == "open"


def test_noise_that_entropy_and_covariance_share_is_no_evidence():
    """Harder questions raise both; the entropy then falls back: correlated, and not by the law."""
    rng = np.random.default_rng(14)
    level = 1 + 0.1 * rng.normal(size=201)
    noisy = level[:200] * (1 + 0.05 * rng.normal(size=200))
    stored = Stored(
        [],
        pushes=[StepPush(k, float(c), 9) for k, c in enumerate(noisy)],
        entropy=dict(enumerate(level.tolist())),
    )
    found = in_run_entropy.fit_of(in_run_entropy.law_of(stored))
    assert found.rank.low > 0.4
    assert in_run_entropy.verdict_of(found).kind == "open"


# --- runs that have little to say ----------------------------------------------------------------


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [group([1.0])] * 30,
        [group([])] * 30,
        [group([1, 0])],
        [group([0, 0, 0, 0], step=m) for m in range(30)],
        [group([1, 0], step=m) for m in range(30)],
        drawn([0.5] * 30, size=4, steps=1),
    ],
    ids=["none", "single", "abstained", "one", "flat", "pairs", "one step"],
)
def test_what_a_run_cannot_tell_is_said(groups):
    for estimator in ("zscore", "gae", "none", "mean"):
        found = in_run.comparisons(Stored(groups, estimator))
        assert [one.key for one in found] == [
            "variance", "gradient", "difficulty", "flat", "entropy",
        ]  # fmt: skip
        for one in found:
            assert one.verdict.sentence and one.verdict.rule and one.says and one.apart
            assert one.verdict.kind in ("open", "holds"), one.key
            finite(one)
    assert kinds(Stored(groups))["entropy"] == "open"


def test_the_usual_size_is_the_commonest_and_smaller_groups_are_left_out():
    groups = [group([0, 1]), group([1, 0, 1, 0]), group([1, 1, 1, 0]), group([])]
    assert usual_size(groups) == 4
    assert in_run_variance.spread_of(groups, "mean").sigma2.num == 2
    # of a larger group the first completions count
    both = in_run_variance.spread_of([*groups, group([1, 1, 1, 1, 0])], "mean")
    assert both.sigma2.num == 3 and both.size == 4


# --- reading a run -------------------------------------------------------------------------------


def rollout(reward, right=True, length=3, advantage=0.0, trace=None) -> Rollout:
    done = Rollout([5] * length, [-0.1] * length, "text " * 10, "stop")
    done.outcome, done.reward, done.correct = (
        ("ok" if reward is not None else "abstain"),
        reward,
        right,
    )
    done.advantage, done.trace = advantage, trace
    return done


def fill(writer, steps, rng_seed=15, token_groups=2) -> None:
    """Steps of groups of 4 with prompts of two difficulties, the tokens of some groups kept."""
    rng = np.random.default_rng(rng_seed)
    for step in steps:
        groups = []
        for m in range(4):
            R = (rng.random(4) < (0.2, 0.9)[m % 2]).astype(float)
            (given,) = advantages.assign([R.tolist()], "zscore")
            members = []
            for reward, advantage in zip(R, given, strict=True):
                length = int(rng.integers(2, 9))
                logp = (-rng.gamma(0.5, size=length)).tolist()
                channels = [logp, logp, logp, [0.4] * length, [advantage] * length]
                trace = TokenTrace(["a"] * length, *channels, [1 / 16 / length] * length)
                kept = trace if m < token_groups else None
                members.append(rollout(float(reward), reward > 0, length, advantage, kept))
            problem = Problem(f"{step % 7}-{m}", "?", "4", {})
            groups.append(Group(problem, "?", [], members))
        metrics = {"train/entropy": 1 - 0.01 * step + 0.02 * rng.random(),
                   "train/learning_rate": 1e-3}  # fmt: skip
        writer.write_step(StepStats(step, 50, "v", metrics), groups)


def write(folder, steps, config=None, name="run", token_groups=2) -> Run:
    """A run of so many such steps that has ended."""
    run = create_run(folder, name, to_yaml(config or RunConfig()))
    writer = RunWriter(run.db_path)
    fill(writer, range(1, steps + 1), token_groups=token_groups)
    writer.close()
    return run


def test_a_run_is_read_whole_without_its_texts_and_left_as_it_was(tmp_path, monkeypatch):
    run = write(tmp_path, 30)
    before = hashlib.sha256(run.db_path.read_bytes()).digest()
    said: list[str] = []

    class Watched(GroupReader):
        def __init__(self, path):
            super().__init__(path)
            self._db.set_trace_callback(said.append)

    monkeypatch.setattr(theory_run, "GroupReader", Watched)
    looked = theory_run.look(run)
    assert not looked.problem
    assert "all 120 groups over 30 of 30 steps (1 to 30): 480 completions" in looked.about
    assert "in 29 steps" in looked.about  # the last has no next entropy
    assert said and not any(word in query for query in said for word in ("text", "r.*", "prompt"))
    assert hashlib.sha256(run.db_path.read_bytes()).digest() == before
    found = {one.key: one for one in looked.comparisons}
    # prompts of two kinds are seen at once; halves of two completions are known badly
    assert found["flat"].verdict.kind == "differs" and found["variance"].verdict.kind == "open"
    assert found["variance"].rows[-1].exact == pytest.approx(found["variance"].rows[-1].found.value)
    assert all(len(one.rows) <= 6 for one in looked.comparisons)
    for one in looked.comparisons:
        finite(one)
        assert all(row.label for row in one.rows)
    again = theory_run.view(run)
    assert [one.verdict for one in again] == [one.verdict for one in looked.comparisons]


def test_the_push_of_a_step_stands_for_all_its_groups_with_a_signal(tmp_path):
    run = create_run(tmp_path, "run", to_yaml(RunConfig()))
    writer = RunWriter(run.db_path)
    trace = TokenTrace(["a"], [-1.0], [-1.0], [-1.0], [0.25], [2.0], [0.125])
    trace.later = [TokenPass([-3.0], [-1.0], [9.0], [2.0])]  # a later pass does not count
    traced = [rollout(1.0, length=1, advantage=2.0, trace=trace), rollout(0.0, advantage=-2.0)]
    bare = [rollout(1.0, advantage=2.0), rollout(0.0, advantage=-2.0)]
    flat = [rollout(1.0), rollout(1.0)]
    groups = [Group(Problem(str(m), "?", "4"), "?", [], members)
              for m, members in enumerate((traced, bare, bare, flat))]  # fmt: skip
    for step in (1, 2):
        writer.write_step(StepStats(step, 8, "v", {"train/entropy": 1.0}), groups)
    writer.close()
    with GroupReader(run.db_path) as reader:
        (push,) = theory_run._stored(reader, RunConfig(), reader.group_counts()).pushes
    # (log pi + H) A w, times three groups with a signal of which one is stored
    assert push.natural == pytest.approx(3 * (-1 + 0.25) * 2.0 * 0.125)


def test_completions_without_a_reward_are_left_out_and_groups_may_differ_in_size(tmp_path):
    run = create_run(tmp_path, "run", to_yaml(RunConfig()))
    writer = RunWriter(run.db_path)
    members = [[1.0, None, 0.0], [None, None], [1.0, 1.0, 0.0, 0.0]]
    groups = [
        Group(Problem(str(m), "?", "4"), "?", [],
              [rollout(r, advantage=None if r is None else 0.5) for r in rewards])
        for m, rewards in enumerate(members)
    ]  # fmt: skip
    writer.write_step(StepStats(1, 9, "v", {}), groups)
    writer.close()
    with GroupReader(run.db_path) as reader:
        stored = theory_run._stored(reader, None, reader.group_counts())
    assert [one.R_G.tolist() for one in stored.groups] == [[1, 0], [], [1, 1, 0, 0]]
    assert stored.groups[0].advantage_G.tolist() == [0.5, 0.5]
    assert stored.estimator == "zscore" and stored.pushes == []
    assert {one.verdict.kind for one in theory_run.view(run)} == {"open"}


def test_of_a_long_run_steps_are_read_evenly(tmp_path, monkeypatch):
    run = write(tmp_path, 40)
    monkeypatch.setattr(theory_run, "MAX_GROUPS", 20)
    looked = theory_run.look(run)
    assert "20 of 160 groups, evenly over 5 of 40 steps (1 to 40)" in looked.about
    monkeypatch.setattr(theory_run, "PER_STEP", 1)
    monkeypatch.setattr(theory_run, "MAX_COMPLETIONS", 8 * 10)
    assert "10 of 160 groups, evenly over 10 of 40" in theory_run.look(run).about
    assert theory_run.evenly([1, 2, 3], 5) == [1, 2, 3]
    assert theory_run.evenly(list(range(100)), 3) == [0, 50, 99]


def test_tokens_are_read_in_whole_groups_up_to_a_bound(tmp_path):
    run = write(tmp_path, 1, token_groups=4)
    with GroupReader(run.db_path) as reader:
        everything = reader.step_blobs(1, 10**9)
        assert len(everything) == 16
        first = sum(len(blob) for group, blob in everything if group == 1)
        assert [group for group, _ in reader.step_blobs(1, 1)] == [1] * 4
        assert [group for group, _ in reader.step_blobs(1, first)] == [1] * 4
        assert [group for group, _ in reader.step_blobs(1, 2 * first + 40)][:8] == [1] * 4 + [2] * 4
        assert reader.step_blobs(2, 10**9) == []


@pytest.mark.parametrize(
    ("recipe", "key", "said"),
    [
        ({"algorithm": {"name": "ppo"}}, "variance", "`gae` does more than centre"),
        ({"algorithm": {"name": "ppo"}}, "difficulty", "`gae` is no group z-score"),
        ({"algorithm": {"name": "dr_grpo"}}, "difficulty", "every prompt has the weight 1"),
        ({"algorithm": {"name": "dapo"}}, "flat", "cannot"),
    ],
)
def test_other_algorithms_are_spoken_of_as_what_they_are(tmp_path, recipe, key, said):
    found = {one.key: one for one in theory_run.view(write(tmp_path, 25, parse_config(recipe)))}
    if recipe["algorithm"]["name"] == "dapo":
        assert found["flat"].verdict.kind == found["difficulty"].verdict.kind == "open"
        assert "not stored" in found["flat"].verdict.sentence
    else:
        assert said in found[key].shows
    for one in found.values():
        finite(one)


def test_a_run_that_has_nothing_says_so(tmp_path):
    run = create_run(tmp_path, "absent", to_yaml(RunConfig()))
    assert "no database yet" in theory_run.look(run).problem and theory_run.view(run) == []
    RunWriter(run.db_path).close()
    assert "not stored any completions yet" in theory_run.look(run).problem
    torn = create_run(tmp_path, "torn", to_yaml(RunConfig()))
    torn.db_path.write_bytes(b"no database at all" * 100)
    assert "database cannot be read" in theory_run.look(torn).problem
    asked = theory_run.look(Evaluation(tmp_path / "absent"))
    assert "trains nothing" in asked.problem and asked.comparisons == []


def test_damage_inside_a_database_is_said_or_left_out(tmp_path):
    run = write(tmp_path, 25)
    with sqlite3.connect(run.db_path) as db:
        db.execute("UPDATE tokens SET blob = x'00' WHERE rollout_id % 2")
    looked = theory_run.look(run)
    assert not looked.problem and len(looked.comparisons) == 5
    run.config_path.write_text("algorithm: {name: of tomorrow}")
    assert "recipe cannot be read" in theory_run.look(run).about
    with sqlite3.connect(run.db_path) as db:
        db.execute("UPDATE rollouts SET reward = 'much' WHERE id = 5")
    assert "Left out: 1 completion " in theory_run.look(run).about
    with sqlite3.connect(run.db_path) as db:
        db.execute("UPDATE tokens SET blob = 7")
    assert "cannot be read" in theory_run.look(run).problem
    with sqlite3.connect(run.db_path) as db:
        db.execute("DROP TABLE rollouts")
    os.utime(run.path, (0, 0))  # else it would be taken for one that has only begun
    assert "cannot be read" in theory_run.look(run).problem


def test_the_first_pass_of_a_trace_is_what_was_sampled():
    trace = TokenTrace(["a", "b"], *[[-0.5, -1.25]] * 6)
    trace.later = [TokenPass(*[[7.0, float("nan")]] * 4)]
    found = first_pass_of(pack_trace([1, 2], trace))
    assert set(found) == {"logp", "old", "ref", "entropy", "advantage", "weight"}
    assert all(channel.tolist() == [-0.5, -1.25] for channel in found.values())
    with pytest.raises(ValueError, match="not the numbers"):
        first_pass_of(b"nothing")


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ("UPDATE rollouts SET num_tokens = 9e999 WHERE id % 2", "Left out: 48 completions"),
        ("UPDATE rollouts SET num_tokens = -9e999 WHERE id <= 3", "Left out: 3 completions"),
        ("UPDATE rollouts SET num_tokens = 'abc' WHERE id % 2", "Left out: 48 completions"),
        ("UPDATE rollouts SET num_tokens = 2.5 WHERE id <= 3", "Left out: 3 completions"),
        ("UPDATE rollouts SET num_tokens = 1e308", "Left out: 96 completions"),
        ("UPDATE rollouts SET num_tokens = 1 << 62", "Left out: 96 completions"),
        ("UPDATE rollouts SET reward = 1e308 WHERE id % 2", "Left out: 48 completions"),
        ("UPDATE rollouts SET reward = x'00ff' WHERE id = 1", "Left out: 1 completion "),
        ("UPDATE rollouts SET advantage = 9e999", "Left out: 96 completions"),
        ("UPDATE rollouts SET advantage = -1e308 WHERE id <= 8", "Left out: 8 completions"),
        ("UPDATE rollouts SET correct = 'yes' WHERE id <= 8", "Left out: 8 completions"),
        ("UPDATE rollouts SET reward = 1e12 WHERE id % 2", "over 6 of 6 steps"),
        ("UPDATE rollouts SET advantage = -1e12 * (id % 3)", "over 6 of 6 steps"),
        ("UPDATE rollouts SET num_tokens = 1000000000000 * (id % 2)", "over 6 of 6 steps"),
        ("UPDATE rollouts SET reward = 1e-300 * id", "over 6 of 6 steps"),
        ("UPDATE groups SET step = 'abc' WHERE step = 2", "over 5 of 5 steps (1 to 6)"),
        ("UPDATE groups SET step = x'00ff' WHERE step = 6", "over 5 of 5 steps (1 to 5)"),
        ("UPDATE groups SET step = -9e999 WHERE step = 1", "over 5 of 5 steps (2 to 6)"),
        ("UPDATE groups SET problem_id = x'00ff' WHERE step = 1", "over 6 of 6 steps"),
        ("UPDATE metrics SET value = 'abc'", "kept in 0 steps"),
        ("UPDATE metrics SET value = x'00ff' WHERE step = 2", "kept in 3 steps"),
        ("UPDATE metrics SET value = 1e308 * (step % 2)", "kept in 0 steps"),
        ("UPDATE metrics SET step = 'abc'", "kept in 0 steps"),
        ("UPDATE tokens SET blob = 'abc'", "kept in 0 steps"),
    ],
)
def test_what_is_no_number_of_a_sensible_size_is_left_out(tmp_path, change, about):
    run = write(tmp_path, 6)
    with sqlite3.connect(run.db_path) as db:
        db.execute(change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looked = theory_run.look(run)
        for one in looked.comparisons:
            finite(one)
    assert not looked.problem and len(looked.comparisons) == 5
    assert about in looked.about


@pytest.mark.parametrize("step", ["1e308", "9e999", "'abc'", "x'00ff'", "-1"])
def test_groups_whose_steps_are_no_numbers_are_not_compared(tmp_path, step):
    run = write(tmp_path, 2)
    with sqlite3.connect(run.db_path) as db:
        db.execute(f"UPDATE groups SET step = {step}")
    assert "no numbers of steps" in theory_run.look(run).problem


def test_tokens_of_any_size_are_left_out_of_a_push():
    logp = np.array([-1.0, -1e30, np.inf, -1.0, -1.0])
    ones, A = np.ones(5), np.array([2.0, 1.0, 1.0, 3e38, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        push = in_run_entropy.push_of(1, logp, ones * 0.25, A, ones, 1.0)
    assert push.num_tokens == 1 and push.natural == pytest.approx(-0.75 * 2)


def test_steps_without_their_learning_rate_are_left_out():
    pushes = [StepPush(k, 1.0, 1) for k in range(4)]
    stored = Stored([], pushes=pushes, entropy=dict.fromkeys(range(5), 1.0), learning_rate={2: 0.1})
    assert in_run_entropy.law_of(stored).predicted_S == pytest.approx([-0.1])
    stored = Stored([], pushes=pushes, entropy=dict.fromkeys(range(5), 1.0))
    assert in_run_entropy.law_of(stored).predicted_S == pytest.approx([-1.0] * 4)


def test_a_run_is_read_while_it_is_written(tmp_path):
    run = create_run(tmp_path, "live", to_yaml(RunConfig()))
    writer = RunWriter(run.db_path)
    fill(writer, range(1, 26))
    assert run.db_path.with_name("run.db-wal").stat().st_size > 0
    looked = theory_run.look(run)
    assert "over 25 of 25 steps" in looked.about and len(looked.comparisons) == 5
    other = sqlite3.connect(run.db_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # a step that is just being written does not count yet
    other.execute("UPDATE groups SET step = step + 100")
    assert theory_run.look(run).about == looked.about
    other.execute("ROLLBACK")
    other.close()
    fill(writer, range(26, 28))  # nor does reading hold up the writer
    assert "over 27 of 27 steps (1 to 27)" in theory_run.look(run).about
    writer.close()


def test_the_folder_of_an_evaluation_is_known_whatever_opens_it(tmp_path):
    run = write(tmp_path, 2)
    run.config_path.rename(run.path / "evaluation.yaml")
    for opened in (Run(run.path), Evaluation(run.path)):
        asked = theory_run.look(opened)
        assert "trains nothing" in asked.problem and asked.comparisons == []


# --- how it is said ------------------------------------------------------------------------------


def test_each_verdict_names_what_is_tested():
    for groups in ([], drawn(np.full(40, 0.4))):
        claims = [one.verdict.claim for one in in_run.comparisons(Stored(groups))]
        assert len(set(claims)) == 5 and all(claims)


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (0.5, 2, "0.50"),
        (-0.1234, 2, "−0.12"),
        (123.4, 2, "123"),
        (0.0, 2, "0"),
        (9e-05, 2, "9.0\\cdot10^{−5}"),
        (1.5e6, 3, "1.50\\cdot10^{6}"),
        (-math.inf, 2, "−\\infty"),
        (math.nan, 2, "—"),
    ],
)
def test_numbers_in_sentences_are_written_out(value, digits, said):
    assert told(value, digits) == said


def test_no_sentence_has_a_number_of_the_computers_kind(tmp_path):
    stored = [
        Stored(drawn(np.random.default_rng(1).beta(1, 1, 200)), "zscore"),
        Stored([group(np.array([0, 1e-5, 0, 1e-5]) * (m % 3), step=m) for m in range(60)]),
        Stored(drawn(np.full(300, 0.5), size=4)),
    ]
    for one in (one for each in stored for one in in_run.comparisons(each)):
        text = f"{one.shows} {one.verdict.sentence}"
        assert not re.search(r"\de[+−-]?\d|\binf\b|nan|(?<!\d)\.\d|\d%", text), text
        assert one.apart.count(". ") <= 1 and one.apart.endswith(".")


def test_a_line_is_fitted_only_where_there_is_a_verdict():
    pushes, entropy, rate = trained()
    for last, expected in ((60, True), (10, False)):
        stored = Stored([], pushes=pushes[:last], entropy=entropy, learning_rate=rate)
        drawing = in_run_entropy.compare(stored).draw(Palette.of("light"))
        assert ("fitted line" in [trace.name for trace in drawing.data]) == expected


@pytest.mark.parametrize(
    ("most", "step", "top"), [(2.56, 1, 3), (1.0, 0.2, 1), (7.9, 2, 8), (30.1, 10, 40)]
)
def test_the_right_axis_counts_in_round_steps(most, step, top):
    found = in_run_difficulty._axis(most)
    assert found["dtick"] == pytest.approx(step) and found["range"] == pytest.approx([0, top])


def test_only_what_is_judged_is_a_law():
    groups = drawn(np.random.default_rng(2).beta(1, 1, 200))
    for one in in_run.comparisons(Stored(groups, "zscore"))[:4]:
        laws = [row for row in one.rows if row.kind == "law" and row.exact is not None]
        assert laws and one.rows[0] in laws
        if one.key != "difficulty":
            assert [row.exact for row in laws] == [0.0]
