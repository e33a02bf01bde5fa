"""Estimator and place of the KL: expected gradients against their laws, values beside recorded
ones, the product's estimators, and where learning rests."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from grpo_core.advantages import assign, penalise_kl
from grpo_core.config import RunConfig
from grpo_core.losses import KL_ESTIMATORS
from studio.theory import kl_fixed, kl_forms
from studio.theory.cards.kl import CARD
from studio.theory.kl import KnobsOfKl, estimate, exact, total_variation, verdict
from studio.theory.kl_fixed import REFERENCE, REWARDS, Way
from studio.theory.kl_forms import FORMS, coefficients, completions, expected, setup, targets
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

IN_PRODUCT = {
    "k1 in loss": "k1",
    "k2 in loss": "k2",
    "k3 in loss": "k3",
    "r·k3 in loss": "k3_is",
}


def _off(gradient_P, aim_P):
    return np.linalg.norm(gradient_P - aim_P) / np.linalg.norm(aim_P)


@pytest.mark.parametrize("form", IN_PRODUCT)
def test_coefficients_are_the_derivatives_of_the_products_estimators(form):
    rng = np.random.default_rng(0)
    logp, ref, old = rng.normal(-1, 0.8, (3, 50, 4))
    leaf = torch.tensor(logp, requires_grad=True)
    KL_ESTIMATORS[IN_PRODUCT[form]](leaf, torch.tensor(ref), torch.tensor(old)).sum().backward()
    assert coefficients(form, logp, ref, old) == pytest.approx(leaf.grad.numpy(), abs=1e-13)


def test_values_are_the_products():
    token = kl_forms.values(0.7)
    logp = torch.log(torch.tensor(token.p_V))
    ref = logp - torch.tensor(token.k_3V[0])
    for name, k_V in zip(("k1", "k2", "k3"), token.k_3V, strict=True):
        assert k_V == pytest.approx(KL_ESTIMATORS[name](logp, ref, logp).numpy(), abs=1e-14)


def test_updates_in_groups_are_those_of_the_products_advantages():
    rng = np.random.default_rng(3)
    pi_A = rng.dirichlet(np.ones(5))
    group = [0, 0, 4, 2, 1, 4]
    counts_A = np.bincount(group, minlength=5).astype(float)
    ell_A = np.log(pi_A / REFERENCE)
    rewards = [REWARDS[a] for a in group]
    scores = np.eye(5)[group] - pi_A
    for form, taken, coefficient in (
        ("k1 in reward", ell_A, 0 * ell_A),
        ("k3 in loss", 0 * ell_A, 1 - np.exp(-ell_A)),
        ("k1 in loss", 0 * ell_A, 0 * ell_A + 1),
    ):
        shaped = penalise_kl([rewards], [[taken[a] for a in group]], 0.3)
        A = np.array(assign(shaped, "mean")[0], dtype=float)
        by_hand = ((A - 0.3 * coefficient[group]) @ scores) / len(group)
        found = kl_fixed.updates(Way(form, 0.3, 6), counts_A[None], pi_A)
        assert found[0] == pytest.approx(by_hand, abs=1e-14)


# --- expected gradients ---------------------------------------------------------------------------


@pytest.mark.parametrize("drift", [0.1, 0.7, 2.0])
def test_on_fresh_samples_each_form_follows_its_law(drift):
    aims = targets(drift, 0.0)
    length = np.linalg.norm(aims.whole_P)
    laws = {
        "k1 in loss": np.zeros_like(aims.whole_P),
        "k2 in loss": aims.reverse_P,
        "k3 in loss": aims.forward_P,
        "r·k3 in loss": aims.reverse_P,
        "k1 in reward": aims.whole_P,
        "k3 in reward": aims.whole_P - aims.forward_P,
    }
    for form, law_P in laws.items():
        assert np.linalg.norm(expected(form, drift, 0.0) - law_P) < 1e-12 * length, form


def test_targets_are_derivatives_by_autograd():
    at = setup(0.7, 0.3)
    model, aims = at.model, targets(0.7, 0.3)
    theta = torch.tensor(at.theta_P, requires_grad=True)
    logp = torch.log_softmax(theta.view(model.C, model.V), -1)
    ref = torch.log_softmax(torch.tensor(at.ref_P).view(model.C, model.V), -1)
    visits = torch.tensor(model.visits_C(at.old_P))
    one = ((logp.exp() * (logp - ref)).sum(1) * visits).sum()
    other = ((ref.exp() * (ref - logp)).sum(1) * visits).sum()
    tokens, prefixes = torch.tensor(model.token_NT), torch.tensor(model.prefix_NT)
    whole = (logp - ref)[prefixes, tokens].sum(1) @ logp[prefixes, tokens].sum(1).exp()
    for value, aim_P in ((one, aims.reverse_P), (other, aims.forward_P), (whole, aims.whole_P)):
        (gradient,) = torch.autograd.grad(value, theta, retain_graph=True)
        assert aim_P == pytest.approx(gradient.numpy(), abs=1e-14)


def test_off_policy_only_the_ratio_keeps_the_law():
    aims = targets(0.7, 0.3)
    assert _off(expected("r·k3 in loss", 0.7, 0.3), aims.reverse_P) < 1e-14
    assert _off(expected("k2 in loss", 0.7, 0.3), aims.reverse_P) > 0.1
    assert _off(expected("k3 in loss", 0.7, 0.3), aims.forward_P) > 0.1
    assert np.linalg.norm(expected("k1 in loss", 0.7, 0.3)) > 0.1 * np.linalg.norm(aims.whole_P)


def test_distances_as_recorded():
    found = exact(KnobsOfKl(form="k2 in loss"))
    assert setup(0.7, 0.0).model.kl(setup(0.7, 0.0).theta_P, setup(0.7, 0.0).ref_P) == (
        pytest.approx(0.67, abs=0.005)
    )
    assert found.off_whole == pytest.approx(0.15, abs=0.006)
    assert exact(KnobsOfKl(form="k3 in reward")).off_whole == pytest.approx(1.02, abs=0.005)
    # the numbers of the words
    assert found.off_whole == pytest.approx(0.155, abs=5e-4)
    assert exact(KnobsOfKl()).off_whole == pytest.approx(0.225, abs=5e-4)
    assert found.trace == pytest.approx(1.08, abs=0.005)
    assert exact(KnobsOfKl(form="k1 in reward")).trace == pytest.approx(2.50, abs=0.005)


def test_what_a_token_does_to_later_ones_is_the_rest_of_the_whole_gradient():
    at, aims = setup(0.7, 0.0), targets(0.7, 0.0)
    model, p_N = at.model, at.model.p_N(at.theta_P)
    logp_CV, ref_CV = model.logp_CV(at.theta_P), model.logp_CV(at.ref_P)
    kl_NT = (np.exp(logp_CV) * (logp_CV - ref_CV)).sum(1)[model.prefix_NT]
    later_NT = kl_NT.sum(1, keepdims=True) - np.cumsum(kl_NT, axis=1)
    rest_P = np.einsum("n,nt,ntp->p", p_N, later_NT, model.scores_NTP(at.theta_P))
    assert aims.reverse_P + rest_P == pytest.approx(aims.whole_P, abs=1e-14)


def test_a_reference_that_is_the_old_policy_has_no_gradient_at_first():
    at = setup(0.7, 0.0)
    logp_NT = at.model.token_logp_NT(at.theta_P)
    for form in FORMS[1:]:
        assert np.abs(coefficients(form, logp_NT, logp_NT, logp_NT)).max() == 0.0


def test_traces_by_definition():
    at = setup(0.7, 0.3)
    p_N = at.model.p_N(at.old_P)
    for form in FORMS:
        g_NP, mean_P = completions(form, 0.7, 0.3), expected(form, 0.7, 0.3)
        by_definition = p_N @ np.square(g_NP - mean_P).sum(1)
        assert kl_forms.trace(form, 0.7, 0.3) == pytest.approx(by_definition, rel=1e-12)


def test_noise_of_the_values_as_recorded():
    near, far = kl_forms.values(0.05), kl_forms.values(4.0)
    assert near.mean_3[[0, 2]] == pytest.approx(0.0013, abs=1e-5)
    assert near.sd_3[[0, 2]] == pytest.approx([0.0509, 0.0022], abs=1e-4)
    assert near.sd_3[0] == pytest.approx(np.sqrt(2 * near.mean_3[0]), rel=0.01)
    assert far.mean_3[[0, 2]] == pytest.approx(3.185, abs=0.001)
    assert far.sd_3[0] == pytest.approx(1.06, abs=0.005)
    assert far.sd_3[2] == pytest.approx(739, abs=1)
    assert far.mean_3[1] > 1.5 * far.mean_3[0]  # k2 is biased
    crossing = kl_forms.values(1.0)
    assert crossing.mean_3[0] == pytest.approx(0.5, abs=0.01)
    assert crossing.sd_3[0] == pytest.approx(crossing.sd_3[2], rel=0.01)


# --- where learning rests -------------------------------------------------------------------------


def _ascent(way, num=4000):
    z_A = np.log(REFERENCE)
    for _ in range(num):
        pi_A = np.exp(z_A - z_A.max()) / np.exp(z_A - z_A.max()).sum()
        z_A = z_A + 1.5 * kl_fixed.expected_update(way, pi_A)
    return pi_A


def test_expected_updates_rest_at_the_formulas():
    big = 10**9  # a group so large that its mean holds nothing of the judged reward
    for way, formula in (
        (Way("k2 in loss", 0.2, big), kl_fixed.boltzmann(0.2)),
        (Way("k3 in loss", 0.2, big), kl_fixed.rational(0.2)),
        (Way("k2 in loss", 0.2, 2), kl_fixed.boltzmann(0.4)),
        (Way("k1 in reward", 0.3, 2), kl_fixed.boltzmann(0.3)),
    ):
        assert total_variation(_ascent(way), formula) < 1e-6
        assert total_variation(kl_fixed.resting_point(way), formula) < 1e-8
    # recorded
    assert total_variation(kl_fixed.rational(0.2), kl_fixed.boltzmann(0.2)) == (
        pytest.approx(0.061, abs=5e-4)
    )
    assert total_variation(kl_fixed.boltzmann(0.4), kl_fixed.boltzmann(0.2)) == (
        pytest.approx(0.060, abs=5e-4)
    )
    assert _ascent(Way("k1 in loss", 0.2, big))[kl_fixed.BEST] > 0.998


def test_rational_policy_has_the_value_in_its_own_formula():
    for beta in (0.05, 0.2, 1.0):
        pi_A = kl_fixed.rational(beta)
        assert pi_A.sum() == pytest.approx(1.0, abs=1e-12)
        denominators = 1 + (pi_A @ REWARDS - REWARDS) / beta
        assert pi_A == pytest.approx(REFERENCE / denominators, abs=1e-12)


def test_boltzmann_policy_is_the_best_of_its_objective():
    best, rng = kl_fixed.boltzmann(0.2), np.random.default_rng(0)

    def objective(pi_A):
        return pi_A @ REWARDS - 0.2 * pi_A @ np.log(pi_A / REFERENCE)

    others = [0.9 * best + 0.1 * rng.dirichlet(np.ones(5)) for _ in range(50)]
    assert max(objective(pi_A) for pi_A in others) < objective(best)


def test_k3_in_the_reward_ends_on_one_answer_and_not_always_the_best():
    frequent = int(REFERENCE.argmax())
    for beta, answer in ((0.05, kl_fixed.BEST), (0.2, frequent)):
        rest = kl_fixed.resting_point(Way("k3 in reward", beta, 8))
        assert rest[answer] > 1 - 1e-9
    assert frequent != kl_fixed.BEST and REWARDS[frequent] == pytest.approx(0.657, abs=5e-4)


@pytest.mark.parametrize("form", FORMS)
def test_expected_update_is_the_sum_over_all_groups_of_three(form):
    way, pi_A = Way(form, 0.3, 3), np.random.default_rng(1).dirichlet(np.ones(5))
    groups = np.stack(np.unravel_index(np.arange(125), (5, 5, 5)), 1)
    counts_MA = (groups[:, :, None] == np.arange(5)).sum(1).astype(float)
    mean_A = pi_A[groups].prod(1) @ kl_fixed.updates(way, counts_MA, pi_A)
    assert kl_fixed.expected_update(way, pi_A) == pytest.approx(mean_A, abs=1e-15)


def test_runs_end_near_the_resting_point():
    for form, size in (("k2 in loss", 2), ("k3 in loss", 8), ("k1 in reward", 8)):
        way = Way(form, 0.5, size)
        learned = np.array([each.value for each in kl_fixed.learn(way, 0)])
        assert total_variation(learned, kl_fixed.resting_point(way)) < 0.004


# --- the card -------------------------------------------------------------------------------------


def test_samples_agree_with_all_that_is_exact():
    knobs = KnobsOfKl(moved=0.3)
    worked_out, found = exact(knobs), estimate(knobs, 0)
    for form in FORMS:
        for each, value in zip(found.plane[form], worked_out.plane[form], strict=True):
            assert each.agrees(value), form
    assert found.trace.agrees(worked_out.trace)
    assert found.force.agrees(worked_out.force)
    for each, value in zip(found.means, worked_out.means, strict=True):
        assert each.agrees(value)
    for each, value in zip(found.sds, worked_out.sds, strict=True):
        assert each.agrees(value)


def test_every_drawing_is_finite_at_every_setting():
    base, palette = KnobsOfKl(), Palette.of("dark")
    settings = [
        replace(base, **{each.name: value})
        for each in fields(KnobsOfKl)
        for value in knob_of(each).options or (knob_of(each).low, knob_of(each).high)
    ]
    for knobs in settings:
        worked_out, found = exact(knobs), estimate(knobs, 0)
        for drawing in CARD.drawings:
            for trace in drawing.draw(knobs, worked_out, found, palette).data:
                assert np.isfinite(np.asarray(trace.y, dtype=float)).all(), (drawing.name, knobs)
                assert len(trace.y) <= 400
        labels = [row.label for row in CARD.rows(knobs, worked_out, found)]
        assert len(set(labels)) == len(labels) == 12
        assert verdict(knobs, worked_out, found).kind != "fails", knobs


@pytest.mark.parametrize(
    "wrong",
    [{"form": "k4"}, {"drift": 0.0}, {"moved": -0.1}, {"beta": 2.0}, {"group_size": 1}],
)
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="is not within"):
        KnobsOfKl(**wrong)


def test_verdict_follows_its_rule():
    def said(**changes):
        knobs = KnobsOfKl(**changes)
        return verdict(knobs, exact(knobs), estimate(knobs, 0))

    assert said(form="k1 in reward").kind == "holds"
    assert said(form="k1 in reward", moved=0.3).kind == "differs"
    for form, words_of in (
        ("k1 in loss", "no expected gradient"),
        ("k2 in loss", "15.5 % off"),
        ("k3 in loss", "the other direction, 22.5 % off"),
        ("k3 in reward", "worth 0.657"),
    ):
        verdict_of = said(form=form)
        assert verdict_of.kind == "differs" and words_of in verdict_of.sentence
    knobs = KnobsOfKl()
    worked_out, found = exact(knobs), estimate(knobs, 0)
    wrong = replace(found, force=Estimate(-worked_out.force, 1e-4, 99))
    failed = verdict(knobs, worked_out, wrong)
    assert failed.kind == "fails" and "−0.01" in failed.sentence
    off = (Estimate(0.5, 0.01, 99), found.plane["k3 in loss"][1])
    wrong = replace(found, plane={**found.plane, "k3 in loss": off})
    assert verdict(knobs, worked_out, wrong).kind == "fails"


def test_words_are_there_and_name_real_settings():
    text = words("kl")
    for path in text.knobs:
        section, name = path.split(".")
        assert name in RunConfig.model_fields[section].annotation.model_fields
    with pytest.raises(ValueError, match="zero expected gradient"):
        RunConfig(algorithm={"kl_coefficient": 0.1, "kl_estimator": "k1", "kl_place": "loss"})
