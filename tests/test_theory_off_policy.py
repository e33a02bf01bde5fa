"""Six importance ratios: against recorded numbers, identities, and the product's own gradients."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from grpo_core.losses import policy_loss
from grpo_core.objective import Objective
from grpo_core.terms import Numbers, terms_of
from studio.theory import off_policy
from studio.theory.cards.off_policy import CARD
from studio.theory.off_policy import (
    RATIOS,
    KnobsOfOffPolicy,
    coefficients,
    estimate,
    exact,
    setting,
    verdict,
)
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import problem
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

SOME = KnobsOfOffPolicy(num_samples=1000)


# --- recorded numbers and identities --------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "tv", "cosines"),
    [
        (4.0, 0.28, (0.965, 0.841, 0.980, 1.0, 0.979, 0.951)),
        (8.0, 0.50, (0.846, 0.734, 0.885, 1.0, 0.929, 0.847)),
    ],
)
def test_cosines_are_the_recorded_ones(distance, tv, cosines):
    here = exact(replace(SOME, distance=distance)).here
    assert here.tv == pytest.approx(tv, abs=0.006)
    assert here.cosine_K == pytest.approx(np.array(cosines), abs=0.0006)


def test_three_tokens_are_the_problem_of_the_other_cards():
    _, theta, R, toward = setting(3)
    assert (theta == problem("graded")[1]).all() and (problem("graded")[2] == R).all()
    assert np.linalg.norm(toward) == pytest.approx(1)
    for length in (1, 2, 4):  # as far after each prefix
        model, _, _, toward = setting(length)
        assert np.linalg.norm(toward) == pytest.approx(np.sqrt(model.C / 21))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("distance", [1.0, 8.0])
def test_the_sequence_ratio_is_exact(length, distance):
    means = exact(replace(SOME, length=length, distance=distance)).here
    assert means.error_K[RATIOS.index("sequence")] < 1e-14
    if length == 1:  # nothing before the token and nothing after it
        alike = [RATIOS.index(kind) for kind in ("token", "prefix", "normalised")]
        assert means.error_K[alike].max() < 1e-14
    else:
        assert means.error_K[RATIOS.index("token")] > 0.01


def test_all_ratios_are_the_gradient_before_the_policy_moves():
    assert exact(replace(SOME, distance=0.0)).here.error_K.max() < 1e-14


@pytest.mark.parametrize("kind", ["token", "prefix"])
def test_mismatch_is_in_prefixes_and_continuations(kind):
    """The formulas of the derivation, prefix by prefix."""
    model, old, R, toward = setting(3)
    theta = old + 4 * toward
    law = old if kind == "token" else theta
    visits_C, new_CV = model.visits_C(law), np.exp(model.logp_CV(theta))
    expected = np.zeros((model.C, model.V))
    p_N = model.p_N(old)
    for c in range(model.C):
        depth = int(np.argmax((model.prefix_NT == c).any(0)))
        through = model.through_CN[c] > 0
        for a in range(model.V):
            then = through & (model.token_NT[:, depth] == a)
            value = (p_N[then] @ R[then]) / p_N[then].sum()  # Q of the old policy
            expected[c] += visits_C[c] * new_CV[c, a] * value * (np.eye(4)[a] - new_CV[c])
    moved = off_policy._moved(3, 4.0)
    c_NT = coefficients(moved.ratio_NT, moved.A_N, model.lengths_N, kind, 0.2)
    mean, _ = off_policy._mean_and_noise(moved, c_NT)
    assert mean == pytest.approx(expected.ravel(), abs=1e-15)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_error_stays_under_its_bound_and_is_of_first_order(length):
    R = setting(length)[2]
    for distance in (0.01, 1.0, 4.0, 8.0):
        moved = off_policy._moved(length, distance)
        means = off_policy._means(length, distance, 0.2)
        bound = length * (length - 1) * means.tv * np.ptp(R) / np.linalg.norm(moved.grad_P)
        assert means.error_K[RATIOS.index("token")] <= bound
        assert means.error_K[RATIOS.index("prefix")] <= bound / 2
    near, nearer = (off_policy._means(length, d, 0.2).error_K[0] for d in (0.02, 0.01))
    assert near / nearer == pytest.approx(2, abs=0.02)


def test_noise_is_that_of_all_completions():
    moved = off_policy._moved(3, 4.0)
    for kind in RATIOS:
        c_NT = coefficients(moved.ratio_NT, moved.A_N, moved.model.lengths_N, kind, 0.2)
        scores = moved.scores.reshape(64, 3, 84)
        update = np.einsum("nt,ntp->np", c_NT, scores)
        mean = moved.p_N @ update
        direct = moved.p_N @ np.square(update - mean).sum(1)
        assert off_policy._mean_and_noise(moved, c_NT)[1] == pytest.approx(direct, rel=1e-12)


def test_share_that_counts_is_one_over_the_mean_squared_ratio():
    model, old, _, toward = setting(3)
    new = model.p_N(old + 4 * toward)
    chi2 = np.square(new - model.p_N(old)) @ (1 / model.p_N(old))
    assert 1 / exact(replace(SOME, distance=4.0)).here.effective == pytest.approx(1 + chi2)


def test_noise_of_the_exact_ratio_takes_off_with_the_length():
    def over_token(length):
        noise = exact(replace(SOME, length=length, distance=8.0)).here.noise_K
        return noise[RATIOS.index("sequence")] / noise[RATIOS.index("token")]

    assert over_token(4) > 3 and over_token(3) < 1


def test_samples_agree_at_all_distances():
    for kind in RATIOS:
        knobs = KnobsOfOffPolicy(ratio=kind, num_samples=20000)
        law, found = exact(knobs), estimate(knobs, 4)
        errors = law.curve("error", kind)[::4]
        noises = law.curve("noise", kind)[::4]
        for each, error, noise in zip(found.along, errors, noises, strict=True):
            assert abs(each.error.z(error)) < 4  # 54 tests of one sample each
            assert abs(each.noise.z(noise)) < 4
            assert each.part.agrees(each.exact_part)
    assert estimate(SOME, 1) == estimate(SOME, 1) != estimate(SOME, 2)


# --- the product's formulas -----------------------------------------------------------------------

OBJECTIVES = {
    "token": Objective(clipping="none"),
    "clipped": Objective(clip_low=0.2, clip_high=0.2),
    "normalised": Objective(ratio_level="sequence", clipping="none"),
    "none": Objective(ratio_level="none"),
}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_coefficients_are_the_product_s_own(kind):
    rng = np.random.default_rng(6)
    old_NT = rng.normal(-2, 0.5, (5, 4))
    logp_NT, A_N = old_NT + rng.normal(0, 0.3, (5, 4)), rng.normal(size=5)
    lengths = np.full(5, 4)
    ours = coefficients(np.exp(logp_NT - old_NT), A_N, lengths, kind, 0.2)
    leaf = torch.tensor(logp_NT.ravel(), requires_grad=True)
    policy_loss(
        OBJECTIVES[kind],
        leaf,
        torch.tensor(old_NT.ravel()),
        torch.tensor(A_N).repeat_interleave(4),
        torch.ones(20, dtype=torch.float64),
        torch.arange(5).repeat_interleave(4),
    ).loss.backward()
    assert -leaf.grad.numpy().reshape(5, 4) == pytest.approx(ours, abs=1e-12)
    for i in range(5):
        numbers = Numbers.of(
            logp=logp_NT[i], old=old_NT[i], ref=old_NT[i], entropy=np.zeros(4),
            advantage=np.full(4, A_N[i]), weight=np.ones(4),
        )  # fmt: skip
        assert -terms_of(OBJECTIVES[kind], numbers).gradient == pytest.approx(ours[i], abs=1e-12)


def test_products_of_ratios_by_hand():
    ratio, A = np.array([[2.0, 0.5, 3.0]]), np.array([-2.0])
    lengths = np.array([3])
    assert coefficients(ratio, A, lengths, "prefix", 0.2).tolist() == [[-4.0, -2.0, -6.0]]
    assert coefficients(ratio, A, lengths, "sequence", 0.2).tolist() == [[-6.0, -6.0, -6.0]]
    assert coefficients(ratio, A, lengths, "clipped", 0.2).tolist() == [[-4.0, 0.0, -6.0]]
    assert coefficients(ratio, -A, lengths, "clipped", 0.2).tolist() == [[0.0, 1.0, 0.0]]


# --- the card -------------------------------------------------------------------------------------


def test_verdicts_can_be_any_of_four():
    law, found = exact(SOME), estimate(SOME, 0)
    said = verdict(SOME, law, found)
    assert said.kind == "differs" and "28.2 %" in said.sentence and "0.965" in said.sentence
    assert "38.04 times $" in said.sentence and "`token`" in said.claim
    sequence = replace(SOME, ratio="sequence")
    assert verdict(sequence, exact(sequence), estimate(sequence, 0)).kind == "holds"
    off = replace(found.here, error=Estimate(2.0, 0.1, 1000))
    assert verdict(SOME, law, replace(found, here=off)).kind == "fails"
    thin = replace(off, carried=50.0)
    part = replace(found.here, part=Estimate(2.0, 0.1, 1000))
    said = verdict(SOME, law, replace(found, here=part))
    assert said.kind == "fails" and "part of $\\nabla V$ is 2, the exact one 1.03" in said.sentence
    few = verdict(SOME, law, replace(found, here=thin))
    assert few.kind == "open" and "No verdict" in few.sentence


@pytest.mark.parametrize("wrong", [{"distance": 9.0}, {"clip": 0.0}, {"ratio": "sapo"}])
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnobsOfOffPolicy(**wrong)


def test_every_drawing_is_finite_for_every_setting():
    settings = [SOME, replace(SOME, ratio="clipped", length=1, clip=0.05, distance=8.0)]
    for each in fields(KnobsOfOffPolicy):
        knob = each.metadata["knob"]
        settings += [replace(SOME, **{each.name: v}) for v in knob.options or (knob.low, knob.high)]
    for knobs in settings:
        law, found = exact(knobs), estimate(knobs, 0)
        for drawing in CARD.drawings:
            traces = drawing.draw(knobs, law, found, Palette.of("light")).data
            assert len(traces) >= 6 and all(0 < len(t.x) <= 400 for t in traces)
            assert all(np.isfinite(np.array(t.y, dtype=float)).all() for t in traces)
        assert verdict(knobs, law, found).sentence
        for row in CARD.rows(knobs, law, found):
            assert row.exact is None or np.isfinite(row.exact)


def test_words_are_there():
    from grpo_core.config import RunConfig

    for path in words("off_policy").knobs:
        section, name = path.split(".")
        assert name in type(getattr(RunConfig(), section)).model_fields, path
