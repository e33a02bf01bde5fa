"""Baselines by attention over the group: exact means by several methods, the variance beside
recorded numbers, the product's own baseline, and where attention between outputs goes wrong."""

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest

from grpo_core.advantages import loo, opo_loo, prefix_baseline
from grpo_core.config import RunConfig
from studio.theory import attention_exact, attention_weights, clusters
from studio.theory.attention import UNBIASED, KnobsOfAttention, crossing, estimate, exact, verdict
from studio.theory.attention_weights import KINDS, LEVELLED, baselines, queries
from studio.theory.cards.attention import CARD
from studio.theory.clusters import How
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

RECORDED = KnobsOfAttention(group_size=8, temperature=0.3)
"""The setting of the recorded numbers: h = .9."""


def _similarity(kind, index_G):
    """(T, G, G) as the product takes it, from the tokens themselves."""
    texts = [attention_weights.toy().completions[n] for n in index_G]
    found = np.ones((3, len(texts), len(texts)))
    for t, (i, mine), (j, other) in itertools.product(range(3), enumerate(texts), enumerate(texts)):
        until = 3 if kind == "output" else t
        if until:
            found[t, i, j] = np.mean([a == b for a, b in zip(mine[:until], other, strict=False)])
    return found


@pytest.mark.parametrize("min_samples", [1, 2, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.05])
@pytest.mark.parametrize("kind", ["prefix", "output"])
def test_levels_give_the_products_baseline_and_its_fallback(kind, temperature, min_samples):
    at, rng = attention_exact.setup(0.7), np.random.default_rng(5)
    for size in (2, 5, 8):
        index_MG = at.model.sample(at.theta_P, (4, size), rng)
        found, samples = baselines(
            kind, at.R_N, at.length2_N, index_MG, temperature, float(min_samples)
        )
        for m, index_G in enumerate(index_MG):
            expected, expected_samples = prefix_baseline(
                at.R_N[index_G], _similarity(kind, index_G), temperature, min(min_samples, size - 1)
            )
            assert found[m] == pytest.approx(
                np.broadcast_to(expected.T, (size, 3))[:, : found.shape[2]], abs=1e-12
            )
            assert samples[m] == pytest.approx(expected_samples.T[:, : samples.shape[2]], rel=1e-9)


def test_baselines_without_a_query_are_the_products_leave_one_out_and_length_weighted_one():
    at, rng = attention_exact.setup(0.5), np.random.default_rng(0)
    index_MG = at.model.sample(at.theta_P, (6, 5), rng)
    weights_N = rng.integers(1, 9, at.model.N).astype(float)
    R_MG = at.R_N[index_MG]
    plain, samples = baselines("loo", at.R_N, weights_N, index_MG, 1.0, 1.0)
    keyed, _ = baselines("key", at.R_N, weights_N, index_MG, 1.0, 1.0)
    assert samples == pytest.approx(4.0)
    for m in range(6):
        assert R_MG[m] - plain[m, :, 0] == pytest.approx(loo(R_MG[m], np.ones(5)), abs=1e-12)
        assert R_MG[m] - keyed[m, :, 0] == pytest.approx(
            opo_loo(R_MG[m], weights_N[index_MG[m]]), abs=1e-12
        )
    with pytest.raises(KeyError):
        baselines("nothing", at.R_N, weights_N, index_MG, 1.0, 1.0)


def test_shrunk_weights_by_hand():
    # the others: two share the whole query and pay 1 each, two do not and pay 0
    share, _ = attention_weights.shares(
        "shrunk", np.array([[2.0, 2.0]]), np.ones((1, 2)), np.array([1]), 1.0
    )
    # lambda = 2/3 on a mean of 1, 1/3 on a mean of 1/2
    assert (share * [[0.0, 2.0]]).sum() == pytest.approx(2 / 3 + 1 / 6)
    assert (share * [[2.0, 2.0]]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", LEVELLED)
@pytest.mark.parametrize(("temperature", "min_samples"), [(0.3, 1), (0.1, 2), (1.0, 4)])
def test_multinomial_law_is_the_sum_over_all_groups_of_three(kind, temperature, min_samples):
    at = attention_exact.setup(0.7)
    law_Q = attention_weights.expected_baseline(kind, at.p_N, at.R_N, 3, temperature, min_samples)
    pairs_QNN = attention_exact._pairs(kind, at, temperature, min_samples)
    assert law_Q == pytest.approx(np.einsum("qnm,n,m->q", pairs_QNN, at.p_N, at.p_N), abs=1e-13)


@pytest.mark.parametrize("size", [2, 4])
def test_multinomial_law_is_the_mean_over_ordered_groups(size):
    # an independent sum over all ways to pick the others' levels one by one
    rng = np.random.default_rng(2)
    chance_L, mean_L = np.array([0.5, 0.3, 0.2]), rng.random(3)
    kernel_L = np.exp(np.array([-2.0, -1.0, 0.0]) / (2 * 0.4))
    total = 0.0
    for levels in itertools.product(range(3), repeat=size - 1):
        weights = kernel_L[list(levels)]
        total += np.prod(chance_L[list(levels)]) * (weights @ mean_L[list(levels)] / weights.sum())
    found = attention_weights.expected_of_levels(
        "output", chance_L[None], mean_L[None], np.array([2]), size, 0.4, 1.0
    )
    assert found[0] == pytest.approx(total, abs=1e-14)


def test_bias_in_groups_of_three_as_recorded():
    for temperature, recorded in ((1.0, 0.040), (0.3, 0.106), (0.1, 0.161)):
        found = attention_exact.enumerated(0.7, temperature, 1)
        assert found["output"] == pytest.approx(recorded, abs=5e-4)
        assert max(found[kind] for kind in UNBIASED) < 1e-14
    assert exact(KnobsOfAttention(share=0.7, temperature=0.3)).bound == pytest.approx(5.1, abs=0.05)


def test_bias_at_larger_groups_as_recorded():
    for size, recorded in ((4, 0.16), (8, 0.25), (16, 0.29), (32, 0.31)):
        biases = exact(replace(RECORDED, group_size=size)).bias
        assert biases["output"] == pytest.approx(recorded, abs=0.007)
        assert max(biases[kind] for kind in UNBIASED) < 1e-14


def test_bias_is_below_its_bound_and_absent_in_pairs():
    for share, temperature in itertools.product((0.0, 0.5, 1.0), (1.0, 0.1, 0.05)):
        knobs = KnobsOfAttention(share=share, temperature=temperature, group_size=8)
        found = exact(knobs)
        assert 0.04 < found.bias["output"] < found.bound
        assert exact(replace(knobs, group_size=2)).bias["output"] < 1e-14


def test_total_variation_of_softmaxes_is_below_tanh_of_a_quarter_of_the_span():
    rng, largest = np.random.default_rng(0), 0.0
    for _ in range(1000):
        logits = rng.normal(0, 2, rng.integers(2, 6))
        shift = rng.uniform(-1, 1, len(logits)) * rng.choice([0.5, 2, 6])
        p, q = (np.exp(z) / np.exp(z).sum() for z in (logits, logits + shift))
        largest = max(largest, np.abs(p - q).sum() / 2 / np.tanh(np.ptp(shift) / 4))
    assert 0.9 < largest <= 1.0
    p = np.array([1 / (np.exp(1.0) + 1), 1 - 1 / (np.exp(1.0) + 1)])  # attained, with span 2
    q = p * np.exp([2.0, 0.0]) / (p * np.exp([2.0, 0.0])).sum()
    assert q[0] - p[0] == pytest.approx(np.tanh(0.5))


def test_scores_of_different_tokens_are_orthogonal_so_second_moments_add_up():
    at = attention_exact.setup(0.9)
    products_NTT = np.einsum("ntp,nup->ntu", at.scores_NTP, at.scores_NTP)
    assert np.abs(products_NTT * (1 - np.eye(3))).max() == 0.0
    lengths_NT = np.einsum("ntt->nt", products_NTT)
    assert at.p_N @ lengths_NT.sum(1) <= at.model.T


def test_variance_is_the_least_one_plus_a_weighted_squared_distance():
    at = attention_exact.setup(0.9)
    p_N, model = at.p_N, at.model
    squares_NT = np.square(at.scores_NTP).sum(2)
    weight_C, best_C = np.zeros((2, model.C))
    for prefix in range(model.C):
        here = model.prefix_NT == prefix
        weight_C[prefix] = (p_N[:, None] * squares_NT)[here].sum()
        best_C[prefix] = (p_N[:, None] * squares_NT * at.R_N[:, None])[here].sum()
    best_C /= weight_C
    baseline_C = np.random.default_rng(1).random(model.C)

    def variance(values_C):
        return attention_exact.variance_of_known(at, values_C[model.prefix_NT], 1)

    excess = weight_C @ np.square(baseline_C - best_C)
    assert variance(baseline_C) - variance(best_C) == pytest.approx(excess, rel=1e-12)


def test_off_policy_with_token_ratios_the_prefix_baseline_adds_nothing():
    at = attention_exact.setup(0.9)
    model, rng = at.model, np.random.default_rng(3)
    old_P = at.theta_P + rng.normal(0, 0.5, model.P)
    ratio_NT = np.exp(model.token_logp_NT(at.theta_P) - model.token_logp_NT(old_P))
    for kind, zero in (("prefix", True), ("shrunk", True), ("output", False)):
        mean_Q = attention_weights.expected_baseline(kind, model.p_N(old_P), at.R_N, 8, 0.3, 2)
        baseline_NT = mean_Q[queries(kind).of_NT]
        added_P = np.einsum("n,nt,ntp->p", model.p_N(old_P), ratio_NT * baseline_NT, at.scores_NTP)
        assert (np.abs(added_P).max() < 1e-15) == zero


def test_variance_of_leave_one_out_is_that_over_all_pairs():
    at = attention_exact.setup(0.9)
    index = np.stack(np.divmod(np.arange(64**2), 64), 1)
    scores_NP = at.scores_NTP.sum(1)
    weight_M = at.p_N[index].prod(1)
    A_M = at.R_N[index[:, 0]] - at.R_N[index[:, 1]]
    g_MP = A_M[:, None] * (scores_NP[index[:, 0]] - scores_NP[index[:, 1]]) / 2
    mean_P = weight_M @ g_MP
    assert mean_P == pytest.approx(at.gradient_P, abs=1e-14)
    trace = weight_M @ np.square(g_MP).sum(1) - mean_P @ mean_P
    assert attention_exact.variance_of_loo(at, 2) == pytest.approx(trace, rel=1e-12)


RATIOS = [
    (0.9, 8, {"prefix": 0.591, "shrunk": 0.699, "key": 1.004, "output": 0.601}),
    (0.5, 8, {"prefix": 0.889, "shrunk": 0.896, "key": 1.002, "output": 0.721}),
    (0.0, 8, {"prefix": 1.12, "shrunk": 1.05, "key": 1.004, "output": 0.819}),
    (0.9, 4, {"prefix": 0.822, "shrunk": 0.886, "key": 1.007, "output": 0.806}),
    (0.9, 32, {"prefix": 0.414, "shrunk": 0.398, "key": 1.001, "output": 0.384}),
]


@pytest.mark.parametrize(("share", "size", "recorded"), RATIOS)
def test_sampled_variance_over_leave_one_out_as_recorded(share, size, recorded):
    knobs = replace(RECORDED, share=share, group_size=size)
    worked_out, found = exact(knobs), estimate(knobs, 1)
    for kind, value in recorded.items():
        ratio = found.kinds[kind].ratio
        # the record is a sample of about the same size
        assert abs(ratio.value - value) < 4 * np.hypot(ratio.se, ratio.se) + 6e-4, kind
    assert found.kinds["loo"].variance.agrees(worked_out.variance)
    for kind in KINDS:
        assert found.kinds[kind].law.holds, kind
        assert found.kinds[kind].bias.agrees(worked_out.bias[kind]), kind
        assert found.kinds[kind].truth.holds == (kind in UNBIASED), kind


def test_known_values_as_baselines_as_recorded():
    for share, prompt, prefix in ((0.0, 0.873, 0.833), (0.5, 0.859, 0.578), (0.9, 0.849, 0.244)):
        found = exact(replace(RECORDED, share=share))
        assert found.to_prompt == pytest.approx(prompt, abs=0.005)
        assert found.to_prefix == pytest.approx(prefix, abs=0.005)


def test_output_attention_has_the_larger_error_from_about_eight_groups_on():
    worked_out, found = exact(RECORDED), estimate(RECORDED, 0)
    assert crossing(worked_out, found) == pytest.approx(8, abs=1)
    pairs = replace(RECORDED, group_size=2)
    assert crossing(exact(pairs), estimate(pairs, 0)) is None


# --- two clusters ---------------------------------------------------------------------------------


def test_forces_on_two_clusters_by_all_groups_of_three_and_as_recorded():
    uniform = np.full(4, 0.25)
    for attention, min_samples in itertools.product((False, True), (1, 2)):
        how = How(attention, 3, 0.2, min_samples)
        total_A = np.zeros(4)
        for group in itertools.product(range(4), repeat=3):
            similarity = clusters.SAME[np.ix_(group, group)][None] * attention
            R_G = clusters.REWARDS[list(group)]
            baseline, _ = prefix_baseline(R_G, similarity, 0.2, min_samples)
            for i, answer in enumerate(group):
                total_A += (R_G[i] - baseline[0, i]) * (np.eye(4)[answer] - uniform) / 3 / 64
        assert clusters.expected_update(how, uniform) == pytest.approx(total_A, abs=1e-15)
    true, wrong = exact(KnobsOfAttention(group_size=8, temperature=0.05)).forces
    assert true == pytest.approx([0.025, -0.025, 0.125, -0.125])
    assert wrong[:2] == pytest.approx([-0.049, 0.049], abs=5e-4)
    cosine = true @ wrong / np.linalg.norm(true) / np.linalg.norm(wrong)
    assert cosine == pytest.approx(0.574, abs=0.004)


def test_sampled_updates_of_two_clusters_have_the_exact_mean():
    for attention, size in ((True, 8), (False, 4), (True, 2)):
        how = How(attention, size, 0.3, 1.0)
        expected_A = clusters.expected_update(how, np.full(4, 0.25))
        for force, value in zip(clusters.forces(how, 3), expected_A, strict=True):
            assert force.agrees(value)


def test_what_is_learned_on_two_clusters_as_recorded():
    assert clusters.learn(How(False, 8, 0.05, 1.0), 0).last.value == pytest.approx(0.997, abs=0.001)
    stuck = clusters.learn(How(True, 16, 0.05, 1.0), 0).last
    assert abs(stuck.value - 0.698) < 3 * np.hypot(stuck.se, 0.004)
    # in groups of 8 a lone member of a cluster is met often enough: the runs get through
    assert clusters.learn(How(True, 8, 0.05, 1.0), 0).last.value > 0.98
    assert clusters.expected_path(How(False, 8, 0.05, 1.0))[-1] > 0.997


# --- the card -------------------------------------------------------------------------------------


def _settings():
    base = KnobsOfAttention()
    for each in fields(KnobsOfAttention):
        knob = knob_of(each)
        for value in knob.options or (knob.low, knob.high):
            yield replace(base, **{each.name: value})


def _is_drawn(knobs):
    worked_out, found = exact(knobs), estimate(knobs, 0)
    for drawing in CARD.drawings:
        for trace in drawing.draw(knobs, worked_out, found, Palette.of("light")).data:
            assert np.isfinite(np.asarray(trace.y, dtype=float)).all(), (drawing.name, knobs)
            assert 0 < len(trace.y) <= 400
    labels = [row.label for row in CARD.rows(knobs, worked_out, found)]
    assert len(set(labels)) == len(labels) == 14
    assert CARD.verdict(knobs, worked_out, found).kind != "fails"


@pytest.mark.parametrize("setting", [(0.9, 16, 0.1, 1), (0.0, 2, 1.0, 4), (1.0, 32, 0.05, 2)])
def test_every_drawing_is_finite(setting):
    _is_drawn(KnobsOfAttention(*setting))


def test_every_drawing_is_finite_at_every_option_of_every_knob():
    for knobs in _settings():
        _is_drawn(knobs)


@pytest.mark.parametrize(
    "wrong", [{"share": 1.2}, {"group_size": 3}, {"temperature": 0.2}, {"min_samples": 0}]
)
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="is not within"):
        KnobsOfAttention(**wrong)


def test_verdict_follows_its_rule():
    knobs = RECORDED
    worked_out, found = exact(knobs), estimate(knobs, 0)

    def kind_with(**changes):
        kinds = {**found.kinds, "prefix": replace(found.kinds["prefix"], **changes)}
        return verdict(knobs, worked_out, replace(found, kinds=kinds))

    said = verdict(knobs, worked_out, found)
    assert said.kind == "holds" and "24.4 %" in said.sentence and "8 groups" in said.sentence
    assert kind_with(ratio=Estimate(1.1, 0.01, 99)).kind == "differs"
    assert kind_with(ratio=Estimate(0.99, 0.01, 99)).kind == "open"
    failed = kind_with(truth=found.kinds["output"].truth)
    assert failed.kind == "fails" and "prefix" in failed.sentence and r"$\chi^2$" in failed.sentence
    none = replace(knobs, share=0.0)
    assert verdict(none, exact(none), estimate(none, 0)).kind == "differs"
    pairs = replace(knobs, group_size=2)
    assert verdict(pairs, exact(pairs), estimate(pairs, 0)).kind == "open"


def test_same_seed_same_numbers_and_another_seed_others():
    pairs = replace(RECORDED, group_size=4, share=0.8)
    first, again, other = (estimate(pairs, seed).kinds["prefix"].ratio for seed in (0, 0, 1))
    assert first == again != other


def test_words_are_there_and_name_real_settings():
    text, translated = words("attention"), words("attention", "pt")
    assert "0.38" in text["Claim"] and "0,38" in translated["Claim"]
    for path in text.knobs:
        section, name = path.split(".")
        field = RunConfig.model_fields[section].annotation.model_fields
        assert name in field
    # the numbers of the claim
    strategy, nothing = KnobsOfAttention(), KnobsOfAttention(share=0.0)
    assert estimate(strategy, 0).kinds["prefix"].ratio.value == pytest.approx(0.38, abs=0.02)
    assert estimate(nothing, 0).kinds["prefix"].ratio.value == pytest.approx(1.2, abs=0.03)
    assert exact(strategy).bias["output"] == pytest.approx(0.57, abs=0.005)
