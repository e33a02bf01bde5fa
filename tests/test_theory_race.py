"""The race of GRPO and PPO: its prompts, one iteration, and who is called ahead."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from grpo_core import critic as product_critic
from grpo_core.algorithms import ALGORITHMS
from grpo_core.config import RunConfig
from grpo_core.losses import ppo_clip, token_ratio
from studio.theory import race, race_run
from studio.theory.cards.race import CARD
from studio.theory.plots import Palette
from studio.theory.race import PAIRS, TUNED, Found, KnobsOfRace
from studio.theory.race_prompts import REGIMES, expected_update, make, prefix_values, softmax
from studio.theory.race_run import ARMS, Setting, ascend, draw, gae, learn, whiten
from studio.theory.race_score import ahead, areas, at_compute, lead, slowdown
from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import toy
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

FRESH = (*range(100, 124),)


@pytest.fixture
def short(monkeypatch):
    """Races of five iterations and three seeds."""
    monkeypatch.setattr(race, "MOST_ITERATIONS", 5)
    monkeypatch.setattr(race, "NUM_SEEDS", 3)
    race._race.cache_clear()
    yield
    race._race.cache_clear()


def flat(array_VSQC: np.ndarray, seed: int, prompt: int) -> np.ndarray:
    """Parameters of one prompt as `toy.Toy` has them."""
    return array_VSQC[:, seed, prompt].T.ravel()


def rewards(prompts, seed: int, prompt: int) -> np.ndarray:
    return prompts.mu_VSQX[:, seed, prompt].T.ravel()


# --- prompts --------------------------------------------------------------------------------------


def test_rewards_are_the_sum_of_effects_and_seeds_stand_alone():
    both, alone = make("strategy", (3, 5)), make("strategy", (5,))
    assert (both.mu_VSQX[:, 1:] == alone.mu_VSQX).all()
    assert (both.theta_VSQC[:, 1:] == alone.theta_VSQC).all()
    rng = np.random.default_rng(10_005)
    ease = rng.normal(-1.0, 1.5, 32)
    effects = [rng.normal(0, s, (32, n)) for s, n in ((2.5, 4), (0.3, 16), (0.3, 64))]
    model = toy()
    for n in (0, 27, 63):
        a, b, c = model.completions[n]
        x = (
            ease[7]
            + effects[0][7, a]
            + effects[1][7, 4 * a + b]
            + effects[2][7, 16 * a + 4 * b + c]
        )
        assert rewards(alone, 0, 7)[n] == pytest.approx(1 / (1 + math.exp(-x)), abs=1e-15)
    assert alone.best_S[0] == pytest.approx(alone.mu_VSQX[:, 0].max((0, 2)).mean())


def test_values_of_prefixes_are_those_of_the_enumerated_toy():
    prompts, model = make("base", (0, 1)), toy()
    pi = softmax(prompts.theta_VSQC)
    values = prefix_values(pi, prompts.mu_VSQX)
    for seed, prompt in ((0, 0), (1, 31)):
        theta, R = flat(prompts.theta_VSQC, seed, prompt), rewards(prompts, seed, prompt)
        assert np.allclose(values[seed, prompt], model.prefix_value_C(theta, R), atol=1e-14)
        assert values[seed, prompt, 0] == pytest.approx(model.value(theta, R), abs=1e-14)


@pytest.mark.parametrize("lam", [0.0, 0.4, 0.95, 1.0])
def test_the_expected_update_is_that_of_every_completion_with_the_products_gae(lam):
    prompts, model, rng = make("base", (2,)), toy(), np.random.default_rng(0)
    critic = rng.normal(0, 0.3, (1, 32, 21))
    update = expected_update(softmax(prompts.theta_VSQC), prompts.mu_VSQX, critic, lam)
    theta, R = flat(prompts.theta_VSQC, 0, 4), rewards(prompts, 0, 4)
    values = torch.tensor(critic[0, 4][model.prefix_NT]).flatten()
    given = torch.zeros(model.N, 3, dtype=torch.float64)
    given[:, 2] = torch.tensor(R)
    A, _ = product_critic.gae(given.flatten(), values, [3] * model.N, 1.0, lam)
    scores = model.scores_NTP(theta)
    by_hand = np.einsum("n,nt,ntp->p", model.p_N(theta), A.reshape(-1, 3).numpy(), scores)
    assert np.allclose(flat(update, 0, 4), by_hand, atol=1e-14)
    if lam == 1.0:
        assert np.allclose(flat(update, 0, 4), model.grad_value_P(theta, R), atol=1e-14)


def test_a_right_critic_has_no_bias_and_one_at_zero_has_without_lambda_one():
    for critic, lam, biased in (
        ("tuned", 0.95, True),
        ("tuned", 1.0, False),
        ("exact", 0.0, False),
    ):
        found = race.exact(KnobsOfRace(critic=critic, lam=lam)).bias
        assert (found > 0.01) == biased and (biased or found < 1e-14)


# --- one iteration --------------------------------------------------------------------------------


def test_advantages_of_the_critic_are_the_products():
    rng = np.random.default_rng(1)
    R, values = (rng.random((2, 5)) < 0.5).astype(float), rng.random((2, 5, 3))
    found = gae(R, values, 0.7)
    given = np.zeros_like(values)
    given[..., 2] = R
    A, returns = product_critic.gae(
        torch.tensor(given).flatten(), torch.tensor(values).flatten(), [3] * 10, 1.0, 0.7
    )
    assert np.allclose(found.ravel(), A.numpy(), atol=1e-15)
    assert np.allclose((found + values).ravel(), returns.numpy(), atol=1e-15)
    all_count = torch.ones(15, dtype=torch.bool)
    for u in range(2):
        white = product_critic.whiten(torch.tensor(found[u]).flatten(), all_count)
        assert np.allclose(whiten(found)[u].ravel(), white.numpy(), atol=1e-14)


def test_both_updates_are_gradient_steps_on_the_products_clipped_loss():
    rng = np.random.default_rng(2)
    runs, cells, num, steps = 2, 6, 40, np.array([30.0, 300.0])
    theta = rng.normal(0, 1, (4, runs * cells))
    cell = rng.integers(cells, size=(runs, num, 3)) + cells * np.arange(runs)[:, None, None]
    token, A = rng.integers(4, size=cell.shape), rng.normal(0, 1, cell.shape)
    ours = theta.copy()
    ascend(ours, token * theta.shape[1] + cell, A, np.repeat(steps, cells))
    table = torch.tensor(theta, requires_grad=True)
    old = table.detach().log_softmax(0)[token, cell]
    clipped = 0
    for _ in range(race_run.EPOCHS):
        ratio = token_ratio(table.log_softmax(0)[token, cell], old)
        loss = ppo_clip(ratio, torch.tensor(A), 0.2, 0.2, None).sum() / num
        (gradient,) = torch.autograd.grad(loss, table)
        clipped += int((((ratio > 1.2) & (torch.tensor(A) > 0)) | (ratio < 0.8)).sum())
        table = (table - torch.tensor(np.repeat(steps, cells)) * gradient).requires_grad_()
    assert clipped > 20
    assert np.allclose(ours, table.detach().numpy(), atol=1e-11)


@pytest.mark.parametrize("name", ["none", "loo", "ppo"])
def test_the_first_iteration_climbs_as_the_expected_update_says(name):
    """Mean gain over its first-order prediction: eta times <gradient, expected update> / Q^2 for
    each of two updates; 200 seeds."""
    seeds, step, arm = (*range(200),), 1e-3, replace(ARMS[name], lam=0.5)
    prompts = make("few", seeds)
    curve = learn("few", seeds, arm, (Setting(step),), iterations=5)[0]
    pi = softmax(prompts.theta_VSQC)
    at_zero = np.zeros((200, 4, 21))
    gradient = expected_update(pi, prompts.mu_VSQX, at_zero, 1.0)
    update = expected_update(pi, prompts.mu_VSQX, at_zero, 0.5) if arm.has_critic else gradient
    # with a rate of 1 the critic is no longer 0 after the first iteration: one must do
    iterations = 5
    if arm.has_critic:
        race_one = race_run._Race(prompts, arm, (Setting(step),), 8, False)
        draws = draw(seeds, 1, 4, 8)
        start = race_one.score_U()
        race_one.step(draws.prompt_ISP[0], draws.token_ISNT[0], draws.reward_ISN[0])
        curve, iterations = np.stack([start, race_one.score_U()], 1), 1
    predicted = 2 * iterations * step * (gradient * update).sum((0, 2, 3)) / 16 / prompts.best_S
    gained = curve[:, -1] - curve[:, 0]
    ratio = Estimate(gained.mean() / predicted.mean(), mean_of(gained).se / predicted.mean(), 200)
    assert ratio.se < 0.12 and ratio.agrees(1.0)


def test_runs_do_not_depend_on_what_runs_beside_them():
    many = learn("few", (3, 4), ARMS["ppo_whiten"], (Setting(8.0, 0.1), Setting(64.0, 1.0)))
    one = learn("few", (4,), ARMS["ppo_whiten"], (Setting(64.0, 1.0),))
    assert many.shape == (2, 2, 13)
    assert np.allclose(many[1, 1], one[0, 0], atol=1e-12)
    assert np.allclose(many[:, :, 0], many[:1, :, 0]) and (many <= 1).all()


def test_prompts_of_an_iteration_are_different_where_there_are_enough():
    for num, per_step in ((32, 8), (4, 8), (128, 64)):
        prompt_ISP = draw((0, 1), 6, num, per_step).prompt_ISP
        assert prompt_ISP.shape == (6, 2, per_step) and prompt_ISP.max() < num
        distinct = {len(set(row)) for row in prompt_ISP.reshape(-1, per_step).tolist()}
        assert distinct == {per_step} if per_step <= num else max(distinct) <= num


# --- who is ahead ---------------------------------------------------------------------------------


def test_compute_is_that_of_the_forwards():
    """8 against 15 with a critic of the actor's size: sampling 1, old 1, two updates of 3."""
    exact = race.exact(KnobsOfRace(rho=1.0))
    assert (exact.group_cost, exact.critic_cost) == (8.0, 15.0) and slowdown(1.0) == 15 / 8
    curve = np.array([[0.0, 1.0, 4.0, 9.0]])
    assert at_compute(curve, 0.0).tolist() == curve.tolist()
    rho = 8 / 7  # twice the compute: the curve at half of x
    assert np.allclose(at_compute(curve, rho), [[0.0, 0.5, 1.0, 2.5]])


def test_ahead_is_two_standard_errors_of_the_paired_difference():
    assert ahead(Estimate(0.021, 0.01, 12)) == "GRPO"
    assert ahead(Estimate(-0.021, 0.01, 12)) == "PPO"
    assert ahead(Estimate(0.019, 0.01, 12)) == ahead(Estimate(0.0, 0.0, 12)) == "nobody"
    base = np.random.default_rng(0).random((12, 1)) * np.ones((1, 4))
    shifted = lead(base + 0.01, base)  # seeds differ a hundred times more than the two sides
    assert shifted.value == pytest.approx(0.01) and shifted.se < 1e-15
    assert areas(np.array([[1.0, 2.0, 6.0]])).tolist() == [3.0]


def test_the_verdict_can_come_out_each_way():
    rng, x = np.random.default_rng(3), np.arange(0.0, 55.0, 5.0)
    rising = np.linspace(0.5, 0.8, 11) + rng.normal(0, 0.05, (12, 1))
    other = rising + rng.normal(0, 0.002, (12, 1))
    for knobs, group, critic, kind in (
        (KnobsOfRace(rho=0.0), rising + 0.01, other, "holds"),
        (KnobsOfRace(rho=0.0), rising, other + 0.01, "differs"),
        (KnobsOfRace(rho=0.0), rising, rising + rng.normal(0, 0.01, (12, 1)), "open"),
        (KnobsOfRace(rho=1.0), rising, other + 0.01, "holds"),
    ):
        found = Found(x, group, critic)
        verdict = race.verdict(knobs, race.exact(knobs), found)
        assert verdict.kind == kind
        axis = "compute, with $\\rho = 1$" if knobs.rho else "iterations"
        assert verdict.claim == f"GRPO is faster by {axis}."
        assert ("No verdict" in verdict.sentence) == (kind == "open")
    assert "By iterations PPO is ahead" in verdict.sentence and "GRPO is ahead" in verdict.sentence
    half = 1.96 * found.lead().se
    assert f"± {half:.4f}" in verdict.sentence and "95 % interval" in verdict.rule


@pytest.mark.parametrize(
    ("arm", "setting", "recorded"),
    [("loo", Setting(128.0), 0.805), ("ppo_whiten", Setting(32.0, 0.3), 0.833)],
)
def test_recorded_areas_come_out_at_the_recorded_steps(arm, setting, recorded):
    """Of `base`, on the coarse grid; the chance of the race is another: within 3 of the standard
    error of two such means on the same prompts."""
    area = mean_of(areas(learn("base", FRESH, ARMS[arm], (setting,))[0]))
    assert abs(area.value - recorded) < 3 * area.se


def test_a_known_trap_comes_out_at_once():
    """λ = 0 with a critic that begins at 0: PPO has almost no signal, GRPO is ahead."""
    knobs = KnobsOfRace(regime="few", arms="plain", lam=0.0, rho=0.0)
    found = race.estimate(knobs, 0)
    assert race.verdict(knobs, race.exact(knobs), found).kind == "holds"
    assert found.lead().value > 0.05


def test_steps_are_those_that_the_study_chooses():
    for arm in ("loo", "zscore"):
        steps = tuple(Setting(2.0**k) for k in range(1, 10))
        areas_X = learn("few", (*range(8),), ARMS[arm], steps).mean((1, 2))
        assert steps[int(areas_X.argmax())] == TUNED["few"][arm]


def test_every_regime_of_the_card_has_its_settings():
    options = next(f for f in fields(KnobsOfRace) if f.name == "regime").metadata["knob"].options
    assert set(options) == set(TUNED) == set(REGIMES) - {"pretrained"}
    for tuned in TUNED.values():
        assert set(tuned) == {arm for pair in PAIRS.values() for arm in pair}


# --- the card -------------------------------------------------------------------------------------


def knob_values():
    """Every option of each choice, both ends of each number; one at a time."""
    for field in fields(KnobsOfRace):
        knob = field.metadata["knob"]
        for value in knob.options or (knob.low, knob.high):
            yield KnobsOfRace(**{field.name: value})


def test_every_knob_draws_finite_figures(short):
    settings = [*knob_values(), KnobsOfRace(arms="spread", rho=0.0)]
    for knobs in settings:
        exact, found = CARD.exact(knobs), CARD.estimate(knobs, 1)
        assert CARD.verdict(knobs, exact, found).sentence
        for drawing in CARD.drawings:
            drawn = drawing.draw(knobs, exact, found, Palette.of("dark"))
            for trace in drawn.data:
                assert 1 <= len(trace.x) == len(trace.y) <= 400
                assert np.isfinite(np.array([trace.x, trace.y], dtype=float)).all()
            assert drawn.layout.xaxis.title.text and drawn.layout.yaxis.title.text
        for row in CARD.rows(knobs, exact, found):
            value = row.found.value if isinstance(row.found, Estimate) else row.exact
            assert value is not None and math.isfinite(value)


def test_each_knob_changes_what_is_shown(short):
    shown = set()
    settings = {*knob_values()}
    for knobs in settings:
        exact, found = race.exact(knobs), race.estimate(knobs, 1)
        shown.add((exact, found.group_SE.tobytes(), found.critic_at(knobs.rho).tobytes()))
    assert len(shown) == len(settings) > 20


def test_the_size_of_the_critic_runs_nothing_again(short, monkeypatch):
    found = race.estimate(KnobsOfRace(), 2)
    monkeypatch.setattr(race, "learn", None)
    again = race.estimate(KnobsOfRace(rho=0.3), 2)
    assert again.group_SE is found.group_SE and again.critic_SE is found.critic_SE


def test_seeds_of_the_card_are_not_those_of_the_study():
    assert max(FRESH) < race.FIRST_SEED


@pytest.mark.parametrize(
    "wrong", [{"rho": -0.1}, {"lam": 1.01}, {"group_size": 3}, {"arms": "all"}, {"step": 3.0}]
)
def test_knobs_out_of_bounds_raise(wrong):
    with pytest.raises(ValueError):
        KnobsOfRace(**wrong)


def test_the_words_are_complete_and_name_settings_that_exist():
    found = words("race")
    config = RunConfig(algorithm={"name": "ppo"})
    assert config.critic is not None and "ppo" in ALGORITHMS
    for path in found.knobs:
        here = config
        for part in path.split("."):
            here = getattr(here, part)
