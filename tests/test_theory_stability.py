"""Stability without a critic: every bound by a second method, the recorded numbers, and parity with
the product's clip and advantages.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from grpo_core.objective import Objective
from grpo_core.terms import Numbers, terms_of
from studio.theory import groups, many, stability
from studio.theory.cards.stability import CARD
from studio.theory.locking import ARMS, RUNS, STEP_SIZES, locked
from studio.theory.plots import Palette
from studio.theory.stability import KnobsOfStability, Steps, go_over
from studio.theory.toy import Toy, log_softmax, problem
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

DEFAULT = KnobsOfStability()


def moved(seed, scale=0.7):
    model, theta_P, R_N = problem(seed=seed)
    return model, theta_P, theta_P + scale * np.random.default_rng(seed).normal(size=model.P), R_N


# --- the surrogate --------------------------------------------------------------------------------


def test_no_step_breaks_its_bound_and_the_worst_is_as_recorded():
    steps = stability.random_steps()
    assert len(steps.delta) == 200
    assert (steps.gap <= steps.bound).all()
    assert (steps.gap / steps.bound).max() == pytest.approx(0.078, abs=0.0005)


def test_gap_falls_like_the_square_of_the_distance():
    model, theta_P, R_N = problem(seed=0)
    way_P = np.random.default_rng(0).normal(size=model.P)
    near, far = (theta_P + length * way_P for length in (1e-3, 1e-1))
    gaps = [stability.gap(model, theta_P, end, R_N) for end in (near, far)]
    deltas = [stability.distance(model, theta_P, end) for end in (near, far)]
    order = math.log(gaps[1] / gaps[0]) / math.log(deltas[1] / deltas[0])
    assert order == pytest.approx(2.02, abs=0.005)


@pytest.mark.parametrize("seed", range(4))
def test_gap_is_what_the_prefix_distributions_differ_by(seed):
    """The proof's own terms: f(x) = sum of pi_new A_old, weighted by new and by old visits."""
    model, theta_P, new_P, R_N = moved(seed)
    p_N, uses_NX = model.p_N(theta_P), many.uses_NX(model)
    Q_CV = ((p_N * R_N) @ uses_NX / (p_N @ uses_NX)).reshape(model.C, model.V)
    A_CV = Q_CV - model.prefix_value_C(theta_P, R_N)[:, None]
    f_C = (np.exp(model.logp_CV(new_P)) * A_CV).sum(1)
    change = model.value(new_P, R_N) - model.value(theta_P, R_N)
    assert model.visits_C(new_P) @ f_C == pytest.approx(change, abs=1e-14)
    gap = abs((model.visits_C(new_P) - model.visits_C(theta_P)) @ f_C) / np.ptp(R_N)
    assert stability.gap(model, theta_P, new_P, R_N) == pytest.approx(gap, abs=1e-14)
    delta = stability.distance(model, theta_P, new_P)
    assert np.abs(f_C).max() <= delta * np.ptp(R_N)
    lengths_C = np.array([len(prefix) for prefix in model.prefixes])
    for length in range(model.T):
        here = lengths_C == length
        apart = 0.5 * np.abs(model.visits_C(new_P) - model.visits_C(theta_P))[here].sum()
        assert apart <= length * delta + 1e-15


def test_a_groups_unclipped_surrogate_is_this_one_on_average():
    model, theta_P, new_P, R_N = moved(1)
    p_N, index = model.p_N(theta_P), groups.all_groups(model.N, 2)
    moves_N = np.exp(model.token_logp_NT(new_P) - model.token_logp_NT(theta_P)).sum(1) - model.T
    weights_M = p_N[index].prod(1)
    surrogate = p_N @ (R_N * moves_N)
    for estimator, factor in (("mean", 0.5), ("loo", 1.0)):
        A_MG = groups.advantages(R_N[index], estimator)
        mean = weights_M @ (A_MG * moves_N[index]).mean(1)
        assert mean == pytest.approx(factor * surrogate, abs=1e-14)


# --- curvature, advantages, one update ------------------------------------------------------------


def test_hessian_equals_differences_of_the_gradient():
    model, theta_P, _, R_N = moved(0)
    way_P = np.random.default_rng(0).normal(size=model.P)
    ahead, behind = (model.grad_value_P(theta_P + h * way_P, R_N) for h in (1e-5, -1e-5))
    found = stability.hessian_PP(model, theta_P, R_N) @ way_P
    assert found == pytest.approx((ahead - behind) / 2e-5, abs=1e-9)


def test_curvature_of_two_answers_is_largest_at_one_over_three_root_three():
    """V = sigmoid(z): its second derivative by z is at most 1 / (6 sqrt 3), along (1, -1)."""
    two = Toy(vocabulary=2, length=1)
    largest = max(
        np.abs(
            np.linalg.eigvalsh(stability.hessian_PP(two, np.array([z, 0.0]), np.eye(2)[0]))
        ).max()
        for z in np.linspace(-3, 3, 2001)
    )
    assert largest == pytest.approx(1 / (3 * math.sqrt(3)), abs=1e-5)


def test_curvature_of_300_random_problems():
    largest = 0.0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        length, vocabulary = int(rng.integers(1, 4)), int(rng.integers(2, 5))
        model = Toy(vocabulary, length)
        theta_P = rng.normal(0, rng.choice([0.0, 0.3, 1, 3]), model.P)
        R_N = (rng.random(model.N) < rng.random()).astype(float)
        if np.ptp(R_N):
            values = np.linalg.eigvalsh(stability.hessian_PP(model, theta_P, R_N))
            largest = max(largest, float(np.abs(values).max() / np.ptp(R_N)))
    assert largest == pytest.approx(0.197, abs=0.001)


@pytest.mark.parametrize("size", [2, 4, 16])
def test_bounds_of_advantages_are_reached_and_not_passed(size):
    one = np.zeros((1, size))
    one[0, 0] = 1e-3  # the z-score does not know how small it is
    wild = np.random.default_rng(0).standard_cauchy((2000, size))
    for ddof, bound in ((0, math.sqrt(size - 1)), (1, (size - 1) / math.sqrt(size))):
        z = groups.advantages(one, "zscore", delta=0.0, ddof=ddof)
        assert np.abs(z).max() == pytest.approx(bound, rel=1e-12)
        assert np.abs(groups.advantages(wild, "zscore", delta=0.0, ddof=ddof)).max() <= bound + 1e-9
    bound = stability.exact(KnobsOfStability(group_size=size)).largest_advantage
    assert groups.advantages(one, "mean").max() == pytest.approx(1e-3 * bound)
    centred = np.abs(groups.advantages(wild, "mean")) / np.ptp(wild, axis=1, keepdims=True)
    assert centred.max() <= bound + 1e-9
    assert centred.mean(1).max() <= 0.5 + 1e-9


def test_softmaxes_differ_by_at_most_tanh_of_a_quarter_of_the_span():
    rng = np.random.default_rng(0)
    for _ in range(300):
        z, u = rng.normal(0, 2, 5), rng.normal(0, rng.choice([0.1, 1, 5]), 5)
        apart = 0.5 * np.abs(np.exp(log_softmax(z + u)) - np.exp(log_softmax(z))).sum()
        assert apart <= math.tanh(np.ptp(u) / 4)
    two = [np.exp(log_softmax(np.array([z, 0.0])))[0] for z in (0.7, -0.7)]
    assert two[0] - two[1] == pytest.approx(math.tanh(1.4 / 4), abs=1e-15)


@pytest.mark.parametrize("baseline", ["mean", "none"])
@pytest.mark.parametrize("step_size", [1.0, 64.0])
def test_first_update_stays_within_its_bound(baseline, step_size):
    knobs = KnobsOfStability(group_size=2, step_size=step_size, epochs=1, baseline=baseline)
    exact, found = stability.exact(knobs), go_over(2, step_size, 1, 0.2, baseline, 0)
    assert 0 < found.first_delta <= exact.first_delta
    assert found.largest_advantage <= exact.largest_advantage + 1e-12
    assert exact.first_delta < (0.5 if step_size == 1.0 else 1.001)


def test_bias_of_a_critic_is_what_the_text_says():
    """Every GAE advantage of the toy, worked out from its definition."""
    model, theta_P, R_N = problem(seed=3)
    p_N, scores_NTP = model.p_N(theta_P), model.scores_NTP(theta_P)
    values_C = model.prefix_value_C(theta_P, R_N)
    e_C = np.random.default_rng(0).normal(0, 0.3, model.C)
    critic_NT, error_NT = (values_C + e_C)[model.prefix_NT], e_C[model.prefix_NT]
    after_NT = np.c_[critic_NT[:, 1:], R_N]  # behind the end the critic is right: the reward
    gradient_P = model.grad_value_P(theta_P, R_N)
    for lam in (0.0, 0.9, 1.0):
        A_NT, bias_NT = np.zeros((2, model.N, model.T))
        for t in range(model.T):
            later = range(t, model.T)
            A_NT[:, t] = sum(lam ** (k - t) * (after_NT - critic_NT)[:, k] for k in later)
            bias_NT[:, t] = sum(
                (1 - lam) * lam ** (k - t - 1) * error_NT[:, k] for k in range(t + 1, model.T)
            )
        update_P = np.einsum("n,nt,ntp->p", p_N, A_NT, scores_NTP)
        bias_P = np.einsum("n,nt,ntp->p", p_N, bias_NT, scores_NTP)
        assert update_P == pytest.approx(gradient_P + bias_P, abs=1e-14)
        lengths = np.linalg.norm(scores_NTP, axis=2).sum(1)
        assert np.linalg.norm(bias_P) <= np.abs(e_C).max() * (p_N @ lengths)
        assert (np.linalg.norm(bias_P) < 1e-14) == (lam == 1.0)


# --- one batch, gone over again and again ---------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "step_size", "share"),
    [(1, 5.0, 0.02), (4, 5.0, 0.24), (16, 5.0, 0.54), (64, 5.0, 0.58), (64, 20.0, 0.68)],
)
def test_tokens_leave_the_clip_as_recorded(epochs, step_size, share):
    batches = go_over(8, step_size, epochs, 0.2, "mean", 0)
    assert batches.outside(0.2).value == pytest.approx(share, abs=0.006)
    if step_size == 20.0:
        assert 1 / batches.ratio_SM.min() == pytest.approx(5.1, abs=0.05)
        assert batches.ratio_SM.max() < 2


def test_the_clip_slows_and_does_not_bound():
    free = go_over(8, 5.0, 64, math.inf, "mean", 0)
    assert free.outside(0.2).value == pytest.approx(0.967, abs=0.001)
    clipped = go_over(8, 5.0, 64, 0.2, "mean", 0)
    assert clipped.outside(0.2).value < 0.6 < free.outside(0.2).value
    assert clipped.steps.delta.mean() > 0.1  # what every ratio within the clip would guarantee


def test_pulls_are_the_products_gradients():
    rng = np.random.default_rng(0)
    logp, old = rng.normal(-1, 0.3, 200), rng.normal(-1, 0.3, 200)
    A = rng.normal(size=200)
    nothing = np.zeros(200)
    terms = terms_of(
        Objective(clip_low=0.3, clip_high=0.3),
        Numbers(logp, old, nothing, nothing, A, np.full(200, 1 / 7)),
    )
    ratio = np.exp(logp - old)
    ours = A * ratio * stability.moves(ratio, A, 0.3) / 7
    assert ours == pytest.approx(-terms.gradient, abs=1e-15)
    assert (terms.gradient == 0).sum() > 20


def test_an_epoch_is_a_step_along_the_products_loss():
    """Two epochs by torch: policy_loss, its weights, and plain ascent."""
    import torch

    from grpo_core.advantages import mean
    from grpo_core.losses import policy_loss, token_weights

    model, theta_P, R_N = stability.start()
    size, step_size, clip = 4, 16.0, 0.2
    index_BG = model.sample(theta_P, (8, size), np.random.default_rng(0))
    index_M = index_BG.ravel()
    A_M = np.concatenate([mean(R_N[row], np.ones(size)) for row in index_BG])
    weight = float(token_weights(torch.full((32,), 3.0, dtype=torch.float64), "seq_sum")[0])
    cells = torch.tensor(many.cells_NT(model)[index_M])
    theta = torch.tensor(theta_P)
    old = theta.reshape(model.C, model.V).log_softmax(-1).ravel()[cells].ravel()
    for _ in range(2):
        theta.requires_grad_(True)
        logp = theta.reshape(model.C, model.V).log_softmax(-1).ravel()[cells].ravel()
        parts = policy_loss(
            Objective(clip_low=clip, clip_high=clip),
            logp,
            old,
            torch.tensor(A_M.repeat(3)),
            torch.full_like(old, weight),
            torch.arange(32).repeat_interleave(3),
        )
        (gradient,) = torch.autograd.grad(parts.loss, theta)
        theta = (theta - step_size * gradient).detach()
    ratios = theta.reshape(model.C, model.V).log_softmax(-1).ravel()[cells].ravel() - old
    ours = go_over(size, step_size, 2, clip, "mean", 0).ratio_SM[0]
    assert ours == pytest.approx(ratios.exp().numpy(), abs=1e-12)


def test_pull_of_sampled_tokens_is_the_sum_of_their_scores():
    model, theta_P, _, _ = moved(0)
    rng = np.random.default_rng(0)
    index_RM, coefficients = rng.integers(0, model.N, (2, 5)), rng.normal(size=(2, 5, 3))
    logp_RX = many.logp_RX(model, np.tile(theta_P, (2, 1)))
    found = many.pull_of_tokens(model, coefficients, many.cells_NT(model)[index_RM], logp_RX)
    scores = model.scores_NTP(theta_P)[index_RM]
    assert found == pytest.approx(np.einsum("rmt,rmtp->rp", coefficients, scores), abs=1e-14)


# --- locked in ------------------------------------------------------------------------------------


def shares(step_size, centred, size, marks, runs=400):
    found = locked(np.full(runs, step_size), np.full(runs, centred), size, marks, 0)
    return found.mean(1)


def near(share, recorded, runs=400):
    """Both are shares of `runs` runs: three standard errors of their difference."""
    spread = math.sqrt(2 * max(recorded, 0.01) * (1 - recorded) / runs)
    return abs(share - recorded) < 3 * spread


@pytest.mark.parametrize(("size", "recorded"), [(2, 0.5), (8, 0.11), (32, 0.005)])
def test_share_locked_at_a_large_step_as_recorded(size, recorded):
    assert near(shares(64.0, 1.0, size, (62,))[0], recorded)


def test_share_locked_with_the_group_mean_falls_again():
    at_100, at_250, at_1000 = shares(16.0, 1.0, 2, (100, 250, 1000))
    assert near(at_100, 0.21) and near(at_250, 0.115) and near(at_1000, 0.03)


def test_share_locked_without_a_baseline_hardly_falls():
    at_100, at_1000 = shares(4.0, 0.0, 2, (100, 1000))
    assert near(at_100, 0.45) and near(at_1000, 0.40)


def test_share_locked_after_5000_updates_as_recorded():
    assert near(shares(16.0, 1.0, 2, (5000,))[0], 0.01)
    assert near(shares(4.0, 0.0, 2, (5000,))[0], 0.40)


def test_a_group_of_equal_answers_moves_only_without_a_baseline(monkeypatch):
    """One update by hand: all of the group draw the second answer, which pays 0.9."""

    class AllSecond:
        def multinomial(self, size, pi_RA):
            return np.tile([0, size, 0, 0], (len(pi_RA), 1))

    monkeypatch.setattr(np.random, "default_rng", lambda seed: AllSecond())
    with_mean, without = locked(np.full(2, 8.0), np.array([1.0, 0.0]), 4, (1,), 0)[0]
    # without: logits 8 * 0.9 * (e - 1/4) = 5.4 and -1.8: probability 0.9978 of a wrong answer
    assert (with_mean, without) == (0.0, 1.0)
    assert ARMS[1] == 0.9


def test_lock_in_of_the_page_agrees_with_single_runs():
    with_mean, without = stability.lock_in(2, 0)
    at = STEP_SIZES.index(16.0)
    assert near(with_mean[at].value, 0.115, RUNS) and with_mean[at].num == RUNS
    assert without[at].value > with_mean[at].value


# --- verdict, knobs, drawings, words --------------------------------------------------------------


def test_verdict_by_its_rule():
    exact, found = stability.exact(DEFAULT), stability.estimate(DEFAULT, 0)
    assert stability.verdict(DEFAULT, exact, found).kind == "differs"
    once = KnobsOfStability(epochs=1, step_size=1.0)
    calm = stability.exact(once), stability.estimate(once, 0)
    assert stability.verdict(once, *calm).kind == "holds"
    assert "does not bound" not in stability.verdict(once, *calm).sentence
    steps = exact.steps
    broken = replace(exact, steps=Steps(steps.delta, steps.bound * 1.01))
    assert stability.verdict(DEFAULT, broken, found).kind == "fails"
    far = replace(found.clipped, first_delta=exact.first_delta + 0.01)
    assert stability.verdict(DEFAULT, exact, replace(found, clipped=far)).kind == "fails"
    loud = replace(found.clipped, largest_advantage=exact.largest_advantage + 0.01)
    assert stability.verdict(DEFAULT, exact, replace(found, clipped=loud)).kind == "fails"


def test_verdict_speaks_of_locked_runs():
    knobs = KnobsOfStability(group_size=2, step_size=64.0, epochs=1, clip=0.95)
    exact, found = stability.exact(knobs), stability.estimate(knobs, 0)
    quiet = replace(found, clipped=replace(found.clipped, ratio_SM=np.ones((8, 3))))
    assert stability.verdict(knobs, exact, quiet).kind == "differs"


@pytest.mark.parametrize(
    "wrong",
    [{"clip": 0.01}, {"clip": 1.0}, {"group_size": 3}, {"epochs": 0}, {"baseline": "loo"}],
)
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="is not within"):
        KnobsOfStability(**wrong)


def settings(knobs_class, every):
    """Each knob alone: both ends of those with numbers (or `every` option), all others."""
    for each in fields(knobs_class):
        knob = each.metadata["knob"]
        values = knob.options or (knob.low, knob.high)
        if not every and not isinstance(values[0], str):
            values = (values[0], values[-1])
        for value in values:
            yield knobs_class(**{each.name: value})


def check_figures(knobs):
    exact, found = CARD.exact(knobs), CARD.estimate(knobs, 1)
    for row in CARD.rows(knobs, exact, found):
        values = [row.exact, getattr(row.found, "value", row.found)]
        assert any(v is not None for v in values)
        assert all(v is None or math.isfinite(v) for v in values), row.label
    for drawing in CARD.drawings:
        for trace in drawing.draw(knobs, exact, found, Palette.of("dark")).data:
            assert 0 < len(trace.x) <= 400
            assert np.isfinite(np.array(trace.x, float)).all()
            assert np.isfinite(np.array(trace.y, float)).all()


def test_figures_and_rows_are_finite_at_the_ends():
    for knobs in settings(KnobsOfStability, every=False):
        check_figures(knobs)


def test_figures_and_rows_are_finite_everywhere():
    for knobs in settings(KnobsOfStability, every=True):
        check_figures(knobs)
    check_figures(KnobsOfStability(2, 64.0, 64, 0.05, "none"))


def test_drawings_show_what_was_worked_out():
    exact, found = CARD.exact(DEFAULT), CARD.estimate(DEFAULT, 0)
    surrogate, ratios, lock_in = (
        each.draw(DEFAULT, exact, found, Palette.of("light")) for each in CARD.drawings
    )
    bound, _, steps, *_ = surrogate.data
    assert list(bound.y) == pytest.approx([6 * x**2 for x in bound.x])
    assert len(steps.x) == 200
    assert sum(ratios.data[1].y) == pytest.approx(1.0)
    assert list(lock_in.data[0].y) == [each.value for each in found.lock_in[0]]


def test_same_seed_same_numbers_and_another_seed_others():
    one, again = (go_over.__wrapped__(8, 4.0, 4, 0.2, "mean", 0) for _ in range(2))
    assert (one.ratio_SM == again.ratio_SM).all()
    assert (one.ratio_SM != go_over(8, 4.0, 4, 0.2, "mean", 1).ratio_SM).any()


def test_words_load_and_name_settings_that_exist():
    from grpo_core.config import RunConfig

    for path in words("stability").knobs:
        section, name = path.split(".")
        assert name in type(getattr(RunConfig(), section)).model_fields, path
    assert words("stability", "pt")["Derivation"].count("∎") == 7
    assert words("stability")["Derivation"].count("∎") == 7
