"""Policy invariance: recorded numbers, sums over all groups, and the product's own advantages."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_core.advantages import assign, zscore
from studio.theory import difficulty, groups, invariance, shaping
from studio.theory.cards.invariance import CARD
from studio.theory.invariance import KnobsOfInvariance, estimate, exact, force, learn, verdict
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

SOME = KnobsOfInvariance()


# --- what is kept ---------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-100, 100), st.floats(0.1, 10))
def test_a_shift_changes_no_advantage_of_the_product_and_a_scale_none_of_zscores(R, shift, scale):
    R = np.array(R)
    if np.ptp(R) < 1e-3:
        return
    for estimator in ("mean", "loo", "zscore"):
        before, after = (
            np.array(assign([values.tolist()], estimator)[0]) for values in (R, R + shift)
        )
        assert after == pytest.approx(before, abs=1e-8)
    L = np.ones(len(R))
    plain, other = zscore(R, L, delta=0.0), zscore(scale * R + shift, L, delta=0.0)
    assert other == pytest.approx(plain, abs=1e-8)
    factor = scale * (R.std(ddof=1) + 1e-4) / (scale * R.std(ddof=1) + 1e-4)
    assert zscore(scale * R, L) == pytest.approx(zscore(R, L) * factor, abs=1e-8)


@pytest.mark.parametrize("size", [2, 4, 16])
def test_groups_are_invariant_one_by_one(size):
    found = estimate(replace(SOME, size=size, delta=0.0, scale=10.0, shift=100.0), 1)
    for estimator in ("mean", "loo", "zscore"):
        assert found.by_shift[estimator] < 1e-10
    assert found.by_scale["zscore"] < 1e-10
    assert found.by_scale["mean"] == pytest.approx(9)
    assert found.by_shift["none"] > 90


def recorded_potential(model):
    """The potential the recorded numbers were worked out with."""
    rng = np.random.default_rng(0)
    rng.random((5, 8)), rng.normal(0, 100, (5, 1)), rng.random((5, 1))
    potential = rng.normal(0, 1, model.C)
    potential[0] = 0.7
    return potential


def test_shaping_has_the_recorded_numbers():
    model, theta, R, _ = shaping.small_problem()
    potential, grad = recorded_potential(model), model.grad_value_P(theta, R)

    def update(advantages):
        return shaping.expected_update(model, theta, 2, advantages)

    plain, shaped = (shaping.step_rewards(model, R, p, 1.0) for p in (None, potential))
    for rewards in (plain, shaped):
        assert shaping.change(2 * update(shaping.outcome(rewards, "mean", 0)), grad) < 1e-13
        assert shaping.change(update(shaping.outcome(rewards, "loo", 0)), grad) < 1e-13
        assert shaping.change(2 * update(shaping.per_token(rewards)), grad) < 1e-13
    discounted = shaping.step_rewards(model, R, potential, 0.9)
    assert shaping.change(update(shaping.outcome(discounted, "loo", 0)), grad) == pytest.approx(
        1.15, abs=0.005
    )
    steps = [update(shaping.per_step_zscore(r, 0.0)) for r in (plain, shaped)]
    cosine = steps[0] @ steps[1] / np.linalg.norm(steps[0]) / np.linalg.norm(steps[1])
    assert cosine == pytest.approx(0.88, abs=0.005)


def test_a_potential_adds_up_to_what_the_text_says():
    model, _, R, potential = shaping.small_problem()
    for gamma in (1.0, 0.9):
        total = shaping.step_rewards(model, R, potential, gamma).sum(1)
        inner = potential[model.prefix_NT[:, 1:]].sum(1)
        assert total == pytest.approx(R - potential[0] - (1 - gamma) * inner, abs=1e-14)


def test_value_as_potential_is_the_perfect_critic():
    model, theta, R, _ = shaping.small_problem()
    value = model.prefix_value_C(theta, R)
    ahead = shaping.to_go(shaping.step_rewards(model, R, value, 1.0))
    assert ahead == pytest.approx(R[:, None] - value[model.prefix_NT], abs=1e-14)


@pytest.mark.parametrize("size", [2, 3])
def test_expected_update_is_the_kernel_s(size):
    model, theta, R, _ = shaping.small_problem()
    p, scores = model.p_N(theta), model.scores_NP(theta)
    for estimator in ("mean", "zscore"):
        ours = shaping.expected_update(
            model,
            theta,
            size,
            shaping.outcome(shaping.step_rewards(model, R, None, 1.0), estimator, 1e-4),
        )
        kernel = groups.expected_gradient(p, R, scores, size, estimator, delta=1e-4)
        assert ours == pytest.approx(kernel, abs=1e-15)


def test_only_what_should_change_changes():
    changes = exact(replace(SOME, delta=0.0, scale=10.0)).changes
    for kind in ("shift", "potential"):
        assert max(changes[kind]) < 1e-12
    assert changes["scale"] == pytest.approx((9.0, 0.0), abs=1e-12)
    assert changes["steps"][0] < 1e-12 < 0.1 < changes["steps"][1]
    assert min(changes["penalty"]) > 0.1
    assert min(exact(replace(SOME, gamma=0.9)).changes["potential"]) > 0.1
    small = exact(replace(SOME, scale=0.001)).changes["scale"]
    assert small[1] == pytest.approx(0.292, abs=0.001) and small[0] == pytest.approx(0.999)


def test_a_penalty_moves_the_optimum_in_23_of_50_problems():
    assert shaping.moved_optima() == 23


# --- two arms -------------------------------------------------------------------------------------


def test_force_on_the_worse_arm_is_the_recorded_one():
    recorded = {2: 0.100, 4: 0.092, 8: -0.007, 16: -0.099}
    for size, value in recorded.items():
        plain = force(size, 0.5, "zscore", 0.0, ddof=0)
        assert plain == pytest.approx(value, abs=0.0006)
        sample = force(size, 0.5, "zscore", 0.0, ddof=1)
        assert sample == pytest.approx(plain * math.sqrt((size - 1) / size), rel=1e-12)
    said = (0.0707, 0.0794, -0.0067, -0.0959)
    assert [exact(SOME).force(g) for g in recorded] == pytest.approx(said, abs=6e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_force_has_its_closed_forms(share):
    spread = share * (1 - share)
    assert force(2, share, "zscore", 0.0) == pytest.approx(0.4 / math.sqrt(2) * spread)
    for size in (2, 5, 16):
        by_mean = force(size, share, "mean", 0.0)
        assert by_mean == pytest.approx((size - 1) / size * spread * (1 - 3), rel=1e-12)


@pytest.mark.parametrize("size", [3, 8, 32])
def test_the_worse_arm_attracts_at_every_group_size(size):
    near = 1e-6
    limit = near * 0.4 * (size - 1) / math.sqrt(size)
    assert force(size, 1 - near, "zscore", 0.0) == pytest.approx(limit, rel=1e-3)


def test_force_is_that_of_all_groups_of_a_toy():
    """Three outcomes: A, a B that pays, a B that does not."""
    share, size = 0.3, 3
    p, R = np.array([share, 0.7 * 0.3, 0.7 * 0.7]), np.array([1.0, 10.0, 0.0])
    score = (np.array([1.0, 0, 0]) - share)[:, None]
    for estimator in ("zscore", "mean"):
        direct = groups.expected_gradient(p, R, score, size, estimator, delta=1e-2)
        assert force(size, share, estimator, 1e-2) == pytest.approx(direct[0], rel=1e-12)


def test_large_groups_have_the_force_of_the_gradient_over_the_deviation():
    share = 0.5
    deviation = math.sqrt(share + (1 - share) * 30 - 4)
    expected = share * (1 - share) * (1 - 3) / deviation
    assert force(200, share, "zscore", 0.0) == pytest.approx(expected, rel=0.03)


def test_weights_of_difficulty_turn_a_shared_parameter():
    def field(x, size):
        ends = ((0.5, 0.9), (0.21, 0.01))
        return sum(0.5 * difficulty.weight(size, a + x * (b - a)) * (b - a) for a, b in ends)

    assert field(0.999, 64) == pytest.approx(-0.022, abs=0.0005)
    assert field(0.5, 64) > 0 and field(0.999, 2) == pytest.approx(0.1)


def test_sampled_forces_agree():
    law, found = exact(SOME), estimate(SOME, 0)
    for x, share in enumerate(invariance.SHARES):
        for s, size in enumerate(invariance.SIZES):
            assert abs(found.force(size, share).z(law.force_XS[x, s])) < 3.5  # of 21


@pytest.mark.parametrize(
    ("size", "reward", "room"), [(2, 1.013, 0.002), (4, 1.008, 0.002), (16, 2.987, 0.002)]
)
def test_runs_learn_what_was_recorded(size, reward, room):
    runs = learn(size, "zscore", 0.0, 1.0, 0, num_steps=4000, num_runs=200, step=0.1, ddof=0)
    assert runs.reward.value == pytest.approx(reward, abs=room)


def test_in_between_some_runs_learn_the_one_and_some_the_other():
    runs = learn(8, "zscore", 0.0, 1.0, 0, num_steps=4000, num_runs=200, step=0.1, ddof=0)
    assert abs(runs.reward.value - 2.29) < 3 * math.hypot(runs.reward.se, 0.066)
    mean = learn(2, "mean", 0.0, 1.0, 0, num_steps=4000, num_runs=200, step=0.1)
    assert mean.reward.value == pytest.approx(2.995, abs=0.002)


def test_the_default_shows_the_worse_arm_learned():
    found = estimate(SOME, 0)
    assert found.zscore.reward.value < 1.05 and found.mean.reward.value > 2.95
    assert found.zscore.mean[0] == 0.5 and len(found.zscore.steps) == 101


# --- the card -------------------------------------------------------------------------------------


def test_verdicts_can_be_any_of_three():
    law, found = exact(SOME), estimate(SOME, 0)
    assert verdict(SOME, law, found).kind == "differs"
    assert "0.0794" in verdict(SOME, law, found).sentence
    large = replace(SOME, size=32)
    assert verdict(large, exact(large), estimate(large, 0)).kind == "holds"
    shaped = replace(large, gamma=0.9)
    said = verdict(shaped, exact(shaped), estimate(shaped, 0))
    assert said.kind == "differs" and "potential" in said.sentence
    moved = replace(found, by_shift={**found.by_shift, "mean": 1e-6})
    assert verdict(SOME, law, moved).kind == "fails"
    forces = [list(row) for row in found.force_XS]
    forces[1][2] = Estimate(-0.1, 0.001, 4000)
    assert verdict(SOME, law, replace(found, force_XS=forces)).kind == "fails"


@pytest.mark.parametrize("wrong", [{"size": 5}, {"gamma": 0.4}, {"delta": 0.5}])
def test_knobs_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnobsOfInvariance(**wrong)


def test_every_drawing_is_finite_for_every_setting():
    settings = [SOME]
    for each in fields(KnobsOfInvariance):
        knob = each.metadata["knob"]
        settings += [replace(SOME, **{each.name: v}) for v in knob.options or (knob.low, knob.high)]
    for knobs in settings:
        law, found = exact(knobs), estimate(knobs, 0)
        for drawing in CARD.drawings:
            traces = drawing.draw(knobs, law, found, Palette.of("dark")).data
            assert traces and all(0 < len(t.x) <= 400 for t in traces)
            assert all(np.isfinite(np.array(t.y, dtype=float)).all() for t in traces)
        assert verdict(knobs, law, found).sentence
        for row in CARD.rows(knobs, law, found):
            assert row.exact is not None or row.found is not None


def test_the_same_seed_gives_the_same_runs():
    first = learn(3, "zscore", 0.0, 1.0, 5, num_steps=50)
    learn.cache_clear()
    assert (learn(3, "zscore", 0.0, 1.0, 5, num_steps=50).mean == first.mean).all()
    assert (learn(3, "zscore", 0.0, 1.0, 6, num_steps=50).mean != first.mean).any()


def test_words_are_there_in_both_languages():
    from grpo_core.config import RunConfig

    recipe = RunConfig.model_validate({"algorithm": {"name": "ppo"}})
    for path in words("invariance").knobs:
        section, name = path.split(".")
        assert name in type(getattr(recipe, section)).model_fields, path
    assert words("invariance", "pt").title
