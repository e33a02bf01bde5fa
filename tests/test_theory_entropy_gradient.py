"""The gradient of the entropy: identities to rounding, recorded numbers, the product's bonus."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from grpo_core import losses
from grpo_core.objective import Objective
from studio.theory import entropy_gradient as e
from studio.theory import entropy_steps as steps
from studio.theory.cards.entropy_gradient import CARD
from studio.theory.groups import advantages
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import log_softmax, problem
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

DEFAULT = e.KnobsOfEntropyGradient()


@pytest.fixture(scope="module")
def found() -> e.Found:
    return e.estimate(DEFAULT, 0)


def whole_entropy(model, theta):
    """-sum p log p over all completions, by torch."""
    logp_CV = torch.log_softmax(theta.view(model.C, model.V), -1)
    each = logp_CV[torch.tensor(model.prefix_NT), torch.tensor(model.token_NT)]
    logp_N = (each * torch.tensor(model.mask_NT)).sum(1)
    return -(logp_N.exp() * logp_N).sum()


@pytest.mark.parametrize("eos", [None, 0])
def test_gradient_and_its_parts(eos):
    model, theta_P, _ = problem("graded", eos=eos)
    theta = torch.tensor(theta_P, requires_grad=True)
    (true_P,) = torch.autograd.grad(whole_entropy(model, theta), theta)
    parts = e.parts(model, theta_P)
    np.testing.assert_allclose(parts.gradient_P, true_P.numpy(), atol=1e-15)
    np.testing.assert_allclose(parts.token_P + parts.future_P, parts.gradient_P, atol=1e-15)
    shares = parts.token_shares_T + parts.future_shares_T
    assert shares.sum() == pytest.approx(1, abs=1e-14)
    assert parts.future_shares_T[-1] == 0


def test_gradient_is_minus_the_covariance_of_log_pi_and_score():
    model, theta_P, _ = problem("graded")
    p_N, logp_N, s_NP = model.p_N(theta_P), model.logp_N(theta_P), model.scores_NP(theta_P)
    covariance_P = (p_N * (logp_N - p_N @ logp_N)) @ (s_NP - p_N @ s_NP)
    np.testing.assert_allclose(model.grad_entropy_P(theta_P), -covariance_P, atol=1e-15)


def test_recorded_parts():
    parts = e.exact(DEFAULT).parts
    assert parts.token_error == pytest.approx(0.22471, abs=1e-5)
    assert parts.token_cosine == pytest.approx(0.97503, abs=1e-5)
    assert np.linalg.norm(parts.gradient_P) == pytest.approx(0.24093, abs=1e-5)


def test_means_of_the_three_estimators():
    model, theta_P, _ = problem("graded")
    p_N, parts = model.p_N(theta_P), e.parts(model, theta_P)
    expected = {"whole": parts.gradient_P, "per token": parts.token_P, "sampled surprise": 0}
    for estimator, mean_P in expected.items():
        found_P = p_N @ e.contributions_NP(model, theta_P, estimator)
        np.testing.assert_allclose(found_P, mean_P, atol=1e-15)


def test_the_products_bonus_is_the_token_part_with_a_plus():
    """All completions weighted by their probability, advantages 0: what is left is the bonus."""
    model, theta_P, _ = problem("graded")
    theta = torch.tensor(theta_P, requires_grad=True)
    logp_CV = torch.log_softmax(theta.view(model.C, model.V), -1)
    prefix_K, token_K = torch.tensor(model.prefix_NT.ravel()), torch.tensor(model.token_NT.ravel())
    logp_K = logp_CV[prefix_K, token_K]
    loss = losses.policy_loss(
        Objective(entropy_coefficient=0.3),
        logp_K,
        logp_K.detach(),
        torch.zeros_like(logp_K),
        torch.tensor(model.p_N(theta_P)).repeat_interleave(model.T),
        torch.arange(model.N).repeat_interleave(model.T),
        entropy_K=losses.entropy(theta.view(model.C, model.V))[prefix_K],
    ).loss
    (slope_P,) = torch.autograd.grad(loss, theta)
    np.testing.assert_allclose(-slope_P.numpy(), 0.3 * e.parts(model, theta_P).token_P, atol=1e-15)


def test_group_gradient_is_that_of_loo_advantages():
    rng, (logits_K, rewards_K) = np.random.default_rng(0), steps.bandit()
    pi_K = np.exp(log_softmax(logits_K))
    actions_MG = rng.choice(steps.NUM_ACTIONS, size=(50, 8), p=pi_K)
    A_MG = advantages(rewards_K[actions_MG], "loo")
    scores_KK = np.eye(steps.NUM_ACTIONS) - pi_K
    expected = np.einsum("mg,mgk->mk", A_MG, scores_KK[actions_MG]) / 8
    counts_MK = np.stack([np.bincount(a, minlength=steps.NUM_ACTIONS) for a in actions_MG])
    np.testing.assert_allclose(steps.group_gradient(counts_MK, rewards_K), expected, atol=1e-15)


def test_covariance_law_against_small_steps():
    logits_K, rewards_K = steps.bandit()
    logp_K = log_softmax(logits_K)
    pi_K = np.exp(logp_K)
    advantage_K = rewards_K - pi_K @ rewards_K
    for step_K, recorded in ((pi_K * advantage_K, 5.5571e-7), (advantage_K, -1.6293e-6)):
        step_K = 1e-4 * step_K
        law = -(pi_K * (logp_K - pi_K @ logp_K) * (step_K - pi_K @ step_K)).sum()
        change = steps.entropy(logits_K + step_K) - steps.entropy(logits_K)
        assert law == pytest.approx(recorded, rel=1e-4)
        assert change == pytest.approx(law, rel=5e-5)


@pytest.mark.parametrize("p", [0.02, 1 / 6, 0.3, 0.9])
def test_closed_form_of_the_law(p):
    logits_K, rewards_K = steps.one_good_action(p)
    pi_K = np.exp(logits_K)
    step_K = 1e-5 * pi_K * (rewards_K - p)
    law = -(pi_K * (logits_K - pi_K @ logits_K) * (step_K - pi_K @ step_K)).sum()
    assert steps.law(p, 1e-5) == pytest.approx(law, rel=1e-10, abs=1e-20)
    assert steps.after_step(p, 1e-5) == pytest.approx(law, rel=1e-3, abs=2e-11)
    assert np.sign(round(steps.law(p, 1.0), 12)) == np.sign(round(1 / 6 - p, 12))


def test_recorded_examples_of_both_signs():
    pi_K = np.array([0.9, 0.05, 0.03, 0.02])
    for good, recorded in ((0, -0.0035556), (3, 0.0006414)):
        step_K = 0.1 * pi_K * (np.eye(4)[good] - pi_K[good])
        change = steps.entropy(np.log(pi_K) + step_K) - steps.entropy(np.log(pi_K))
        assert change == pytest.approx(recorded, abs=1e-7)


def test_recorded_paths():
    plus, none, minus = e.exact(DEFAULT).paths
    assert plus[[0, 50, 399]] == pytest.approx([np.log(6), 1.03092, 0.70394], abs=1e-5)
    assert none[[50, 399]] == pytest.approx([0.49382, 0.05148], abs=1e-5)
    assert minus[[50, 399]] == pytest.approx([0.24025, 0.01913], abs=1e-5)


def test_plus_ends_at_the_softmax_of_rewards_over_alpha():
    rewards_K = steps.bandit()[1]
    logp_K = log_softmax(rewards_K / 0.1)
    pi_K = np.exp(logp_K)
    force_K = rewards_K - pi_K @ rewards_K - 0.1 * (logp_K - pi_K @ logp_K)
    assert np.abs(force_K).max() < 1e-14
    limit = e.exact(DEFAULT).limit
    assert steps.expected_path(0.1, 4.0, 4000)[-1] == pytest.approx(limit, abs=2e-4)


def test_verdict_of_the_default(found):
    verdict = e.verdict(DEFAULT, e.exact(DEFAULT), found)
    assert found.agreement.holds
    assert verdict.kind == "holds", verdict.sentence
    for path, end in zip(e.exact(DEFAULT).paths, found.ends, strict=True):
        assert end.value == pytest.approx(path[-1], rel=0.1)


def test_each_estimator_has_its_own_verdict():
    per_token = replace(DEFAULT, estimator="per token")
    seen = e.estimate(per_token, 0)
    assert seen.agreement.ratio.agrees(float(e.exact(per_token).parts.token_shares_T.sum()))
    assert e.verdict(per_token, e.exact(per_token), seen).kind == "differs"
    surprise = replace(DEFAULT, estimator="sampled surprise")
    seen = e.estimate(surprise, 0)
    assert seen.agreement.ratio.agrees(0.0)
    assert e.verdict(surprise, e.exact(surprise), seen).kind == "differs"
    hard = replace(per_token, spread=0.25, samples=5_000)
    kinds = {e.verdict(hard, e.exact(hard), e.estimate(hard, seed)).kind for seed in range(4)}
    assert "open" in kinds <= {"open", "differs"}


def test_verdict_can_come_out_otherwise(found):
    worked = e.exact(DEFAULT)
    turned = replace(found, paths=found.paths[::-1])
    assert e.verdict(DEFAULT, worked, turned).kind == "fails"
    same = replace(found, paths=(found.paths[0],) * 3)
    assert e.verdict(DEFAULT, worked, same).kind == "open"
    off = replace(found.agreement, ratio=Estimate(1.2, 0.01, 100))
    assert e.verdict(DEFAULT, worked, replace(found, agreement=off)).kind == "fails"


def settings():
    """Every option of a choice, both ends of a slider, one at a time."""
    for name, each in e.KnobsOfEntropyGradient.__dataclass_fields__.items():
        knob = knob_of(each)
        for value in knob.options or (knob.low, knob.high):
            yield replace(DEFAULT, **{name: value})


@pytest.mark.parametrize("knobs", settings(), ids=repr)
def test_drawings_and_rows_are_finite(knobs):
    worked, seen = CARD.exact(knobs), CARD.estimate(knobs, 1)
    for row in CARD.rows(knobs, worked, seen):
        value = row.found.value if isinstance(row.found, Estimate) else row.found or 0.0
        assert np.isfinite([row.exact, value]).all(), row.label
    for drawing in CARD.drawings:
        for trace in drawing.draw(knobs, worked, seen, Palette.of("light")).data:
            assert 0 < len(trace.x) == len(trace.y) <= 400
            assert np.isfinite([*trace.x, *trace.y]).all()
    assert CARD.verdict(knobs, worked, seen).sentence


def test_knobs_out_of_bounds():
    for wrong in ({"alpha": 0.6}, {"estimator": "none"}, {"samples": 100}, {"spread": 0.0}):
        with pytest.raises(ValueError, match="is not within"):
            e.KnobsOfEntropyGradient(**wrong)


def test_same_seed_same_numbers():
    once, again = e.estimate(DEFAULT, 7), e.estimate(DEFAULT, 7)
    assert once.ends == again.ends
    assert e.estimate(DEFAULT, 8).ends != once.ends


def test_words_and_their_knobs():
    from grpo_core.config import RunConfig

    told = words("entropy_gradient")
    assert told.knobs
    for path in told.knobs:
        section, _, name = path.partition(".")
        assert name in type(getattr(RunConfig(), section)).model_fields
    assert words("entropy_gradient", "pt").title != told.title
