"""The gradient of a group and that of PPO: against all groups there are, and against the product's
own formulas in torch."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from grpo_core import critic
from grpo_core.advantages import assign
from grpo_core.losses import policy_loss
from grpo_core.objective import Objective
from grpo_core.terms import Numbers, terms_of
from studio.theory import difficulty, gradient, gradient_laws, gradient_ppo, groups
from studio.theory.cards.gradient import CARD
from studio.theory.gradient import KnobsOfGradient, Law, estimate, exact, verdict
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import problem, toy
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

SOME = KnobsOfGradient(num_groups=1000)


# --- the law of the group -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kind"), [(2, "graded"), (2, "binary"), (2, "strategy"), (3, "graded")]
)
def test_the_mean_over_all_groups_is_the_law(size, kind):
    model, theta, R = problem(kind)
    p, scores, grad = model.p_N(theta), model.scores_NP(theta), model.grad_value_P(theta, R)
    every = {e: groups.expected_gradient(p, R, scores, size, e) for e in ("mean", "loo", "none")}
    assert np.abs(every["mean"] - (size - 1) / size * grad).max() < 1e-15
    assert np.abs(every["loo"] - grad).max() < 1e-15
    assert np.abs(every["none"] - grad).max() < 1e-15
    for estimator, update in every.items():
        law = exact(replace(SOME, estimator=estimator, size=size, rewards=kind))
        assert law.update_P == pytest.approx(update, abs=1e-15)
        assert law.ratio(size) == pytest.approx((size - 1) / size if estimator == "mean" else 1)


@pytest.mark.parametrize("size", [2, 3])
def test_zscores_of_binary_rewards_weigh_with_the_difficulty(size):
    model, theta, R = problem("binary")
    p, scores, grad = model.p_N(theta), model.scores_NP(theta), model.grad_value_P(theta, R)
    every = groups.expected_gradient(p, R, scores, size, "zscore")
    right = float(p @ R)
    assert every == pytest.approx(gradient_laws.zscore_weight(size, right) * grad, abs=1e-14)
    plain = difficulty.weight(size, right, ddof=1)
    assert gradient_laws.zscore_weight(size, right, delta=0.0) == pytest.approx(plain, rel=1e-12)


def test_zscores_of_graded_rewards_turn_the_gradient():
    law = exact(replace(SOME, estimator="zscore", size=2))
    assert law.cosine == pytest.approx(0.975, abs=0.001)
    assert exact(replace(SOME, estimator="zscore", size=4)).update_P is None


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("estimator", ["mean", "loo", "none"])
def test_noise_of_a_group_is_that_over_all_groups(size, estimator):
    model, theta, R = problem("graded")
    model = toy(3, 2)
    theta, R = theta[: model.P], R[: model.N]
    index = groups.all_groups(model.N, size)
    chance = model.p_N(theta)[index].prod(1)
    A = groups.advantages(R[index], estimator)
    update = groups.gradients(A, model.scores_NP(theta), index)
    variance = chance @ np.square(update).sum(1) - np.square(chance @ update).sum()
    found = gradient_laws.group_noise(model, theta, R, size, estimator)
    assert found == pytest.approx(size * variance, rel=1e-12)


def test_samples_have_the_ratios_recorded_before():
    found = estimate(KnobsOfGradient(num_groups=20000), 1)
    expected = {2: 0.5, 4: 0.75, 8: 0.875, 16: 0.9375}
    errors = {2: 0.0062, 4: 0.0051, 8: 0.0039, 16: 0.0028}
    for size, ratio in expected.items():
        at = found.ratio(size)
        assert abs(at.value - ratio) < 3 * errors[size]
        assert at.se == pytest.approx(errors[size], rel=0.1)
        assert at.agrees(ratio)
    assert found.to_law is not None and found.to_law.holds
    assert found.to_law.num_directions == 49  # of 63; the others vary less than a hundredth
    assert found.noise.agrees(exact(KnobsOfGradient()).noise)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    first = estimate(SOME, 3)
    gradient._sampled_ratios.cache_clear()
    assert estimate(SOME, 3).ratio_S == first.ratio_S
    assert estimate(SOME, 4).ratio_S != first.ratio_S


# --- PPO ------------------------------------------------------------------------------------------


def test_bias_of_ppo_is_the_formula_and_has_the_recorded_size():
    model, theta, R = problem("graded")
    error, lambdas = gradient_ppo.critic_error(model, 0.3), np.array([0, 0.5, 0.9, 0.95, 1])
    grad = model.grad_value_P(theta, R)
    A = gradient_ppo.gae(model, R, model.prefix_value_C(theta, R) + error, lambdas)
    mean = np.einsum("n,lnt,ntp->lp", model.p_N(theta), A, model.scores_NTP(theta))
    formula = (1 - lambdas)[:, None] * gradient_ppo.gae_drift(model, theta, error, lambdas)
    assert np.abs(mean - grad - formula).max() < 2e-16
    share = np.linalg.norm(mean - grad, axis=1) / np.linalg.norm(grad)
    assert share == pytest.approx([2.08, 1.19, 0.26, 0.13, 0], abs=0.005)
    assert share[-1] < 1e-15
    at = {0: 0, 0.5: 20, 0.9: 36, 0.95: 38, 1: 40}
    assert exact(SOME).bias_L[list(at.values())] == pytest.approx(share, abs=1e-12)


def test_bias_also_holds_where_completions_end_early():
    model = toy(3, 3, eos=0)
    rng = np.random.default_rng(5)
    theta, R, error = rng.normal(size=model.P), rng.random(model.N), rng.normal(size=model.C)
    lambdas = np.array([0.0, 0.7, 1.0])
    A = gradient_ppo.gae(model, R, model.prefix_value_C(theta, R) + error, lambdas)
    mean = np.einsum("n,lnt,ntp->lp", model.p_N(theta), A, model.scores_NTP(theta))
    bias = mean - model.grad_value_P(theta, R)
    drift = gradient_ppo.gae_drift(model, theta, error, lambdas)
    assert bias == pytest.approx((1 - lambdas)[:, None] * drift, abs=1e-14)
    bound = gradient_ppo.bias_bound(model, theta, error, lambdas)
    assert (np.linalg.norm(bias, axis=1) <= bound + 1e-14).all()


def test_a_perfect_critic_is_unbiased_for_every_lambda():
    law = exact(replace(SOME, critic_error=0.0))
    assert law.bias_L.max() < 1e-15
    assert all(each.agrees(0.0) for each in estimate(replace(SOME, critic_error=0.0), 0).bias_K)


def test_sampled_bias_and_noise_of_ppo_agree_with_the_exact_ones():
    law, found = exact(SOME), estimate(replace(SOME, num_groups=20000), 2)
    for at, each in zip(gradient.MARKED, found.bias_K, strict=True):
        assert each.agrees(law.bias_L[at])
    assert (law.bias_L <= law.bound_L).all() and law.bound_L[-1] == 0
    model, theta, R = problem("graded")
    A = gradient_ppo.gae(
        model,
        R,
        model.prefix_value_C(theta, R) + gradient_ppo.critic_error(model, 0.3),
        gradient.LAMBDAS[[38]],
    )[0]
    update = np.einsum("nt,ntp->np", A, model.scores_NTP(theta))
    p = model.p_N(theta)
    variance = p @ np.square(update).sum(1) - np.square(p @ update).sum()
    assert law.ppo_noise_L[38] == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("kind", ["graded", "binary", "strategy"])
def test_a_good_critic_is_quieter_than_a_group_and_a_bad_one_louder(kind):
    group, largest = (
        exact(replace(SOME, rewards=kind, estimator="loo", size=size)).noise for size in (8, 32)
    )
    perfect = exact(replace(SOME, rewards=kind, critic_error=0.0)).ppo_noise_L
    assert perfect.max() < largest and perfect[0] == perfect.min()
    assert exact(replace(SOME, rewards=kind, critic_error=0.25)).ppo_noise_L.min() > group


# --- the product's formulas -----------------------------------------------------------------------


def test_advantages_are_those_of_the_product():
    R = np.random.default_rng(0).normal(size=(50, 5))
    R[0] = 1.0
    for estimator in groups.ADVANTAGES:
        assert groups.advantages(R, estimator) == pytest.approx(
            np.array(assign(R.tolist(), estimator), dtype=float), abs=1e-12
        )


def test_gae_is_that_of_the_product():
    model = toy(4, 3, eos=0)
    rng = np.random.default_rng(1)
    R, value = rng.normal(size=model.N), rng.normal(size=model.C)
    for lam in (0.0, 0.6, 1.0):
        ours = gradient_ppo.gae(model, R, value, np.array([lam]))[0]
        live = model.mask_NT > 0
        reward = np.zeros((model.N, model.T))
        reward[np.arange(model.N), model.lengths_N - 1] = R
        theirs, _ = critic.gae(
            torch.tensor(reward[live]),
            torch.tensor(value[model.prefix_NT][live]),
            model.lengths_N.tolist(),
            1.0,
            lam,
        )
        assert ours[live] == pytest.approx(theirs.numpy(), abs=1e-12)
        assert (ours[~live] == 0).all()


def test_masked_gradient_is_that_of_the_loss_of_the_product():
    """Eight completions, a policy that has moved, 6 of 24 tokens clipped."""
    model, old, R = problem("graded")
    rng = np.random.default_rng(2)
    index = model.sample(old, (8,), rng)
    theta = old + rng.normal(0, 0.4, model.P)
    A = groups.advantages(R[index][None], "mean")[0]
    old_GT, logp_GT = model.token_logp_NT(old)[index], model.token_logp_NT(theta)[index]
    ratio = np.exp(logp_GT - old_GT)
    above = (A[:, None] > 0) & (ratio > 1.2)
    below = (A[:, None] < 0) & (ratio < 0.8)
    mask = ~(above | below)
    assert (~mask).sum() == 6
    ours = np.einsum("it,itp->p", mask * ratio * A[:, None], model.scores_NTP(theta)[index]) / 8

    leaf = torch.tensor(theta, requires_grad=True)
    logp = torch.log_softmax(leaf.view(model.C, model.V), -1)
    logp_K = logp[torch.tensor(model.prefix_NT[index]), torch.tensor(model.token_NT[index])]
    objective = Objective(clip_low=0.2, clip_high=0.2)
    K = 8 * model.T
    parts = policy_loss(
        objective,
        logp_K.flatten(),
        torch.tensor(old_GT).flatten(),
        torch.tensor(A).repeat_interleave(model.T),
        torch.full((K,), 1 / 8, dtype=torch.float64),
        torch.arange(8).repeat_interleave(model.T),
    )
    parts.loss.backward()
    assert -leaf.grad.numpy() == pytest.approx(ours, abs=1e-16)
    for i in range(8):
        terms = terms_of(
            objective,
            Numbers.of(
                logp=logp_GT[i], old=old_GT[i], ref=old_GT[i], entropy=np.zeros(3),
                advantage=np.full(3, A[i]), weight=np.full(3, 1 / 8),
            ),
        )  # fmt: skip
        assert terms.gradient == pytest.approx(-(mask * ratio * A[:, None])[i] / 8, abs=1e-15)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k3_is"])
def test_coefficient_of_the_kl_is_the_one_of_the_text(estimator):
    rng = np.random.default_rng(4)
    logp, old, ref = rng.normal(-2, 0.5, (3, 6))
    ell, ratio = logp - ref, np.exp(logp - old)
    kappa = {"k1": np.ones(6), "k2": ell, "k3": 1 - np.exp(-ell), "k3_is": ratio * ell}[estimator]
    nothing = np.zeros(6)
    objective = Objective(kl_estimator=estimator, kl_coefficient=0.1)
    numbers = Numbers.of(
        logp=logp, old=old, ref=ref, entropy=nothing, advantage=nothing, weight=np.ones(6)
    )
    assert terms_of(objective, numbers).gradient == pytest.approx(0.1 * kappa, abs=1e-12)


# --- the card -------------------------------------------------------------------------------------


def test_verdicts_can_be_any_of_four():
    law, found = exact(SOME), estimate(SOME, 0)
    assert verdict(SOME, law, found).kind == "holds"
    wrong = replace(found, to_law=replace(found.to_law, ratio=Estimate(1.2, 0.01, 1000)))
    assert verdict(SOME, law, wrong).kind == "fails"
    zscore = replace(SOME, estimator="zscore", size=2, num_groups=5000)
    assert verdict(zscore, exact(zscore), estimate(zscore, 0)).kind == "differs"
    sampled = replace(SOME, estimator="zscore", size=4, num_groups=20000)
    assert verdict(sampled, exact(sampled), estimate(sampled, 0)).kind == "differs"
    few = replace(SOME, estimator="zscore", size=32)
    kinds = {verdict(few, exact(few), estimate(few, seed)).kind for seed in range(3)}
    assert "open" in kinds


def test_verdict_names_the_numbers():
    said = CARD.verdict(SOME, exact(SOME), estimate(SOME, 0))
    assert (
        "0.75 times as long as $\\nabla V$ (sampled 0." in said.sentence and "13 %" in said.sentence
    )
    assert "3 standard errors" in said.rule and "less than 1 %" in said.rule
    assert "\\frac{G-1}{G}" in said.claim


@pytest.mark.parametrize("wrong", [{"size": 5}, {"critic_error": 1.1}, {"estimator": "opo"}])
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnobsOfGradient(**wrong)


def test_every_drawing_is_finite_for_every_setting():
    settings = [SOME]
    for each in fields(KnobsOfGradient):
        knob = each.metadata["knob"]
        values = knob.options or (knob.low, knob.high)
        settings += [replace(SOME, **{each.name: v}) for v in values if v != 20000]
    settings += [replace(SOME, estimator="zscore", rewards=r) for r in ("binary", "strategy")]
    for knobs in settings:
        law, found = exact(knobs), estimate(knobs, 0)
        assert isinstance(law, Law)
        for drawing in CARD.drawings:
            traces = drawing.draw(knobs, law, found, Palette.of("dark")).data
            assert traces and all(0 < len(t.x) <= 400 for t in traces)
            assert all(np.isfinite(np.array(t.y, dtype=float)).all() for t in traces)
        for row in CARD.rows(knobs, law, found):
            assert row.exact is not None or row.found is not None


def test_words_are_there_in_both_languages():
    from grpo_core.config import RunConfig

    here = words("gradient")
    recipe = RunConfig.model_validate({"algorithm": {"name": "ppo"}})
    for path in here.knobs:
        value = recipe
        for name in path.split("."):
            assert name in type(value).model_fields, path
            value = getattr(value, name)
    assert words("gradient", "pt").title
