"""Length and the loss: expected updates, sampled runs, and what is said about them."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from grpo_core.advantages import PER_GROUP, assign
from grpo_core.config import RunConfig
from grpo_core.losses import policy_loss, token_weights
from grpo_core.objective import Objective
from grpo_core.terms import weights_of
from studio.theory import length, length_race, length_weights
from studio.theory.cards.length import CARD
from studio.theory.groups import all_groups
from studio.theory.length import KnobsOfLength
from studio.theory.length_race import start_K, table
from studio.theory.length_weights import (
    AGGREGATIONS,
    BASELINES,
    Problems,
    direction,
    expected_update,
    gradient,
    lengthening,
    random_problems,
)
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import problem, toy
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI


def one(seed: int, theta_seed: int) -> Problems:
    """A problem with logits of standard deviation 0.5."""
    model, _, R_N = problem("binary", seed, eos=0)
    logits = np.random.default_rng(theta_seed).normal(0, 0.5, (model.C, model.V))
    return Problems(logits[None], R_N[None])


# --- parity with the product ----------------------------------------------------------------------


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_advantages_and_weights_are_the_products(aggregation, baseline):
    rng = np.random.default_rng(0)
    for size in (2, 3, 9):
        L, R = rng.integers(1, 4, size).astype(float), (rng.random(size) < 0.5).astype(float)
        expected = PER_GROUP[baseline](R, L) * weights_of(L, aggregation, 3)
        on_gpu = token_weights(torch.tensor(L), aggregation, 3).numpy()
        assert np.allclose(weights_of(L, aggregation, 3), on_gpu, atol=1e-7)
        part = L * R if baseline.startswith("opo") else R
        for i in range(size):
            X, Y = np.array(L.sum() - L[i]), np.array(part.sum() - part[i])
            A = length_weights.advantage(baseline, L[i], R[i], X, Y, size)
            W = length_weights.token_weight(aggregation, L[i], X, size, 3)
            assert float(A * W) == pytest.approx(expected[i], abs=1e-14)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_expected_update_is_the_mean_over_every_group(aggregation, baseline):
    """All 1,600 pairs of the toy's completions, with the product's advantages and weights."""
    given, model = one(3, 0), toy(eos=0)
    p_N, R_N, L_N = given.p_BN[0], given.R_BN[0], model.lengths_N
    index = all_groups(model.N, 2)
    A = np.array(assign(R_N[index].tolist(), baseline, L_N[index].tolist()), dtype=float)
    if aggregation == "token_mean":
        W = 1 / L_N[index].sum(1, keepdims=True)
    else:
        W = np.array([weights_of(row, aggregation, 3) for row in L_N[index]])
    factor = np.zeros(model.N)
    for i in range(2):
        np.add.at(factor, index[:, i], p_N[index].prod(1) * A[:, i] * (W * np.ones(2))[:, i])
    by_hand = factor @ model.scores_NP(given.logits_BCV[0].ravel())
    found = expected_update(given, aggregation, baseline, 2)[0]
    assert np.allclose(found, by_hand, atol=1e-15)


def test_a_groups_update_is_the_gradient_of_the_products_loss():
    """Tokens behind the first follow surely: log-probability 0, no gradient."""
    lengths, logits = length_race.lengths_of(5), np.array([0.2, -0.4, 0.1])
    for aggregation in AGGREGATIONS:
        given = table(aggregation, "opo", 4, 5)
        row = int(given.row_GG[2, 1])
        assert given.counts_MK[row].tolist() == [2, 1, 1]
        answers = [0, 0, 1, 2]
        L = torch.tensor([int(lengths[k]) for k in answers])
        R = np.array([0.0, 0.0, 0.0, 1.0])
        A = torch.tensor(PER_GROUP["opo"](R, L.double().numpy()))
        theta = torch.tensor(logits, requires_grad=True)
        first = theta.log_softmax(0)[answers]
        logp = torch.zeros(int(L.sum()), dtype=torch.float64)
        logp[L.cumsum(0) - L] = first
        loss = policy_loss(
            Objective(ratio_level="token", clipping="ppo"),
            logp,
            logp.detach(),
            A.repeat_interleave(L),
            token_weights(L.double(), aggregation, 5).repeat_interleave(L),
            torch.arange(4).repeat_interleave(L),
        ).loss
        (slope,) = torch.autograd.grad(loss, theta)
        p = np.exp(logits) / np.exp(logits).sum()
        found = length_race.update_of(given.pull_MK[row], p)
        assert np.allclose(found, -slope.numpy(), atol=1e-7)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 8, 32])
def test_a_sum_over_tokens_is_unbiased_and_one_over_length_is_so_for_no_group(size):
    given = random_problems(0, 10)
    gradient_BP, model = gradient(given), toy(eos=0)
    for b in range(len(gradient_BP)):
        by_toy = model.grad_value_P(given.logits_BCV[b].ravel(), given.R_BN[b])
        assert np.allclose(gradient_BP[b], by_toy, atol=1e-15)
    for baseline, scale in (("loo", 1.0), ("opo_loo", 1.0), ("mean", (size - 1) / size)):
        for aggregation, share in (("seq_sum", 1.0), ("dr_grpo", 1 / 3)):
            found = expected_update(given, aggregation, baseline, size)
            assert np.allclose(found, scale * share * gradient_BP, atol=1e-14)
    p, a = given.p_BN, given.R_BN - (given.p_BN * given.R_BN).sum(1, keepdims=True)
    law = length_weights.scores_times(p * a / model.lengths_N, given)
    assert np.allclose(expected_update(given, "seq_mean", "loo", size), law, atol=1e-14)


@pytest.mark.parametrize(("aggregation", "baseline"), [("token_mean", "loo"), ("seq_sum", "opo")])
def test_biases_of_order_one_over_g_are_those_that_are_derived(aggregation, baseline):
    """G times the part across the gradient tends to the formula in the text."""
    given = one(3, 0)
    p, R, L = given.p_BN[0], given.R_BN[0], toy(eos=0).lengths_N
    V, mean_length = p @ R, p @ L
    m = (p * L) @ R / mean_length
    first = (R - V) * (L - mean_length) if aggregation == "token_mean" else L * (R - m)
    law = -length_weights.scores_times((p * first)[None], given) / mean_length
    slope = gradient(given)
    across = law - (law @ slope.T) / (slope @ slope.T) * slope
    gaps = []
    for size in (8, 32):
        scale = mean_length if aggregation == "token_mean" else 1.0
        update = scale * expected_update(given, aggregation, baseline, size)
        found = size * (update - (update @ slope.T) / (slope @ slope.T) * slope)
        gaps.append(np.linalg.norm(found - across) / np.linalg.norm(across))
    assert gaps[1] < 0.05 and gaps[1] < 0.4 * gaps[0]


def test_lengthening_is_the_derivative_of_the_mean_length():
    given, model = one(5, 1), toy(eos=0)
    direction_P = np.random.default_rng(2).normal(size=model.P)
    unit_P = direction_P / np.linalg.norm(direction_P)
    for right in (False, True):

        def mean_length(theta_P, right=right):
            q = model.p_N(theta_P) * (given.R_BN[0] == right)
            return float(q @ model.lengths_N / q.sum())

        theta = given.logits_BCV[0].ravel()
        slope = (mean_length(theta + 1e-5 * unit_P) - mean_length(theta - 1e-5 * unit_P)) / 2e-5
        assert lengthening(direction_P[None], given, right)[0] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize(
    ("aggregation", "size", "cosine"),
    [
        ("seq_mean", 8, 0.937378946903769),
        ("token_mean", 2, 0.9917696773260238),
        ("token_mean", 3, 0.9959593204860251),
    ],
)
def test_recorded_cosines(aggregation, size, cosine):
    assert length.off_gradient(aggregation, "loo", size)[1] == pytest.approx(cosine, abs=1e-12)


def test_cosines_that_were_sampled_before_are_exact_now():
    """.9994 and .99996 from 40,000 groups."""
    assert length.off_gradient("token_mean", "loo", 8)[1] == pytest.approx(0.99943, abs=3e-5)
    assert length.off_gradient("token_mean", "loo", 32)[1] == pytest.approx(0.999964, abs=3e-6)


def test_recorded_bias_of_the_length_weighted_baseline():
    recorded = [
        (0.6587, 0.1106),
        (0.7236, 0.1015),
        (0.6271, 0.1188),
        (0.6531, 0.0402),
        (0.6643, 0.1101),
    ]
    for seed, (scale, off) in enumerate(recorded):
        given = one(seed, seed)
        found = direction(expected_update(given, "seq_sum", "opo", 3), gradient(given))
        assert found.scale_B[0] == pytest.approx(scale, abs=6e-5)
        assert found.off_B[0] == pytest.approx(off, abs=6e-5)


def test_recorded_lengthening_on_random_problems():
    found = length.estimate(KnobsOfLength(), 0)
    assert found.wrong_B.mean() == pytest.approx(0.06666, abs=1e-5)
    assert found.right_B.mean() == pytest.approx(-0.04027, abs=1e-5)
    assert found.longer.value == pytest.approx(266 / 300) and found.shorter.value == 0.66
    assert (np.abs(found.right_B) <= 1e-9).mean() == 0.24  # all right ones have one length


# --- three answers --------------------------------------------------------------------------------


def test_recorded_share_of_long_wrong_answers():
    """Without the scale: .50, .619, .715, .725 after 0, 20, 100 and 199 steps."""
    path = length_race.expected_path(table("seq_mean", "loo", 2, 3), start_K(0.5), 0.5)
    assert path[[0, 20, 100, 199]] == pytest.approx([0.5, 0.61884, 0.71523, 0.72479], abs=1e-5)
    flat = length_race.expected_path(table("seq_sum", "loo", 2, 3), start_K(0.5), 0.5)
    assert np.allclose(flat, 0.5, atol=1e-14)


def test_the_first_push_is_that_of_the_formula():
    given, unbiased = (table(name, "loo", 8, 3) for name in ("seq_mean", "seq_sum"))
    V, start = length_race.RIGHT_AT_FIRST, start_K(0.5)
    push = (1 - V) / 2 * V * (1 - 1 / 3)
    found = length_race.push(length_race.mean_update(given, start))
    assert found == pytest.approx(push, abs=1e-14)
    scale = length_race.equalise(given, unbiased, start)
    assert scale == pytest.approx(1.786, abs=5e-4)
    assert length.exact(KnobsOfLength()).push == pytest.approx(0.5 * scale * push, abs=1e-14)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_mean_over_compositions_is_that_over_ordered_groups(aggregation):
    given, start = table(aggregation, "opo", 3, 4), start_K(0.3)
    p, index = np.exp(start), all_groups(3, 3)
    lengths, rewards = np.array(length_race.lengths_of(4)), np.array(length_race.REWARDS)
    pull = np.zeros(3)
    for row in index:
        A = PER_GROUP["opo"](rewards[row], lengths[row])
        if np.ptp(rewards[row]) == 0:
            A = np.zeros(3)
        np.add.at(pull, row, p[row].prod() * A * weights_of(lengths[row], aggregation, 4))
    by_hand = length_race.update_of(pull, p)
    assert np.allclose(length_race.mean_update(given, start), by_hand, atol=1e-15)


def test_sampled_groups_agree_with_expected_ones():
    for knobs in (
        KnobsOfLength(),
        KnobsOfLength(aggregation="token_mean", group_size=2, long=10, share=0.2),
        KnobsOfLength(aggregation="seq_sum", baseline="opo", group_size=4),
    ):
        exact, found = length.exact(knobs), length.estimate(knobs, 1)
        assert found.push.agrees(exact.push) and found.push.se > 0
        assert found.shift.agrees(exact.shift)
        assert not found.push.agrees(exact.push + 4 * found.push.se)


def test_same_seed_same_numbers():
    knobs = KnobsOfLength(share=0.3)
    first, again, other = (length.estimate(knobs, seed) for seed in (4, 4, 5))
    paths = [each.path.mean_T for each in (first, again, other)]
    assert (paths[0] == paths[1]).all() and not (paths[0] == paths[2]).all()
    assert paths[0].shape == (length_race.STEPS + 1,) and first.path.num == length.RUNS


def test_paths_keep_what_runs_say():
    kept = length.Paths.of(np.array([[0.5, 0.2], [0.5, 0.4], [0.5, 0.9]]))
    assert kept.mean_T == pytest.approx([0.5, 0.5])
    assert kept.end.se == pytest.approx(math.sqrt(0.26 / 2 / 3)) and kept.end.num == 3
    assert length.Paths.of(np.ones((300, 201))).mean_T.nbytes == 201 * 8


# --- the card -------------------------------------------------------------------------------------


def test_the_verdict_can_come_out_each_way():
    knobs = KnobsOfLength()
    exact, found = length.exact(knobs), length.estimate(knobs, 0)
    assert length.verdict(knobs, exact, found).kind == "holds"
    assert "more frequent" in length.verdict(knobs, exact, found).claim
    nothing = length.verdict(knobs, exact, replace(found, path=found.unbiased))
    assert nothing.kind == "open" and "too little" in nothing.sentence
    away = replace(found, path=replace(found.path, mean_T=1 - found.path.mean_T))
    assert length.verdict(knobs, exact, away).kind == "fails"
    even = KnobsOfLength(aggregation="dr_grpo")
    assert length.verdict(even, length.exact(even), found).kind == "fails"
    calm = length.verdict(even, length.exact(even), length.estimate(even, 0))
    assert calm.kind == "holds" and "wrong answers become no longer" in calm.claim
    assert "no length changes" in calm.sentence
    many = KnobsOfLength(share=0.9)
    said = length.verdict(many, length.exact(many), length.estimate(many, 0))
    assert "0.90 at first, ends at 0.77 instead of 0.58 with the unbiased" in said.sentence


def knob_values():
    """Every option of each choice, both ends of each number; one at a time."""
    for field in fields(KnobsOfLength):
        knob = field.metadata["knob"]
        for value in knob.options or (knob.low, knob.high):
            yield KnobsOfLength(**{field.name: value})


def test_every_knob_draws_finite_figures(monkeypatch):
    monkeypatch.setattr(length, "RUNS", 20)
    monkeypatch.setattr(length, "GROUPS", 200)
    monkeypatch.setattr(length, "NUM_PROBLEMS", 20)
    length._changes.cache_clear()
    for knobs in knob_values():
        exact, found = CARD.exact(knobs), CARD.estimate(knobs, 1)
        assert CARD.verdict(knobs, exact, found).sentence
        for drawing in CARD.drawings:
            drawn = drawing.draw(knobs, exact, found, Palette.of("light"))
            for trace in drawn.data:
                assert 1 <= len(trace.x) == len(trace.y) <= 400
                assert np.isfinite(np.array([trace.x, trace.y], dtype=float)).all()
            assert drawn.layout.xaxis.title.text and drawn.layout.yaxis.title.text
        for row in CARD.rows(knobs, exact, found):
            value = row.found.value if isinstance(row.found, Estimate) else row.exact
            assert value is not None and math.isfinite(value)
    length._changes.cache_clear()


def test_histograms_hold_every_problem():
    knobs = KnobsOfLength()
    exact, found = length.exact(knobs), length.estimate(knobs, 0)
    drawn = CARD.drawings[2].draw(knobs, exact, found, Palette.of("light"))
    assert [sum(trace.y) for trace in drawn.data] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    "wrong", [{"long": 1}, {"long": 11}, {"share": 0.05}, {"group_size": 1}, {"baseline": "none"}]
)
def test_knobs_out_of_bounds_raise(wrong):
    with pytest.raises(ValueError):
        KnobsOfLength(**wrong)


def test_the_words_are_complete_and_name_settings_that_exist():
    config = RunConfig()
    for path in words("length").knobs:
        here = config
        for part in path.split("."):
            here = getattr(here, part)
