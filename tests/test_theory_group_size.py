"""The size of a group: laws against enumeration, recorded numbers and samples."""

import dataclasses
import math

import numpy as np
import pytest

from grpo_core.config import RunConfig
from studio.theory import difficulty
from studio.theory.cards.group_size import CARD
from studio.theory.group_size import (
    SIZES,
    KnobsOfGroupSize,
    Noise,
    estimate,
    exact,
    noise,
    prompts,
    verdict,
    weight,
)
from studio.theory.groups import advantages, all_groups, gradients
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.toy import problem, with_success
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

DEFAULT = KnobsOfGroupSize()


@pytest.fixture(scope="module")
def default():
    return exact(DEFAULT), estimate(DEFAULT, 0)


def trace_of_all_groups(model, theta, R, size, estimator="loo"):
    """Variance of the gradient over every group that there is, and its mean."""
    p, scores = model.p_N(theta), model.scores_NP(theta)
    index = all_groups(model.N, size)
    chance = p[index].prod(1)
    found = gradients(advantages(R[index], estimator), scores, index)
    mean = chance @ found
    return float(chance @ np.square(found - mean).sum(1)), mean


def test_the_variance_law_holds_over_all_pairs_and_triples():
    model, theta, R = problem()
    law = noise(model, theta, R[None])
    at_2, mean = trace_of_all_groups(model, theta, R, 2)
    assert at_2 == pytest.approx(0.201494036, abs=1e-9)
    assert law.at(2, 2) == pytest.approx(at_2, rel=1e-12)
    np.testing.assert_allclose(mean, model.grad_value_P(theta, R), atol=1e-15)
    centred, _ = trace_of_all_groups(model, theta, R, 2, "mean")
    assert centred == pytest.approx(at_2 / 4, rel=1e-12)
    small, theta_small, R_small = problem(seed=3, eos=0)  # 40 completions of unequal length
    at_3, _ = trace_of_all_groups(small, theta_small, R_small, 3)
    assert noise(small, theta_small, R_small[None]).at(3, 3) == pytest.approx(at_3, rel=1e-12)


def test_the_gradient_is_that_with_the_exact_baseline_minus_pairs():
    # the identity that the derivation rests on, on one random group
    model, theta, R = problem(seed=1)
    index = model.sample(theta, (1, 6), np.random.default_rng(0))
    s, a, size = model.scores_NP(theta)[index[0]], R[index[0]] - model.value(theta, R), 6
    pairs = sum(a[i] * s[j] + a[j] * s[i] for i in range(size) for j in range(i + 1, size))
    expected = (a[:, None] * s).mean(0) - pairs / (size * (size - 1))
    found = gradients(advantages(R[index], "loo"), model.scores_NP(theta), index)[0]
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_the_recorded_numbers_of_the_budget_come_out(default):
    many = default[0].many
    assert many.best == pytest.approx(6.80, abs=0.005)
    laws = [10.83, 7.58, 7.19, 8.06, 10.43]
    assert [1e4 * many.at(G, 64) for G in SIZES] == pytest.approx(laws, abs=0.006)
    sampled = [10.78, 7.54, 7.23, 7.98, 10.49]  # by another program, 6000 batches for our 1500
    for ours, theirs in zip(default[1].step_S, sampled, strict=True):
        assert abs(ours.value - theirs * 1e-4) < 3 * ours.se * math.sqrt(1 + 1500 / 6000)


def test_the_noise_of_many_prompts_is_that_of_each_and_between_them():
    model, theta, R_QN = prompts(1.0)
    each = [noise(model, theta, R[None]) for R in R_QN]
    gradients_QP = np.stack([model.grad_value_P(theta, R) for R in R_QN])
    found = noise(model, theta, R_QN)
    assert found.within == pytest.approx(np.mean([one.within for one in each]), rel=1e-12)
    assert found.price == pytest.approx(np.mean([one.price for one in each]), rel=1e-12)
    assert found.between == pytest.approx(gradients_QP.var(axis=0).sum(), rel=1e-12)
    assert each[0].between == 0
    half = noise(*prompts(0.5))
    assert half.between == pytest.approx(found.between / 4, rel=1e-12)


def test_samples_agree_with_every_law(default):
    laws, found = default
    for at, G in enumerate(SIZES):
        assert found.gradient_S[at].agrees(laws.one.at(G, G))
        assert found.step_S[at].agrees(laws.many.at(G, DEFAULT.budget))
        assert found.advantage_S[at].agrees(laws.sigma2 * (1 - 1 / G))
        assert found.baseline_S[at].agrees(laws.sigma2 / G)
    assert found.weight.agrees(laws.weight)
    assert found.flat.agrees(laws.flat)
    # and would not with others: the price left out, the bias of n in place of n - 1
    assert not found.gradient_S[0].agrees(laws.one.within / 2)
    assert not found.advantage_S[0].agrees(laws.sigma2)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("size", SIZES[:4])
def test_the_recorded_weights_come_out(size, filtered):
    model, theta, R = problem("binary")
    p = model.value(theta, R)
    assert p == pytest.approx(0.252, abs=0.0005)
    plain = {2: 1.0, 4: 1.645, 8: 2.023, 16: 2.193}
    dropped = {2: 2.653, 4: 2.408, 8: 2.243, 16: 2.214}
    expected = (dropped if filtered else plain)[size]
    assert weight(size, p, filtered) == pytest.approx(expected, abs=0.0011)


@pytest.mark.parametrize("p", [0.02, 0.5])
@pytest.mark.parametrize("filtered", [False, True])
def test_the_sampled_weight_agrees_at_the_ends(p, filtered):
    for size in (2, 32):
        knobs = KnobsOfGroupSize(group_size=size, p=p, filtered=filtered)
        found = estimate(knobs, 1)
        assert found.weight.agrees(exact(knobs).weight)
        assert found.flat.agrees(difficulty.flat(size, p)) or found.flat.value == 0


def test_replacing_flat_groups_by_other_prompts_keeps_the_relative_weights():
    # two coins of unequal difficulty, drawn alike often; groups without signal are thrown away
    rng, size, p_Q = np.random.default_rng(0), 8, np.array([0.05, 0.5])
    prompt = rng.integers(2, size=400_000)
    right = rng.binomial(size, p_Q[prompt])
    kept = (right > 0) & (right < size)
    factor = np.sqrt(right * (size - right)) / (size * p_Q[prompt] * (1 - p_Q[prompt]))
    hard, middle = ((factor * (prompt == q))[kept].mean() for q in (0, 1))
    expected = difficulty.weight(size, 0.05) / difficulty.weight(size, 0.5)
    assert hard / middle == pytest.approx(expected, rel=0.02)
    same_prompt_again = weight(size, 0.05, True) / weight(size, 0.5, True)
    assert same_prompt_again > 2 * expected


def test_the_best_size_is_the_least_of_the_law():
    law = Noise(between=0.3, within=2.0, price=5.0)
    sizes = np.linspace(1.5, 30, 200_001)
    at = sizes[np.argmin([law.at(G, 10) for G in sizes])]
    assert law.best == pytest.approx(at, abs=2e-4)
    assert law.at(law.best, 10) == pytest.approx((0.3 + 2 + 2 * math.sqrt(1.5)) / 10, rel=1e-12)
    assert exact(KnobsOfGroupSize(diversity=0.0)).many.best == math.inf


def test_a_prompt_that_costs_something_itself_asks_for_larger_groups():
    between, within, price, cost = 0.003, 2.0, 5.0, 4.0
    sizes = np.linspace(1.5, 200, 400_001)
    spread = between + within / sizes + price / (sizes * (sizes - 1))
    best = sizes[np.argmin((cost + sizes) * spread)]
    slope = cost * (within - price) / best**2 + price * (1 + cost) / (best - 1) ** 2
    assert slope == pytest.approx(between, rel=1e-3)
    assert best > Noise(between, within, price).best
    assert best == pytest.approx(math.sqrt((price + cost * within) / between), rel=0.05)


def test_pairs_never_have_less_variance_than_triples_at_equal_cost():
    for seed in range(30):
        model, theta, _ = problem(seed=seed, scale=2.0)
        R_QN = np.random.default_rng(seed).normal(size=(4, model.N)) ** 3
        law = noise(model, theta, R_QN)
        assert law.price >= 2 * law.between
        assert law.best >= 1 + math.sqrt(2)
        assert law.at(3, 12) <= law.at(2, 12)


@pytest.mark.parametrize("p", [0.02, 0.252, 0.98])
@pytest.mark.parametrize("eos", [None, 0])
def test_a_tilted_policy_has_the_success_probability_asked_for(p, eos):
    model, theta, R = problem("binary", eos=eos)
    tilted = with_success(model, theta, R, p)
    assert model.value(tilted, R) == pytest.approx(p, abs=1e-12)
    ratio = model.p_N(tilted) / model.p_N(theta)  # the same for all right ones, and all wrong ones
    assert np.ptp(ratio[R == 1]) < 1e-12 and np.ptp(ratio[R == 0]) < 1e-12
    assert ratio.max() > 1 > ratio.min() or p == pytest.approx(model.value(theta, R), abs=1e-3)


def test_the_verdict_fails_where_samples_and_law_differ(default):
    laws, found = default
    assert verdict(DEFAULT, laws, found).kind == "holds"
    said = verdict(DEFAULT, laws, found)
    assert "6.8" in said.sentence and "$G=8$" in said.claim
    wrong = dataclasses.replace(laws, one=dataclasses.replace(laws.one, price=0.0))
    assert verdict(DEFAULT, wrong, found).kind == "fails"
    assert "one group's gradient" in verdict(DEFAULT, wrong, found).sentence
    wrong = dataclasses.replace(laws, weight=1.0)
    assert "z-score's weight" in verdict(DEFAULT, wrong, found).sentence
    wrong = dataclasses.replace(laws, many=Noise(0.0, 0.0, laws.many.price))
    assert "a step's gradient" in verdict(DEFAULT, wrong, found).sentence


def test_equal_prompts_have_no_best_size():
    knobs = KnobsOfGroupSize(diversity=0.0)
    said = verdict(knobs, exact(knobs), estimate(knobs, 0))
    assert said.kind == "holds" and "ever larger groups" in said.sentence


@pytest.mark.parametrize(
    "wrong", [{"group_size": 3}, {"budget": 16}, {"p": 0.0}, {"diversity": 1.5}, {"filtered": 1.0}]
)
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnobsOfGroupSize(**wrong)


def settings():
    for each in dataclasses.fields(KnobsOfGroupSize):
        knob = knob_of(each)
        for value in knob.options or (knob.low, knob.high):
            yield dataclasses.replace(DEFAULT, **{each.name: value})


@pytest.mark.parametrize("knobs", settings(), ids=str)
def test_every_drawing_is_finite_at_every_setting(knobs):
    laws, found = exact(knobs), estimate(knobs, 0)
    for drawing in CARD.drawings:
        traces = drawing.draw(knobs, laws, found, Palette.of("dark")).data
        assert len(traces) >= 4
        for trace in traces:
            assert 0 < len(trace.x) == len(trace.y) <= 400
            assert np.isfinite(np.array([*trace.x, *trace.y], float)).all()
    assert len(CARD.rows(knobs, laws, found)) == 8


def test_small_variances_are_written_out():
    knobs = KnobsOfGroupSize(budget=256, diversity=0.0, group_size=32)
    law = exact(knobs).many.at(32, 256)
    said = verdict(knobs, exact(knobs), estimate(knobs, 0)).sentence
    assert "e-" not in said and f"variance {law:.6f}" in said


def test_the_right_axis_is_of_probabilities(default):
    axis = CARD.drawings[2].draw(DEFAULT, *default, Palette.of("light")).layout.yaxis2
    assert axis.range == (0, 1) and axis.tickvals == (0, 0.25, 0.5, 0.75, 1)


def test_the_samples_are_the_same_for_the_same_seed_alone():
    assert estimate(DEFAULT, 3) == estimate(DEFAULT, 3)
    assert estimate(DEFAULT, 3) != estimate(DEFAULT, 4)


def test_the_words_name_settings_that_exist():
    config = RunConfig().model_dump()
    text = words("group_size")
    assert text.knobs
    for path in text.knobs:
        section, name = path.split(".")
        assert name in config[section]
    assert words("group_size", "pt")["Derivation"]
