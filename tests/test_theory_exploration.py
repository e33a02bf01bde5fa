"""What holds a policy open: drift by noise, temperature, frontier, pass@k, the product's loss."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from grpo_core import losses
from grpo_core.advantages import assign
from grpo_core.estimates import pass_at_k
from grpo_core.objective import Objective
from studio.theory import exploration as x
from studio.theory import exploration_laws as laws
from studio.theory import exploration_runs as runs
from studio.theory.cards.exploration import CARD
from studio.theory.difficulty import pmf, weight
from studio.theory.groups import advantages, expected_gradient
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import log_softmax, problem
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

DEFAULT = x.KnobsOfExploration()
UNIFORM_K = np.full(8, 1 / 8)


@pytest.fixture(scope="module")
def found() -> x.Found:
    return x.estimate(DEFAULT, 0)


def entropy(pi):
    return -(pi * np.log(pi)).sum(-1)


# --- noise ----------------------------------------------------------------------------------------


def test_first_drop_in_closed_form():
    for size, recorded in ((2, -0.00341797), (8, -0.00149536), (32, -0.00041389)):
        law = -0.25 * (size - 1) * 7 / (2 * size**2 * 64)
        rule = laws.Rule("mean", size, 1.0)
        assert laws.drift(UNIFORM_K, rule) == pytest.approx(law, rel=1e-12)
        assert law == pytest.approx(recorded, rel=3e-5)


@pytest.mark.parametrize("estimator", ["mean", "loo", "zscore"])
def test_power_is_the_mean_of_squared_advantages(estimator):
    """Over every outcome of six coins, by the product's estimator."""
    flips = [list(map(float, each)) for each in itertools.product((0, 1), repeat=6)]
    squares = np.square(np.array(assign(flips, estimator))).sum(1)
    assert laws.power(estimator, 6) == pytest.approx(squares.mean() / 36, rel=1e-12)


@pytest.mark.parametrize("pi", [(0.5, 0.3, 0.2), (0.96, 0.03, 0.01)])
def test_drift_by_enumeration(pi):
    """Every group of two actions and two coins; the change over eta^2 tends to the law."""
    pi_K, eta = np.array(pi), 1e-3
    total = 0.0
    for actions, coins in itertools.product(
        itertools.product(range(3), repeat=2), itertools.product((0.0, 1.0), repeat=2)
    ):
        A_G = advantages(np.array([coins]), "mean")[0]
        step_K = sum(A * (np.eye(3)[a] - pi_K) for a, A in zip(actions, A_G, strict=True)) / 2
        moved_K = np.exp(log_softmax(np.log(pi_K) + eta * step_K))
        total += pi_K[actions[0]] * pi_K[actions[1]] / 4 * (entropy(moved_K) - entropy(pi_K))
    assert total == pytest.approx(laws.drift(pi_K, laws.Rule("mean", 2, eta)), rel=1e-4)


def test_noise_spreads_a_peaked_policy():
    """Of two actions it does beyond p where (2p - 1) logit p = 1."""
    rule = laws.Rule("mean", 8, 1.0)
    turn = 0.8240
    assert (2 * turn - 1) * np.log(turn / (1 - turn)) == pytest.approx(1, abs=1e-3)
    assert laws.drift(np.array([turn - 0.01, 1.01 - turn]), rule) < 0
    assert laws.drift(np.array([turn + 0.01, 0.99 - turn]), rule) > 0


def test_first_steps_agree_with_the_law(found):
    worked = x.exact(DEFAULT)
    assert found.drop.agrees(worked.drop)
    assert found.peaked_drop.agrees(worked.peaked_drop)
    assert found.peaked_drop.z(0.0) > 3 and found.drop.z(0.0) < -3


def test_recorded_entropy_under_noise(found):
    assert abs(found.noise[-1].z(1.7462)) < 3
    for size, recorded in ((2, 1.6803), (32, 2.0360)):
        after_100 = runs.noise_path(laws.Rule("mean", size, 1.0), 0)[100 // runs.NOISE_EVERY]
        assert abs(after_100.z(recorded)) < 3
    # recorded with the population's deviation: that of the sample is sqrt(8/7) larger
    scored = runs.noise_path(laws.Rule("zscore", 8, (8 / 7) ** 0.5), 0)
    assert abs(scored[-1].z(1.0003)) < 3


# --- temperature ----------------------------------------------------------------------------------


def test_boltzmann_numbers():
    for beta, value, spread in (
        (0.05, 0.99638, 0.0906),
        (0.3, 0.78052, 1.41968),
        (1, 0.49579, 2.01128),
    ):
        policy = laws.boltzmann(beta)
        assert (policy.value, policy.entropy) == pytest.approx((value, spread), abs=1e-5)


def test_no_policy_is_above_the_frontier():
    rng = np.random.default_rng(0)
    for pi_K in rng.dirichlet(np.full(8, 0.5), 300):
        for temperature in (0.1, 0.5, 2.0):
            best = laws.boltzmann(temperature)
            reached = pi_K @ laws.SUCCESS_K + temperature * entropy(np.maximum(pi_K, 1e-300))
            assert reached <= best.value + temperature * best.entropy + 1e-12


@pytest.mark.parametrize(
    ("estimator", "size"), [("mean", 2), ("loo", 3), ("zscore", 2), ("zscore", 3)]
)
def test_the_products_loss_has_no_gradient_where_runs_settle(estimator, size):
    """All groups of (action, right or wrong) by their probability, k2 to the uniform policy."""
    policy = laws.settled(estimator, size, 0.3)
    theta = torch.tensor(laws.SUCCESS_K / policy.temperature, requires_grad=True)
    logp_K = torch.log_softmax(theta, -1)
    pi_K = logp_K.detach().exp().tolist()
    pairs = [(a, r) for a in range(8) for r in (0.0, 1.0)]
    chance = [pi_K[a] * (laws.SUCCESS_K[a] if r else 1 - laws.SUCCESS_K[a]) for a, r in pairs]
    groups = list(itertools.product(range(16), repeat=size))
    A_MG = torch.tensor(assign([[pairs[i][1] for i in group] for group in groups], estimator))
    actions_MG = torch.tensor([[pairs[i][0] for i in group] for group in groups])
    weight_M = torch.tensor([np.prod([chance[i] for i in group]) for group in groups]) / size
    taken = logp_K[actions_MG.flatten()]
    parts = losses.policy_loss(
        Objective(kl_estimator="k2", kl_coefficient=0.3),
        taken,
        taken.detach(),
        A_MG.flatten(),
        weight_M.repeat_interleave(size),
        torch.arange(taken.numel()),
        ref_K=torch.full_like(taken, -np.log(8)),
    )
    (slope_K,) = torch.autograd.grad(parts.loss, theta)
    # the z-score's delta of 1e-4 is not in the law
    assert slope_K.abs().max() < (2e-5 if estimator == "zscore" else 1e-15)


def test_a_kl_in_the_reward_keeps_its_temperature():
    """The mean-centred update then shrinks both: (G-1)/G of the gradient of V - beta KL."""
    model, theta_P, R_N = problem("graded")
    ref_P = np.zeros(model.P)
    taken_N = 0.3 * (model.logp_N(theta_P) - model.logp_N(ref_P))
    found_P = expected_gradient(
        model.p_N(theta_P), R_N - taken_N, model.scores_NP(theta_P), 2, "mean"
    )
    true_P = model.grad_value_P(theta_P, R_N) - 0.3 * model.grad_kl_P(theta_P, ref_P)
    np.testing.assert_allclose(found_P, 0.5 * true_P, atol=1e-15)


def test_temperatures_of_the_three_advantages():
    assert laws.settled("loo", 8, 0.3).temperature == pytest.approx(0.3)
    assert laws.settled("mean", 8, 0.3).temperature == pytest.approx(0.3 * 8 / 7)
    assert laws.settled("mean", 2, 0.3).temperature == pytest.approx(0.6)
    scored = laws.settled("zscore", 8, 0.3)
    assert scored.temperature == pytest.approx(0.3 / weight(8, scored.value, ddof=1), rel=1e-9)
    for size, p, recorded in ((8, 0.02, 0.38862), (4, 0.5, 0.61880), (16, 0.1, 0.35115)):
        assert 1 / weight(size, p) == pytest.approx(recorded, abs=1e-5)


def test_recorded_fixed_point_of_two_answers():
    """logit p = logit p_ref + w_G(p) / beta, with G = 8, beta = 0.5, p_ref = 0.2."""
    low, high = 0.2, 1 - 1e-9
    for _ in range(60):
        p = (low + high) / 2
        off = np.log(0.25) + weight(8, p) / 0.5 - np.log(p / (1 - p))
        low, high = (p, high) if off > 0 else (low, p)
    assert p == pytest.approx(0.97674, abs=1e-5)
    assert 1 / (1 + 4 * np.exp(-2)) == pytest.approx(0.64879, abs=1e-5)


@pytest.mark.parametrize(("estimator", "beta"), [("mean", 0.3), ("loo", 1.0), ("zscore", 1.0)])
def test_expected_path_ends_at_the_law(estimator, beta):
    rule = laws.Rule(estimator, 4, 2.0, beta)
    values_S, entropies_S = laws.expected_path(rule, 1500)
    law = laws.settled(estimator, 4, beta)
    assert values_S[0] == pytest.approx(laws.SUCCESS_K.mean())
    assert entropies_S[0] == pytest.approx(np.log(8))
    assert (values_S[-1], entropies_S[-1]) == pytest.approx((law.value, law.entropy), abs=2e-4)


def test_one_step_of_the_runs_is_that_of_single_completions():
    """Means over many groups, made one completion at a time with the product's advantages."""
    rng, rule = np.random.default_rng(0), laws.Rule("zscore", 4, 0.5, 0.3)
    pi_K = laws.peaked(0.4)
    actions_MG = rng.choice(8, size=(6_000, 4), p=pi_K)
    R_MG = (rng.random(actions_MG.shape) < laws.SUCCESS_K[actions_MG]).astype(float)
    A_MG = np.array(assign(R_MG.tolist(), "zscore"), dtype=float)
    scores_KK = np.eye(8) - pi_K
    by_hand_MK = np.einsum("mg,mgk->mk", A_MG, scores_KK[actions_MG]) / 4
    by_hand_MK -= 0.3 * pi_K * (np.log(pi_K) - pi_K @ np.log(pi_K))
    walked = runs.walk(rule, laws.SUCCESS_K, pi_K, 6_000, 1)
    next(walked)
    moved_MK = next(walked)[1] - np.log(pi_K)
    for k in range(1, 8):
        difference = mean_of(moved_MK[:, k] - moved_MK[:, 0])
        expected = mean_of(0.5 * (by_hand_MK[:, k] - by_hand_MK[:, 0]))
        assert abs(difference.value - expected.value) < 4 * np.hypot(difference.se, expected.se)


def test_recorded_runs_with_a_signal():
    """Recorded with a fixed reward for each way: V .7814, H 1.415 with loo, G = 16, eta = .5."""
    seen = runs.learned(laws.Rule("loo", 16, 0.5, 0.3), 0)
    assert seen.value.value == pytest.approx(0.7814, abs=0.01)
    assert seen.entropy.value == pytest.approx(1.415, abs=0.02)
    assert seen.coldness.value == pytest.approx(1 / 0.3, rel=0.03)


# --- sharpening, capped updates -------------------------------------------------------------------


def test_recorded_sharpening():
    assert [laws.pass_at(1, t) for t in (1.0, 0.2)] == pytest.approx([0.4, 0.44231], abs=1e-5)
    assert [laws.pass_at(16, t) for t in (1.0, 0.2)] == pytest.approx([0.98593, 0.50775], abs=1e-5)
    assert laws.pass_at(1, 0.7) == pytest.approx(0.38108, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_pass_at_k_is_the_mean_of_the_products_estimate(temperature):
    """Over all numbers of right ones among 20 samples of each problem."""
    total = 0.0
    for p in laws.SOLVED:
        chances = pmf(20, laws.sharpened(p, temperature))
        total += sum(chances[c] * pass_at_k(20, c, 4) for c in range(21))
    assert laws.pass_at(4, temperature) == pytest.approx(total / 2, rel=1e-12)


def test_capped_updates_until_a_rare_token_is_even():
    assert np.log(0.5 / 0.001) / np.log([1.2, 1.28]) == pytest.approx([34.086, 25.175], abs=1e-3)


# --- the card -------------------------------------------------------------------------------------


def test_verdict_of_the_default(found):
    worked = x.exact(DEFAULT)
    assert x.verdict(DEFAULT, worked, found).kind == "differs"
    assert found.runs.value.value == pytest.approx(worked.settled.value, abs=0.01)
    assert abs(found.runs.coldness.value / (7 / 8 / 0.3) - 1) < 0.03
    for law, seen in zip(worked.passes, found.passes, strict=True):
        assert all(each.agrees(exact) for exact, each in zip(law, seen, strict=True))


def test_verdict_can_come_out_otherwise(found):
    worked = x.exact(DEFAULT)
    assert x.verdict(DEFAULT, replace(worked, drop=-0.002), found).kind == "fails"
    assert x.verdict(DEFAULT, replace(worked, settled=worked.nominal), found).kind == "fails"
    first = found.noise[0].value
    risen = replace(found, noise=(found.noise[0], Estimate(first + 0.1, 0.01, 200)))
    assert x.verdict(DEFAULT, worked, risen).kind == "holds"
    same = replace(found, noise=(found.noise[0], Estimate(first - 0.01, 0.01, 200)))
    said = x.verdict(DEFAULT, worked, same)
    assert said.kind == "open" and "No verdict" in said.sentence


def test_noise_beyond_the_law_gives_no_verdict(found):
    """By the knobs alone: whatever came out, a law of small steps is not held against it."""
    noisy = replace(DEFAULT, advantage="loo", group_size=4, beta=0.2, eta=2.0)
    assert laws.restlessness(noisy.rule) == pytest.approx(2 * (0.25 / 3) / 0.2, rel=1e-12)
    worked = x.exact(noisy)
    for each in (worked, replace(worked, drop=-0.1), replace(worked, settled=worked.nominal)):
        assert x.verdict(noisy, each, found).kind == "open"
    assert laws.restlessness(replace(noisy, beta=0.0).rule) == 0


def test_restlessness_is_twice_the_variance_of_a_logit():
    """At a small step of mean-centred updates to equal rewards, where the policy stays uniform."""
    rule = laws.Rule("mean", 8, 0.5, 1.0)
    walked = runs.walk(rule, runs.COINS_K, UNIFORM_K, 400, 0)
    logp_MK = [logp for _, (_, logp) in zip(range(600), walked, strict=False)][-1]
    centred_MK = logp_MK - logp_MK.mean(1, keepdims=True)
    # the mean over eight logits takes one of eight directions away
    seen = (centred_MK**2).sum(1).mean() / 7
    assert seen == pytest.approx(laws.restlessness(rule) / 2, rel=0.1)


def test_the_margin_of_the_law_grows_with_the_noise(found):
    worked, rule = x.exact(DEFAULT), DEFAULT.rule
    margin = 0.01 + 0.1 * laws.restlessness(rule)
    assert margin == pytest.approx(0.01 + 0.1 * 7 / 64 / 4 / 0.3)
    for off, kind in ((0.9 * margin, "differs"), (1.2 * margin, "fails")):
        moved = Estimate(worked.settled.value + off, 1e-4, 48)
        seen = replace(found, runs=replace(found.runs, value=moved))
        assert x.verdict(DEFAULT, worked, seen).kind == kind


def settings():
    """Every word of a choice and both ends of its numbers, one at a time."""
    for name, each in x.KnobsOfExploration.__dataclass_fields__.items():
        options = knob_of(each).options
        for value in options if isinstance(options[0], str) else (options[0], options[-1]):
            yield replace(DEFAULT, **{"eta": 2.0, name: value})


@pytest.mark.parametrize("knobs", sorted({*settings()}, key=repr), ids=repr)
def test_drawings_and_rows_are_finite(knobs):
    worked, seen = CARD.exact(knobs), CARD.estimate(knobs, 0)
    for row in CARD.rows(knobs, worked, seen):
        value = row.found.value if isinstance(row.found, Estimate) else row.found or 0.0
        assert np.isfinite([row.exact or 0.0, value]).all(), row.label
    for drawing in CARD.drawings:
        for trace in drawing.draw(knobs, worked, seen, Palette.of("dark")).data:
            assert 0 < len(trace.x) == len(trace.y) <= 400
            assert np.isfinite([*trace.x, *trace.y]).all()
    assert CARD.verdict(knobs, worked, seen).sentence


def test_knobs_out_of_bounds():
    for wrong in ({"advantage": "gae"}, {"group_size": 1}, {"beta": 2.0}, {"eta": 0.0}):
        with pytest.raises(ValueError, match="is not within"):
            x.KnobsOfExploration(**wrong)


def test_same_seed_same_numbers():
    rule = laws.Rule("mean", 8, 2.0, 0.3)
    once, other = runs.learned(rule, 0), runs.learned(rule, 3)
    runs.learned.cache_clear()
    assert runs.learned(rule, 0) == once != other


def test_words_and_their_knobs():
    from grpo_core.config import RunConfig

    told = words("exploration")
    assert told.knobs
    for path in told.knobs:
        section, _, name = path.partition(".")
        assert name in type(getattr(RunConfig(), section)).model_fields
    assert words("exploration", "pt").title != told.title
